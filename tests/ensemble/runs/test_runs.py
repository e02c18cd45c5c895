"""Runs that survive: kill -9, damaged shards, a changed plan, a full disk; the same result everywhere."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from firstlight.ensemble import Local, Plan, run
from firstlight.ensemble.plan import digest as digest_of
from firstlight.ensemble.runs._shard import compute_shard
from firstlight.ensemble.sums._state import merge_states, pack, unpack
from firstlight.errors import DomainError, RunError
from firstlight.files import pack_arrays, unpack_arrays
from firstlight.network import RandomNetwork

NET = RandomNetwork(depth=4, width=12, sigma_w=1.3, sigma_b=0.1)
X = torch.linspace(-1, 2, 15).reshape(3, 5)


def plan(**changes: object) -> Plan:
    fields = {"net": NET, "nets": 90, "layers": (1, 4), "seed": 7, "shards": 6, "gradients": True} | changes
    return Plan(**fields)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "clean"
    run(plan(), X, out=folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_memory_folder_and_workers_agree_bit_for_bit(clean: Path, tmp_path: Path) -> None:
    run(plan(), X, out=tmp_path / "two", engine=Local(2))
    assert contents(tmp_path / "two") == contents(clean)
    assert run(plan(), X).profile.to_json() == (clean / "profile.json").read_text()


def test_shards_merge_to_the_same_answer_in_any_order_of_arrival(clean: Path) -> None:
    x = X.T.contiguous()

    class Shuffled:
        def map(self, tasks):  # type: ignore[no-untyped-def]
            order = list(range(len(tasks)))
            random.Random(3).shuffle(order)
            for i in order:
                yield i, compute_shard(tasks[i].plan, tasks[i].x, tasks[i].index)

    assert run(plan(), X, engine=Shuffled()).profile.to_json() == (clean / "profile.json").read_text()
    states = [compute_shard(plan(), x, i) for i in range(6)]
    assert merge_states(states)[4].powers.nets == 90


def test_state_survives_its_file() -> None:
    state = compute_shard(plan(), X.T.contiguous(), 2)
    data = pack_arrays(pack(state))
    assert data == pack_arrays(pack(state))
    again = unpack(unpack_arrays(data))
    for name, array in pack(again).items():
        assert (array == pack(state)[name]).all(), name


@pytest.mark.parametrize("damage", ["cut", "flip", "other plan", "other shard", "empty"])
def test_damaged_shards_are_found_and_computed_again(damage: str, clean: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(plan(), X, out=folder)
    file = folder / "shards" / "000003.shard"
    data = file.read_bytes()
    changed = {
        "cut": data[: len(data) // 2],
        "flip": data[:-40] + bytes([data[-40] ^ 1]) + data[-39:],
        "other plan": data.replace(b'"plan": "', b'"plan": "0', 1),
        "other shard": (folder / "shards" / "000002.shard").read_bytes(),
        "empty": b"",
    }[damage]
    file.write_bytes(changed)
    ensemble = run(plan(), X, out=folder, resume=True)
    assert ensemble.notes == ("5 shards were finished before", "damaged shards computed again: 3")
    assert contents(folder) == contents(clean)


def test_another_plan_is_refused_with_the_difference(clean: Path) -> None:
    with pytest.raises(RunError, match=r"(?s)another one.*-  \"sigma_w\": 1.3.*\+  \"sigma_w\": 1.4"):
        run(plan(net=NET.with_(sigma_w=1.4)), X, out=clean, resume=True)
    with pytest.raises(RunError, match='"inputs"'):
        run(plan(), X + 1, out=clean, resume=True)
    with pytest.raises(RunError, match="pass --resume"):
        run(plan(), X, out=clean)


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match=r"thesis\.tex"):
        run(plan(), X, out=tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "precious"
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="while making the run folder"):
        run(plan(), X, out=tmp_path / "file" / "run")


def test_two_processes_cannot_work_in_one_folder(tmp_path: Path) -> None:
    from firstlight.ensemble.runs._folder import Folder

    folder = Folder.open(tmp_path / "run", plan(), "x", resume=False)
    with folder.locked(), pytest.raises(RunError, match="another process"), folder.locked():
        raise AssertionError("entered twice")


def test_a_full_disk_leaves_nothing_half_written(clean: Path, tmp_path: Path) -> None:
    """The system itself refuses to let any file grow past 4000 bytes, in a process of its own."""
    folder = tmp_path / "run"
    script = f"""
