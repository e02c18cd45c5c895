"""Sweeps: the grid, its mistakes, its table, and resuming one."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from firstlight.ensemble import Plan, run
from firstlight.ensemble.runs.sweep import Sweep, correlated_inputs, run_sweep
from firstlight.errors import DomainError, FirstlightError, LoadError, RunError

TEXT = """
[network]
depth = 3
activation = "tanh"
[grid]
sigma_w = {start = 1.0, stop = 2.0, count = 2}
width = [[4, 5, 6], 8]
[run]
nets = 40
shards = 2
layers = [1, 3]
seed = 5
[inputs]
features = 10
count = 2
correlation = 0.3
"""


def test_cells_and_plans() -> None:
    sweep = Sweep.parse(TEXT)
    assert sweep.cells() == [
        {"sigma_w": 1.0, "width": (4, 5, 6)},
        {"sigma_w": 1.0, "width": 8},
        {"sigma_w": 2.0, "width": (4, 5, 6)},
        {"sigma_w": 2.0, "width": 8},
    ]
    plans = sweep.plans()
    assert plans[3].net.widths == (8, 8, 8)
    assert len({plan.seed for plan in plans}) == 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[grid]", "[gird]", "expected the tables"),
        ("depth = 3", "depth = 3\nsigma_w = 1.0", r"sigma_w in \[network\] or in \[grid\]"),
        ("depth = 3", "", "is not a network: .*no depth"),
        ('"tanh"', "tanh", "expected TOML"),
        ("count = 2}", "count = 0}", "start, stop, count"),
        ("[[4, 5, 6], 8]", "[]", "at least one value for width"),
        ("[[4, 5, 6], 8]", "8", "at least one value for width"),
        ("[[4, 5, 6], 8]", "[[4, 5], 8]", "is not a network: .*3 entries"),
        ("layers = [1, 3]", "layers = [1, 4]", "between 1 and the depth 3"),
        ("nets = 40", "networks = 40", r"\[run\] to hold"),
        ("features = 10", "pixels = 10", r"\[inputs\] to hold"),
        ("width =", "breadth =", "field names"),
    ],
)
def test_inconsistent_sweeps_are_refused_before_any_work(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(LoadError, match=f"(?s)while reading the sweep.*{message}"):
        Sweep.parse(TEXT.replace(old, new, 1))


def test_table_and_resume(tmp_path: Path) -> None:
    sweep = Sweep.parse(TEXT)
    rows = run_sweep(sweep, out=tmp_path / "a")
    assert len(rows) == 8
    with open(tmp_path / "a" / "results.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [r["depth"] for r in table] == ["1.0", "3.0"] * 4
    assert table[-1]["width"] == "8"
    assert float(table[-1]["q"]) == pytest.approx(rows[-1]["q"])
    assert json.loads((tmp_path / "a" / "results.json").read_text())[0]["width"] == "[4, 5, 6]"

    plan = sweep.plans()[3]
    alone: Plan = plan
    assert run(alone, sweep.tensor()).profile["q"].tolist() == [r["q"] for r in rows[-2:]]

    with pytest.raises(RunError, match="pass --resume"):
        run_sweep(sweep, out=tmp_path / "a")
    before = (tmp_path / "a" / "results.json").read_bytes()
    for lost in ("cells/0001/shards/000001.shard", "cells/0003/plan.json", "results.json"):
        (tmp_path / "a" / lost).unlink()
    for shard in (tmp_path / "a" / "cells" / "0003" / "shards").iterdir():
        shard.unlink()
    (tmp_path / "a" / "cells" / "0003" / "profile.json").unlink()
    run_sweep(sweep, out=tmp_path / "a", resume=True)
    assert (tmp_path / "a" / "results.json").read_bytes() == before
    with pytest.raises(RunError, match="another one"):
        run_sweep(Sweep.parse(TEXT.replace("seed = 5", "seed = 6")), out=tmp_path / "a", resume=True)


def test_blocks_are_swept_as_any_field(tmp_path: Path) -> None:
    text = """
    [network]
    width = 6
    [grid]
    blocks = ["2 * gated('swiglu') + rms", "dense('tanh')"]
    sigma_w = [1.0, 2.0]
    [run]
    nets = 4
    """
    rows = run_sweep(Sweep.parse(text), out=tmp_path / "blocks", progress=False)
    names = ["first", "1 swiglu", "2 swiglu", "3 rms"] * 2 + ["first", "1 dense(tanh)"] * 2
    assert [row["name"] for row in rows] == names
    assert [row["q_theory"] for row in rows if row["name"] == "first"] == pytest.approx([1.0, 4.0] * 2)


def test_convolutions_take_made_images(tmp_path: Path) -> None:
    text = TEXT.replace("features = 10", "shape = [2, 3, 4]").replace(
        "width = [[4, 5, 6], 8]", "kernel_size = [1, [3, 2]]"
    )
    sweep = Sweep.parse(text.replace("depth = 3", "depth = 3\nwidth = 5"))
    x = sweep.tensor()
    assert x.shape == (2, 2, 3, 4)
    want = torch.tensor([[1.0, 0.3], [0.3, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(x.flatten(1) @ x.flatten(1).T / 24, want)
    rows = run_sweep(sweep, out=tmp_path / "a")
    assert [row["kernel_size"] for row in rows[::2]] == [1, "[3, 2]"] * 2
    assert all(abs(row["correlation"] - row["correlation_theory"]) < 0.3 for row in rows)
    with pytest.raises(LoadError, match="features or a shape"):
        Sweep.parse(
            text.replace("shape", "features = 3\nshape").replace("depth = 3", "depth = 3\nwidth = 5")
        ).tensor()


@pytest.mark.parametrize(("count", "correlation"), [(1, 0.0), (2, -1.0), (2, 1.0), (5, -0.25), (5, 0.9)])
def test_correlated_inputs_have_exactly_that_gram_matrix(count: int, correlation: float) -> None:
    x = correlated_inputs(7, count=count, correlation=correlation, q=2.0)
    want = torch.full((count, count), 2 * correlation, dtype=torch.float64).fill_diagonal_(2.0)
    torch.testing.assert_close(x @ x.T / 7, want)


@pytest.mark.parametrize(
    "change", [{"count": 8}, {"count": 3, "correlation": -0.6}, {"q": 0.0}, {"count": 0}]
)
def test_impossible_inputs(change: dict) -> None:
    with pytest.raises(DomainError, match="while making correlated inputs"):
        correlated_inputs(7, **change)


GRID = "[network]\ndepth=3\nwidth=4\n[grid]\nsigma_w=[1.0]\n"
RANGE = "[network]\ndepth=3\nwidth=4\n[grid]\nsigma_w="


@pytest.mark.parametrize(
    "text",
    [
        "network=3", "grid=[1]\n", "[grid]\nsigma_w=3", "run=3\n" + GRID,
        "[network]\ndepth='a'\nwidth=4\n[grid]\nsigma_w=[1]",
        *(f"{GRID}[run]\n{line}" for line in ("seed='x'", "nets='x'", "shards=1.5", "layers=3", "seed=-1", "dtype=3")),
        *(f"{GRID}[inputs]\n{line}" for line in (
            "features='x'", "shape='x'", "shape=[]", "count=-1", "data=3", "q='x'", "features=100000000000",
        )),
        *(RANGE + text for text in (
            "{start='a',stop=2,count=3}", "{start=-1,stop=2,count=3,log=true}", "{start=1,stop=2,count='x'}",
            "{start=1,stop=2,count=1000000000000}", "{start=1,stop=inf,count=3}", "[[1,2],'a',nan]",
        )),
        RANGE + "{start=1,stop=2,count=100000}\nsigma_b={start=1,stop=2,count=100000}",
    ],
)  # fmt: skip
def test_a_sweep_that_says_something_impossible_is_refused_in_one_sentence(text):
    with pytest.raises(FirstlightError, match="expected"):
        Sweep.parse(text).tensor()
