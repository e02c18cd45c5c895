"""The verb `reproduce`: E2 in small, E1 on digits, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firstlight.cli import main
from firstlight.experiments import stored_names, studies


def _rows(path: Path) -> list[dict[str, object]]:
    columns = json.loads(path.read_text())["columns"]
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


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
        "--set",
        "layers=1,100",
        "--out",
        str(tmp_path / "runs"),
    ]
    assert main(["reproduce", "E2", *arguments, "--json", str(out), "--html", str(page)]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("wolinski2025/deep-ks, quick scale")
    assert "costs" in shown.err.splitlines()[0]
    rows = _rows(out)
    deep = {row["network"]: row["ks"] for row in rows if row["layer"] == 100}
    assert deep["tanh"] > 0.15 > deep["positive(3)"]
    assert page.read_text().count("<svg") >= 2
    assert main(["reproduce", "E2", *arguments, "--resume", "--json", str(out)]) == 0
    assert _rows(out) == rows


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
    rows = [row for row in _rows(out) if row["estimator"] == "per network"]
    assert [row["layer"] for row in rows] == [0, 10, 30, 50]
    per_network = [row["correlation"] for row in rows]
    assert per_network == sorted(per_network)
    assert rows[-1]["defined"] < rows[0]["defined"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--networks", "sigmoid"], "expected tanh, relu, odd"),
        (["--networks", "3"], "expected tanh, relu, odd"),
        (["--networks", "odd(1)"], "expected a shape θ"),
        (["--widths", "ten"], "expected widths to be different whole numbers of at least 1"),
        (["--widths", "0"], "expected widths to be different whole numbers of at least 1"),
        (["--set", "layers=5,5"], "expected layers to be different whole numbers"),
        (["--set", "nets=3"], "expected each size once, got 'nets' twice"),
        (["--seed", "-1"], "expected a seed of at least 0"),
        (["--resume"], "expected a folder of runs with resume"),
        (["--data", "digits"], "expected no image set"),
        (["--per-class", "3"], "expected sizes among networks, widths, nets, layers, got 'per_class'"),
        (["--set", "nets"], "expected NAME=VALUE"),
        (["--all"], "expected a study or --all"),
    ],
)
def test_refusals(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "E2", "--nets", "10", *arguments]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert "costs" not in shown  # all is checked before the cost is told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "x.json"], "expected a study or --all with --json, got neither"),
        (["--nets", "3"], "expected a study or --all with --nets"),
        (["E2", "--stored", "--nets", "3"], "expected --stored without settings of a run, got --nets too"),
    ],
)
def test_what_does_not_go_together(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_with_stored_alone_those_with_a_stored_result_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "--stored"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert names == list(stored_names())


def test_an_unknown_study_is_named_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "wolinski2025/corelations"]) == 2
    assert "did you mean 'wolinski2025/correlations'" in capsys.readouterr().err


def test_missing_data_say_what_to_fetch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FIRSTLIGHT_DATA", raising=False)
    assert main(["reproduce", "E1", "--nets", "3"]) == 2
    assert "FIRSTLIGHT_DATA" in capsys.readouterr().err


def test_a_download_fetches_the_image_sets_that_a_run_needs_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("firstlight.data.images.fetch", lambda file, folder: asked.append(file.path))
    arguments = ["--nets", "2", "--data-dir", str(tmp_path), "--download"]
    assert main(["reproduce", "E1", *arguments, "--data", "mnist"]) == 2
    assert "fetch them with --download" in capsys.readouterr().err
    assert asked
    assert all(path.startswith("MNIST/raw/") for path in asked)
    asked.clear()
    assert main(["reproduce", "E1", *arguments]) == 2
    assert {path.split("/")[0] for path in asked} == {"MNIST", "cifar-10-batches-py"}


def test_a_short_study_says_that_it_keeps_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "catalogue/51", "--out", str(tmp_path / "runs")]) == 0
    assert "keeps nothing in" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_data_without_classes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "E1", "--nets", "3", "--networks", "relu", "--data", "3x4x4"]) == 2
    assert "expected data with one tensor of inputs and with targets" in capsys.readouterr().err


def test_without_a_study_the_studies_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce"]) == 0
    out = capsys.readouterr().out
    for study in studies():
        assert study.name in out
        assert study.cost["quick"] in out
        assert study.cost["paper"] in out
        assert study.source in out
