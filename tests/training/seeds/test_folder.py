"""Runs in folders: killed, out of disk, of another plan, damaged, in use; nothing that was finished is lost."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from firstlight.errors import RunError
from firstlight.files import locked
from firstlight.training import TrainingPlan, TrainingRules, train_seeds

PLAN = TrainingPlan(
    depth=2,
    width=12,
    data="digits",
    seeds=(0, 3),
    epochs=4,
    rules=TrainingRules(batch=64, learning_rate=0.01),
)
# a full disk is a limit of size here: the system refuses to write more in both cases
CHILD = """
import os, resource, signal, sys
from firstlight.errors import RunError
from firstlight.training import TrainingPlan, train_seeds
plan = TrainingPlan.from_dict(__import__("json").loads(sys.argv[2]))
def full(epoch, runs):
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
try:
    train_seeds(plan, out=sys.argv[1], groups=int(sys.argv[3]), on_epoch=full)
except RunError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
train_seeds(plan, out=sys.argv[1], resume=True, on_epoch=lambda epoch, runs: os.kill(os.getpid(), signal.SIGKILL))
"""


def numbers(result):
    facts = result.to_dict()
    for run in facts["runs"]:
        for epoch in run["epochs"]:
            del epoch["seconds"]
    return facts["runs"]


@pytest.mark.parametrize("groups", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_a_full_disk_and_a_kill_lose_nothing_and_a_resumed_run_has_the_same_bits(tmp_path, groups):
    folder = tmp_path / "run"
    whole = train_seeds(PLAN, groups=groups)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), json.dumps(PLAN.to_dict()), str(groups)],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        check=False,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    assert "free some space and resume" in done.stdout
    assert sorted(p.name for p in folder.glob("weights-*")) == ["weights-000002.safetensors"]
    resumed = train_seeds(PLAN, out=folder, resume=True)
    assert resumed.resumed_from == 2
    assert numbers(resumed) == numbers(whole)
    again = train_seeds(PLAN, out=folder, resume=True)
    assert (again.resumed_from, numbers(again)) == (4, numbers(whole))
    kept = load_file(folder / "weights-000004.safetensors")
    assert set(kept) == {"weights", "mean", "square", "best"}
    assert not [p for p in folder.iterdir() if p.name.endswith(".part")]


def test_more_epochs_go_on_as_if_they_had_been_asked_for_at_once(tmp_path):
    train_seeds(replace(PLAN, epochs=2), out=tmp_path / "run")
    longer = train_seeds(PLAN, out=tmp_path / "run", resume=True)
    assert numbers(longer) == numbers(train_seeds(PLAN))


def test_a_write_that_stops_half_way_leaves_the_state_before(tmp_path, monkeypatch):
    from firstlight.training.seeds import folder as module

    folder = tmp_path / "run"

    def stopped(*_):
        raise KeyboardInterrupt

    def watch(epoch, runs):
        if epoch == 2:
            monkeypatch.setattr(module, "write_sealed", stopped)  # the weights are written, the state is not

    with pytest.raises(KeyboardInterrupt):
        train_seeds(PLAN, out=folder, on_epoch=watch)
    monkeypatch.undo()
    assert len(list(folder.glob("weights-*"))) == 2
    resumed = train_seeds(PLAN, out=folder, resume=True)
    assert resumed.resumed_from == 2
    assert numbers(resumed) == numbers(train_seeds(PLAN))


def test_folders_that_are_not_this_runs_are_refused(tmp_path):
    folder = tmp_path / "run"
    short = replace(PLAN, epochs=1)
    train_seeds(short, out=folder)
    with pytest.raises(RunError, match="--resume"):
        train_seeds(short, out=folder)
    for other in (replace(short, width=13), replace(short, seeds=(0, 4)), replace(short, fraction=0.5)):
        with pytest.raises(RunError, match=r"width|seeds|fraction"):
            train_seeds(other, out=folder, resume=True)
    (tmp_path / "full").mkdir(mode=0o700)
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(RunError, match=r"thesis\.tex"):
        train_seeds(short, out=tmp_path / "full")
    with locked(folder / ".lock", "test"), pytest.raises(RunError, match="another process"):
        train_seeds(short, out=folder, resume=True)


def test_a_plan_of_another_version_is_refused(tmp_path, monkeypatch):
    from firstlight.training.seeds import folder as module

    short = replace(PLAN, epochs=1)
    train_seeds(short, out=tmp_path / "run")
    monkeypatch.setattr(module, "versions", lambda: {"firstlight": "0.0", "numpy": "0", "torch": "0"})
    with pytest.raises(RunError, match=r"versions.*0\.0"):
        train_seeds(short, out=tmp_path / "run", resume=True)


@pytest.mark.parametrize("name", ["weights-000001.safetensors", "state.json", "plan.json"])
def test_one_flipped_bit_is_found(tmp_path, name):
    short = replace(PLAN, epochs=1)
    train_seeds(short, out=tmp_path / "run")
    path = tmp_path / "run" / name
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(bytes(raw))
    with pytest.raises(RunError, match=r"train anew|another folder"):
        train_seeds(short, out=tmp_path / "run", resume=True)
