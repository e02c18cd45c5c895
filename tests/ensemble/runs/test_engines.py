"""Clusters: the same bytes on dask and ray, also when a worker dies."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from firstlight.ensemble import Dask, Plan, Ray, run
from firstlight.ensemble.runs.engines import Task
from firstlight.ensemble.sums._state import LayerState
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


def test_absent_packages_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("distributed", "ray"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RunError, match="pip install distributed"):
        run(plan(80), X, engine=Dask("tcp://127.0.0.1:1"))
    with pytest.raises(RunError, match="pip install ray"):
        run(plan(80), X, engine=Ray())


@pytest.fixture
def cluster() -> Iterator[object]:
    distributed = pytest.importorskip("distributed", reason="needs the dask extra")
    import dask

    # a machine so busy that processes stand still for a minute is no dead machine
    patient = {
        "distributed.comm.timeouts.connect": "300s",
        "distributed.comm.timeouts.tcp": "300s",
        "distributed.scheduler.worker-ttl": None,
        "distributed.worker.lifetime.restart": False,
    }
    with (
        dask.config.set(patient),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
        ) as made,
    ):
        yield made


@dataclass(frozen=True)
class Killing:
    """An engine in the middle of whose run ``kill`` is called: when three shards are there and others are not."""

    engine: Dask | Ray
    kill: Callable[[], object]

    def map(self, tasks: Sequence[Task]) -> Iterator[tuple[int, dict[int, LayerState]]]:
        for arrived, result in enumerate(self.engine.map(tasks)):
            if arrived == 3:
                self.kill()
            yield result


@pytest.mark.slow
@quiet
def test_dask_gives_the_same_bytes_though_a_worker_is_killed(
    cluster: object, want: str, tmp_path: Path
) -> None:
    victim = next(iter(cluster.workers.values()))  # type: ignore[attr-defined]
    died = []

    def kill() -> None:
        pid = victim.pid
        os.kill(pid, signal.SIGKILL)
        died.append(pid)

    # the timeout is for a busy machine: a scheduler in this very process answers when it gets to run
    engine = Killing(Dask(cluster.scheduler_address, timeout=300.0), kill)  # type: ignore[attr-defined]
    ensemble = run(plan(), X, engine=engine, out=tmp_path / "run")
    assert len(died) == 1
    assert ensemble.profile.to_json() == want


@pytest.mark.parametrize("address", ["127.0.0.1:9", "auto"])
def test_ray_without_a_cluster(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead address costs ray many minutes to notice: it is never asked. Its search for a cluster is replaced."""

    class Absent:
        @staticmethod
        def is_initialized() -> bool:
            return False

        @staticmethod
        def init(address: str, **_: object) -> None:
            assert address == "auto"
            raise ConnectionError("Could not find any running Ray instance")

    monkeypatch.setitem(sys.modules, "ray", Absent)
    with pytest.raises(RunError, match=rf"expected a cluster at '{address}', got Connection"):
        run(plan(80), X, engine=Ray(address))


@pytest.mark.slow
@quiet
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the ray extra")
def test_ray_gives_the_same_bytes_though_a_worker_is_killed(want: str, tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil", reason="finds the worker to kill")
    died = []

    def kill() -> None:
        ours = psutil.Process().children(recursive=True)
        # a worker by its task's name: ray's own agents are called ray::… too, and take the whole node with them
        titles = {p: " ".join(p.cmdline()[:1]) for p in ours}
        workers = [p for p, title in titles.items() if "ray::" in title and "_compute" in title]
        workers += [p for p, title in titles.items() if "ray::IDLE" in title]  # between two tasks
        workers[0].kill()
        died.append(workers[0].pid)

    ensemble = run(plan(), X, engine=Killing(Ray("local"), kill), out=tmp_path / "run")
    assert len(died) == 1
    assert ensemble.profile.to_json() == want


ORPHANED = """
import torch
from firstlight.ensemble import Local, Plan, run
from firstlight.network import RandomNetwork
if __name__ == "__main__":
    plan = Plan(net=RandomNetwork(depth=60, width=100), nets=100_000, shards=200)
    run(plan, torch.ones(2, 20).tril(), engine=Local(2), out="run")
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="children are read from /proc")
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    def children(parent: int) -> list[int]:
        found = []
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError, IndexError):
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == parent and fields[0] != "Z":
                    found.append(int(entry))
        return found

    (tmp_path / "work.py").write_text(ORPHANED)
    with subprocess.Popen([sys.executable, "work.py"], cwd=tmp_path) as parent:
        shards = tmp_path / "run" / "shards"
        deadline = time.monotonic() + 120
        while not (shards.is_dir() and any(shards.glob("*.shard"))) and time.monotonic() < deadline:
            time.sleep(0.1)
        workers = children(parent.pid)
        assert len(workers) >= 2
        parent.kill()
    while any(os.path.exists(f"/proc/{pid}") for pid in workers) and time.monotonic() < deadline + 20:
        time.sleep(0.2)
    assert not [pid for pid in workers if os.path.exists(f"/proc/{pid}")]
