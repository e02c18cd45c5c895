"""The verb `plot`: a heat map with the edge of chaos, lines with theory, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firstlight.cli import main

SWEEP = """
[network]
depth = 6
width = 30
activation = "tanh"
[grid]
sigma_b = [0.05, 0.3]
sigma_w = {start = 0.8, stop = 1.6, count = 3}
[run]
nets = 20
layers = [1, 6]
[inputs]
count = 2
correlation = 0.5
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("sweep")
    (where / "sweep.toml").write_text(SWEEP)
    assert (
        main(["simulate", "--sweep", str(where / "sweep.toml"), "--out", str(where / "out"), "--quiet"]) == 0
    )
    return where / "out"


def test_heat_map_with_the_edge_of_chaos(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "map.html"
    arguments = ["--x", "sigma_b", "--y", "sigma_w", "--value", "correlation", "--edge", "tanh"]
    assert main(["plot", str(folder), *arguments, "--html", str(page)]) == 0
    text = page.read_text()
    assert "edge of chaos" in text
    assert "correlation at layer 6, simulated" in text
    assert "correlation at layer 6, infinite width" in text
    assert text.count("edge of chaos") >= 2


def test_lines_with_theory_beside(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "lines.html"
    assert main(["plot", str(folder), "--value", "q", "--log", "--html", str(page)]) == 0
    assert page.read_text().count("infinite width") >= 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--value", "colour"], "got 'colour'"),
        (["--x", "sigma_w"], "both --x and --y"),
        (["--x", "sigma_w", "--y", "depths"], "got 'depths'"),
        (["--x", "sigma_w", "--y", "sigma_w", "--edge", "tanh"], "fields sigma_w and sigma_b with --edge"),
        (["--x", "sigma_w", "--y", "sigma_b", "--layer", "3"], r"a layer among [1, 6], got 3"),
    ],
)
def test_refusals(
    folder: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", str(folder), *arguments, "--html", str(tmp_path / "x.html")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


def test_no_sweep_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", str(tmp_path), "--html", str(tmp_path / "x.html")]) == 2
    assert "finished sweep" in capsys.readouterr().err


def test_values_at_unequal_distances_stand_where_they_are() -> None:
    from firstlight.cli.verbs.plot import _cells, _steps

    assert _steps([0.0, 0.5, 1.0]) == [0, 1, 2]
    axis, steps = _cells("sigma_b", [0.0, 0.1, 0.3]), _steps([0.0, 0.1, 0.3])
    assert (axis.low, axis.high) == pytest.approx((-0.05, 0.4))
    # borders half-way between neighbours: shares .1, .15 and .2 of .45
    assert [steps.count(i) / len(steps) for i in range(3)] == pytest.approx(
        [0.1 / 0.45, 0.15 / 0.45, 0.2 / 0.45], abs=0.03
    )


ROW = {"sigma_w": 1, "sigma_b": 2, "name": "a", "q": 1, "depth": 1}


@pytest.mark.parametrize(
    "rows",
    [
        [], {}, 3, "x", [1], [{}], [{"name": "a"}], [{"name": "a", "q": 1}], [ROW | {"q": "x"}], [ROW | {"depth": "x"}],
        [ROW | {"depth": None}], [ROW | {"q": [1]}], [ROW, {"name": "b"}], [ROW | {"sigma_b": [1]}],
        [ROW | {"sigma_w": "a"}],
    ],
)  # fmt: skip
def test_a_table_that_is_no_sweeps_is_refused_in_one_line(rows, tmp_path, capsys):
    (tmp_path / "results.json").write_text(json.dumps(rows))
    assert (
        main(["plot", str(tmp_path), "--html", str(tmp_path / "a.html"), "--x", "sigma_w", "--y", "sigma_b"])
        == 2
    )
    told = capsys.readouterr().err
    assert "expected" in told
    assert "unexpected" not in told
    assert len(told.strip().splitlines()) == 1
