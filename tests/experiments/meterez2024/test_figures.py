"""Figures of the batch-norm paper at small size: their message, and that they draw."""

from __future__ import annotations

import math

import matplotlib as mpl
import pytest

from firstlight.experiments import meterez2024 as paper

mpl.use("Agg")


@pytest.fixture
def axes():
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    yield axes
    pyplot.close(figure)


def test_figures_1_and_3(axes):
    gap, gradient = (f(width=16, depth=120, draws=1) for f in (paper.figure_1, paper.figure_3))
    assert (gap.name, gradient.name) == ("Figure 1", "Figure 3")
    lines = gap.lines()
    assert lines["orthogonal"][1][-1] < 0.1 * lines["orthogonal"][1][0]
    assert lines["normal"][1][-1] == math.inf
    ends = {label: y[-1] for label, (_, y) in gradient.lines().items()}
    assert ends["orthogonal"] < 1 < ends["normal"]
    gap.draw(axes)
    assert axes.get_yscale() == "log"
    assert len(axes.lines) == 2


def test_figure_2_repeated_samples_explode(axes):
    figure = paper.figure_2(width=24, depth=200, duplicates=(0, 12))
    lines = figure.lines()
    assert lines["0"][1][-1] < 1
    assert lines["12"][1][-1] > 3
    figure.draw(axes)
    assert axes.get_xlabel() == "depth"


def test_theory_stands_beside_measurement(axes):
    figure = paper.growth_by_gain(width=48, depth=60, gains=(0.5, 1.0))
    lines = figure.lines()
    for activation in ("sin", "tanh"):
        for measured, theory in zip(lines[activation][1], lines[f"{activation} (theory)"][1]):
            assert measured == pytest.approx(theory, abs=0.02)
    figure.draw(axes)


def test_figure_5_an_exponent_above_a_quarter_bounds_the_gradient(axes):
    figure = paper.figure_5(width=32, depth=160, exponents=(0.0, 0.4))
    figure.draw(axes)
    assert len(axes.lines) == 2
    lines = figure.lines()
    assert lines["0.0"][1][-1] - lines["0.0"][1][0] > 5
    assert abs(lines["0.4"][1][-1] - lines["0.4"][1][0]) < 1


def test_figures_4_and_6_resume(tmp_path, axes):
    settings = [paper.Setting(depth=8, width=24, learning_rate=0.05)]
    accuracy, _ = paper.figures_4_and_6(settings, epochs=1, checkpoints=tmp_path)
    longer, gap = paper.figures_4_and_6(settings, epochs=2, checkpoints=tmp_path)
    assert list(longer.rows[: len(accuracy.rows)]) == list(accuracy.rows)
    whole, _ = paper.figures_4_and_6(settings, epochs=2)
    # float32 sums may be ordered otherwise; an accuracy moves by a sample or two at most
    for one, other in zip(longer.rows, whole.rows):
        assert one["accuracy"] == pytest.approx(other["accuracy"], abs=0.01)
    assert gap.lines()[settings[0].label][1][0] < 1e-6
    longer.draw(axes)


def test_figures_4_and_6_each_by_itself(axes):
    settings = [
        paper.Setting(activation, depth=4, width=20, gain_exponent=0.4) for activation in ("sin", "tanh")
    ]
    accuracy, gap = paper.figure_4(settings, epochs=1), paper.figure_6(settings, epochs=1)
    assert {row["epoch"] for row in accuracy.rows} == {0, 1}
    assert all(0 <= row["accuracy"] <= 1 for row in accuracy.rows)
    assert sorted(gap.lines()) == ["sin, orthogonal, depth 4", "tanh, orthogonal, depth 4"]
    gap.draw(axes)
    assert axes.get_ylabel() == "weight gap"


def test_splits_are_a_partition():
    first, second = paper.splits()
    assert (len(first), len(second)) == (1400, 397)
    again, _ = paper.splits()
    assert (first.inputs == again.inputs).all()
