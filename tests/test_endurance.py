"""A frugal share of `scripts/endurance.py`: killed works end with the same bits, and no arguments break a verb."""

import importlib.util
import os
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parent.parent / "scripts" / "endurance.py"


@pytest.fixture(scope="module")
def endurance():
    spec = importlib.util.spec_from_file_location("endurance", _SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="works are killed in forked processes")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("name", ["ensemble", "sweep", "training"])
def test_a_killed_work_ends_with_the_same_bits(endurance, name, tmp_path):
    seen = endurance.kill(name, 10, folder=tmp_path)
    assert seen["kills"] == 10
    assert (seen["different"], seen["refused"]) == (0, 0)


@pytest.mark.parametrize(
    ("seed", "cases"), [(0, 20), *(pytest.param(i, 250, marks=pytest.mark.slow) for i in range(1, 5))]
)
def test_no_arguments_break_a_verb(endurance, tmp_path, monkeypatch, seed, cases):
    """Every verb in this process, by its main function."""
    monkeypatch.chdir(tmp_path)
    assert endurance.fuzz(cases, seed=seed) == []