import resource, signal, sys, torch
sys.path.insert(0, {str(Path(__file__).parent)!r})
from firstlight.ensemble import Plan, run
from firstlight.errors import RunError
from firstlight.network import RandomNetwork
net = RandomNetwork(depth=4, width=12, sigma_w=1.3, sigma_b=0.1)
plan = Plan(net=net, nets=90, layers=(1, 4), seed=7, shards=6, gradients=True)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
try:
    run(plan, torch.linspace(-1, 2, 15).reshape(3, 5), out={str(folder)!r})
except RunError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "while writing 000000.shard" in done.stdout, done.stdout + done.stderr
    assert "free some space and resume" in done.stdout
    assert sorted(p.name for p in folder.rglob("*") if p.is_file()) == [".lock", "plan.json"]
    run(plan(), X, out=folder, resume=True)
    assert contents(folder) == contents(clean)


KILLED = """
import torch
from firstlight.ensemble import Plan, run
from firstlight.network import RandomNetwork
net = RandomNetwork(depth=40, width=60, activation="relu", sigma_w=2**0.5)
plan = Plan(net=net, nets=4000, layers=(1, 40), seed=3, shards=40)
if __name__ == "__main__":
    run(plan, torch.ones(2, 5).tril(), out="run", resume={resume})
"""


@pytest.mark.slow
def test_kill_minus_nine_loses_only_the_shards_in_flight(tmp_path: Path) -> None:
    def start(resume: bool, where: Path) -> subprocess.Popen[bytes]:
        where.mkdir(exist_ok=True)
        (where / "work.py").write_text(KILLED.format(resume=resume))
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen([sys.executable, "work.py"], cwd=where, env=env)

    victim, shards = tmp_path / "victim", tmp_path / "victim" / "run" / "shards"
    process, kills, kept = start(False, victim), 0, 0
    for target in (3, 9, 20):
        while process.poll() is None and len(list(shards.glob("*.shard"))) < target:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += process.returncode == -signal.SIGKILL
        now = len(list(shards.glob("*.shard")))
        assert now >= kept, "a finished shard was lost"
        kept = now
        process = start(True, victim)
    assert process.wait() == 0
    assert kills >= 1, "the runs ended before they could be killed"
    calm = tmp_path / "calm"
    assert start(False, calm).wait() == 0
    assert contents(victim / "run") == contents(calm / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nets": 0}, "at least one network"),
        ({"layers": (1, 5)}, "between 1 and the depth 4"),
        ({"layers": (0,)}, "between 1 and the depth 4"),
        ({"seed": -1}, "seed ≥ 0"),
        ({"shards": 91}, "between 1 and nets=90 shards"),
    ],
)
def test_bad_plans(change: dict, message: str) -> None:
    with pytest.raises(DomainError, match=message):
        plan(**change)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.ones(0, 3), "expected inputs of shape"),
        (torch.tensor(1.0), "expected inputs of shape"),
        (torch.tensor([1.0, float("nan")]), "finite inputs"),
        (torch.ones(2, 2_000_000).T, "GB of memory"),
    ],
)
def test_bad_inputs(inputs: torch.Tensor, message: str) -> None:
    with pytest.raises(DomainError, match=message):
        run(plan(correlations=True), inputs)


def test_wrong_number_of_features_and_workers() -> None:
    with pytest.raises(DomainError, match="expected 4 features per input"):
        run(plan(net=NET.with_(in_features=4)), X)
    with pytest.raises(DomainError, match="at least 1"):
        Local(0)


def test_plan_text_and_back() -> None:
    assert Plan.from_dict(json.loads(json.dumps(plan().to_dict()))) == plan()


