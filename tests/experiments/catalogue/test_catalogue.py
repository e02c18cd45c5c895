"""The catalogue: every row's check, at its quick scale, and the page that its command makes."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from firstlight.experiments import Settings, find, run
from firstlight.experiments.catalogue import ENTRIES, catalogue_markdown, catalogue_table
from firstlight.experiments.catalogue.table import ABSENT

PAGE = Path(__file__).parents[3] / "docs" / "guide" / "catalogue_table.inc"
# rows whose figures contradict what was claimed: the evidence stands in the study
CONTRADICTED = {36: 5}
# rows whose figure is only close here, and why it is not called reproduced
DEPARTS: dict[int, str] = {}


def test_rows_are_the_catalogues():
    numbers = [entry.number for entry in ENTRIES]
    assert len(set(numbers)) == len(numbers)
    assert not set(numbers) & set(ABSENT)
    assert all(find(f"catalogue/{number}").name == f"catalogue/{number}" for number in numbers)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry.number))
def test_what_gives_a_row_is_public(entry):
    for name in entry.made_of:
        room, _, member = f"firstlight.{name}".rpartition(".")
        assert member in dir(importlib.import_module(room)), name


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry.number))
def test_a_row_gives_its_figures(entry):
    findings = run(entry.study(), Settings(seed=1)).findings
    assert findings.claims
    other = [c for c in findings.claims if c.verdict in ("differs", "contradicted")]
    assert len(other) == CONTRADICTED.get(entry.number, 0), other
    assert (entry.curve is None) or "<svg" in entry.draw(findings)


def test_the_page_is_the_commands():
    """One row that is quick, made anew, is in the page letter by letter; all rows are there with a status."""
    text = PAGE.read_text(encoding="utf-8")
    quick = catalogue_markdown(catalogue_table(e for e in ENTRIES if e.number == 71)).splitlines()
    start = next(i for i, line in enumerate(quick) if line.startswith("| 71 |"))
    assert quick[start] in text
    rows = [
        line for line in text.splitlines() if line.startswith("| ") and line.split("|")[1].strip().isdigit()
    ]
    shown = {int(line.split("|")[1]): line.split("|")[3].strip() for line in rows}
    assert set(shown) == {e.number for e in ENTRIES} | set(ABSENT)
    assert {n for n, status in shown.items() if status == "departs"} == set(DEPARTS)
