"""The history of benchmarks keeps every run, and the newest one is shown with what was measured before."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def history():
    sys.path.insert(0, str(ROOT))
    try:
        return importlib.import_module("benchmarks.history")
    finally:
        sys.path.remove(str(ROOT))


def test_a_second_run_is_added_and_the_first_stays(history, tmp_path):
    row = sys.modules["benchmarks.harness"].Row
    path = tmp_path / "benchmarks.json"
    history.record(path, {"audit": [row("a claim", 2.0, 3.0)], "pairs": [row("other", math.nan, 1.0)]})
    history.record(path, {"audit": [row("a claim", 1.5, 3.0, detail="faster")]})
    entries = history.read(path)
    assert [entry["topic"] for entry in entries] == ["audit", "pairs", "audit"]
    assert {"date", "versions", "processor", "rows"} <= set(entries[0])
    assert entries[0]["versions"]["torch"] == sys.modules["torch"].__version__
    # two runs within one second are in the order in which they were written
    assert history.newest(entries)["audit"]["rows"][0]["ratio"] == 1.5
    assert history.before(entries, "audit", "a claim") == [2.0]
    assert history.before(entries, "pairs", "other") == []
    assert entries[1]["rows"][0]["ratio"] is None


def test_a_file_of_another_kind_is_refused(history, tmp_path):
    path = tmp_path / "benchmarks.json"
    path.write_text(json.dumps({"audit": []}))
    with pytest.raises(ValueError, match="while reading recorded benchmarks: expected format"):
        history.read(path)


def test_the_recorded_file_can_be_read(history):
    entries = history.read(ROOT / "docs" / "benchmarks.json")
    assert len(history.newest(entries)) >= 9
    assert all(entry["rows"] for entry in entries)
