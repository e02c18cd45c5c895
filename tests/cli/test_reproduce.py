"""The verb `reproduce`: E2 in small, E1 on digits, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firstlight.cli import main
from firstlight.experiments.studies import STUDIES


@pytest.mark.slow
def test_deep_ks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "e2.json", tmp_path / "e2.html"
    arguments = [
        "--networks",
        "tanh;positive(3)",
        "--widths",
        "3",
        "--nets",
        "200",
        "--out",
        str(tmp_path / "runs"),
    ]
    assert main(["reproduce", "E2", *arguments, "--json", str(out), "--html", str(page)]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("network tanh")
    rows = json.loads(out.read_text())
    deep = {row["network"]: row["raw"] for row in rows if row["layer"] == 100}
    assert deep["tanh"] > 0.15 > deep["positive(3)"]
    assert page.read_text().count("<svg") >= 2
    assert main(["reproduce", "E2", *arguments, "--resume", "--json", str(out)]) == 0
    assert json.loads(out.read_text()) == rows


def test_correlations_of_digits(tmp_path: Path) -> None:
    out = tmp_path / "e1.json"
    arguments = [
        "--data",
        "digits",
        "--per-class",
        "2",
        "--networks",
        "relu",
        "--widths",
        "10",
        "--nets",
        "200",
    ]
    assert main(["reproduce", "E1", *arguments, "--json", str(out), "--html", str(tmp_path / "e1.html")]) == 0
    rows = json.loads(out.read_text())
    assert [row["layer"] for row in rows] == [0, 10, 30, 50]
    per_network = [row["per_network"] for row in rows]
    assert per_network == sorted(per_network)
    assert rows[-1]["defined"] < rows[0]["defined"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--networks", "sigmoid"], "expected tanh, relu, odd"), (["--widths", "ten"], "expected numbers")],
)
def test_refusals(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "E2", "--nets", "10", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_without_a_study_the_studies_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce"]) == 0
    out = capsys.readouterr().out
    for study in STUDIES:
        assert study.name in out
        assert study.cost in out