def test_a_run_killed_while_its_plan_was_written_can_be_resumed(clean: Path, tmp_path: Path) -> None:
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
import test_runs
test_runs.run(test_runs.plan(), test_runs.X, out=sys.argv[1])
"""
    for resume in (False, True):
        folder = tmp_path / str(resume)
        done = subprocess.run([sys.executable, "-c", script, str(folder)], check=False)
        assert done.returncode == -signal.SIGKILL
        assert any(p.suffix == ".part" for p in folder.iterdir())
        run(plan(), X, out=folder, resume=resume)
        assert contents(folder) == contents(clean)


def test_forged_shards_and_other_shapes_of_damage_never_change_a_number(clean: Path, tmp_path: Path) -> None:
    from firstlight.ensemble.runs._folder import Folder
    from firstlight.files import write_sealed

    def shard(folder: Path) -> Path:
        return folder / "shards" / "000001.shard"

    def forged(folder: Path, arrays: dict) -> None:
        digest = Folder.open(folder, plan(), digest_of(X.T.contiguous()), resume=True).digest
        write_sealed(shard(folder), "shard", {"plan": digest, "shard": 1}, pack_arrays(arrays))

    def link(folder: Path) -> None:
        shard(folder).unlink()
        shard(folder).symlink_to(tmp_path / "nowhere")

    damages = [
        lambda f: forged(f, {}),
        lambda f: forged(f, {"layers": torch.tensor([1]).numpy()}),
        lambda f: shard(f).write_bytes(b"firstlight-shard/1\n" + b"[" * 100_000 + b"\n"),
        link,
    ]
    for number, damage in enumerate(damages):
        folder = tmp_path / str(number)
        shutil.copytree(clean, folder)
        damage(folder)
        ensemble = run(plan(), X, out=folder, resume=True)
        assert ensemble.notes[-1] == "damaged shards computed again: 1"
        assert contents(folder) == contents(clean)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "plan.json").write_bytes(b""), "damaged"),
        (lambda f: (f / "plan.json").write_text('{"format": "firstlight-run/2"}'), "older version"),
        (lambda f: flip(f / "plan.json"), "damaged"),
        (lambda f: ((f / "plan.json").unlink(), (f / "plan.json").mkdir()), "damaged"),
        (lambda f: (f / "plan.json").unlink(), "expected an empty folder or a run"),
        (lambda f: (shutil.rmtree(f / "shards"), (f / "shards").write_text("x")), "run folder"),
        (lambda f: ((f / ".lock").unlink(), (f / ".lock").mkdir()), "expected to lock"),
        (lambda f: f.chmod(0o770), "chmod go-w"),
        (lambda f: (f / "shards").chmod(0o777), "chmod go-w"),
        (lambda f: (f / "plan.json").chmod(0o666), "chmod go-w"),
    ],
)
def test_a_folder_that_cannot_be_believed_is_refused(
    change, message: str, clean: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "run"
    shutil.copytree(clean, folder)
    change(folder)
    with pytest.raises(RunError, match=message):
        run(plan(), X, out=folder, resume=True)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.slow
def test_every_flipped_bit_in_a_run_folder_is_found_or_changes_nothing(clean: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    whole = contents(clean)
    outcomes: dict[str, int] = {"refused": 0, "computed again": 0, "harmless": 0}
    for number, (name, data) in enumerate((name, data) for name, data in whole.items() if data):
        # a place in each eighth of the file: heads, digests and bodies are all met
        for eighth in range(8):
            folder = tmp_path / f"{number}-{eighth}"
            shutil.copytree(clean, folder)
            changed = bytearray(data)
            changed[rng.randrange(len(data) * eighth // 8, len(data) * (eighth + 1) // 8)] ^= (
                1 << rng.randrange(8)
            )
            (folder / name).write_bytes(changed)
            try:
                ensemble = run(plan(), X, out=folder, resume=True)
            except RunError:
                outcomes["refused"] += 1
                continue
            damaged = any("damaged" in note for note in ensemble.notes)
            outcomes["computed again" if damaged else "harmless"] += 1
            assert contents(folder) == whole, f"bit flipped in {name}, eighth {eighth}"
    # the plan is refused, shards are computed again, and what is written anew does no harm
    assert outcomes["refused"] == 8
    assert outcomes["computed again"] == 8 * 6
    assert outcomes["harmless"] == 8 * (len([data for data in whole.values() if data]) - 7)
