"""Clusters: the same bytes on dask and ray, also when a worker dies."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from firstlight.ensemble import Dask, Plan, Ray, run
from firstlight.errors import RunError
from firstlight.network import RandomNetwork

NET = RandomNetwork(depth=30, width=60, activation="relu", sigma_w=2**0.5)
X = torch.eye(3, 6)
# third-party shutdown noise of a killed worker is not ours to judge
quiet = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


def plan(nets: int = 2000) -> Plan:
    return Plan(net=NET, nets=nets, layers=(1, 30), seed=3, shards=40)


@pytest.fixture(scope="module")
def want() -> str:
    return run(plan(), X).profile.to_json()


def test_nobody_at_the_address() -> None:
    pytest.importorskip("distributed", reason="needs the dask extra")
    with pytest.raises(RunError, match=r"expected a scheduler at 'tcp://127.0.0.1:9', got"):
        run(plan(80), X, engine=Dask("tcp://127.0.0.1:9", timeout=1.0))
    with pytest.raises(RunError, match="expected a scheduler"):
        run(plan(80), X, engine=Dask("nonsense://", timeout=1.0))


def test_absent_packages_name_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in ("distributed", "ray"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RunError, match=r"firstlight\[dask\]"):
        run(plan(80), X, engine=Dask("tcp://127.0.0.1:1"))
    with pytest.raises(RunError, match=r"firstlight\[ray\]"):
        run(plan(80), X, engine=Ray())


@pytest.fixture
def cluster() -> Iterator[object]:
    distributed = pytest.importorskip("distributed", reason="needs the dask extra")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as made:
        yield made


@pytest.mark.slow
@quiet
def test_dask_gives_the_same_bytes_though_a_worker_is_killed(
    cluster: object, want: str, tmp_path: Path
) -> None:
    victim = next(iter(cluster.workers.values())).pid  # type: ignore[attr-defined]
    shards, killed_at = tmp_path / "run" / "shards", []

    def kill() -> None:
        while len(list(shards.glob("*.shard"))) < 5:
            time.sleep(0.005)
        os.kill(victim, signal.SIGKILL)
        killed_at.append(len(list(shards.glob("*.shard"))))

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    address = cluster.scheduler_address  # type: ignore[attr-defined]
    ensemble = run(plan(), X, engine=Dask(address, timeout=120.0), out=tmp_path / "run")
    killer.join(5)
    assert killed_at, "the run ended before the worker could be killed"
    assert killed_at[0] < 40
    assert ensemble.profile.to_json() == want


@pytest.mark.slow
@quiet
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the ray extra")
def test_ray_gives_the_same_bytes_though_a_worker_is_killed(want: str, tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil", reason="finds the worker to kill")
    shards, killed_at = tmp_path / "run" / "shards", []

    def kill() -> None:
        while len(list(shards.glob("*.shard"))) < 3:
            time.sleep(0.005)
        ours = psutil.Process().children(recursive=True)
        victim = next(p for p in ours if any("ray::" in part for part in p.cmdline()[:1]))
        victim.kill()
        killed_at.append(len(list(shards.glob("*.shard"))))

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    ensemble = run(plan(), X, engine=Ray("local"), out=tmp_path / "run")
    killer.join(5)
    assert killed_at, "the run ended before the worker could be killed"
    assert killed_at[0] < 40
    assert ensemble.profile.to_json() == want
