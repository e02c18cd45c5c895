import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.render import Axis, Rule, Series, heat_map, histogram, line_chart, qq_plot
from firstlight.render.heatmap import colour

NUMBER = st.floats(allow_nan=True, allow_infinity=True)


def parsed(figure):
    return ElementTree.fromstring(str(figure))


def coordinates(figure):
    """Every number that places something in the main picture."""
    svg = parsed(figure).find("svg")
    for node in svg.iter():
        for name in ("x", "y", "cx", "cy", "d", "width", "height"):
            if name in node.attrib:
                yield from (float(v) for v in re.findall(r"[-+]?[\d.]+(?:e[-+]?\d+)?", node.attrib[name]))
        assert not re.search(
            r"nan|inf", " ".join(node.attrib.get(k, "") for k in ("d", "cx", "cy", "x", "y"))
        )


def marks(figure):
    svg = parsed(figure).find("svg")
    return [n for n in svg.iter() if n.tag in ("circle", "rect") or n.attrib.get("class") == "beyond"]


@settings(max_examples=40)
@given(st.lists(st.tuples(NUMBER, NUMBER), max_size=20), st.sampled_from(["linear", "log", "exponent"]),
       st.sampled_from(["marks", "hollow", "squares", "line", "dashed", "steps", "both"]))  # fmt: skip
def test_no_numbers_break_a_chart(points, scale, style):
    x, y = [p[0] for p in points], [p[1] for p in points]
    figure = line_chart(
        [Series("s", x, y, style, error=[abs(v) for v in y])],
        title="t",
        y=Axis("y", scale),
        rules=[Rule(0.5, "line")],
    )
    assert all(-20 <= v <= 420 for v in coordinates(figure))


@pytest.mark.parametrize("make", [list, np.array, torch.tensor])
def test_lists_arrays_and_tensors_draw_alike(make):
    figure = line_chart(
        [Series("q", make([1, 2, 3]), make([1.0, 2.0, 4.0]), error=make([0.1, 0.1, 0.0]))], title="t"
    )
    assert len(marks(figure)) == 3
    assert figure == line_chart([Series("q", [1, 2, 3], [1.0, 2.0, 4.0], error=[0.1, 0.1, 0.0])], title="t")


def test_marks_lie_where_their_values_are():
    figure = line_chart([Series("q", [0, 1, 2], [1.0, 10.0, 100.0])], title="t", y=Axis("q", "log"))
    heights = [float(m.attrib["cy"]) for m in marks(figure)]
    # pixels are rounded to a tenth, so differences to two tenths
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.2)
    assert heights[0] > heights[1]


def test_what_cannot_be_shown_is_a_triangle_at_the_edge_and_what_is_missing_is_left_out():
    y = [1.0, math.inf, math.nan, 0.0, -1.0, 2.0]
    figure = line_chart([Series("q", range(6), y, names=list("abcdef"))], title="t", y=Axis("q", "log"))
    beyond = [n for n in parsed(figure).iter() if n.attrib.get("class") == "beyond"]
    assert [n.find("title").text for n in beyond] == ["b: ∞", "d: 0", "e: −1"]
    assert len(marks(figure)) == 5


def test_a_line_breaks_where_a_value_is_missing():
    figure = line_chart([Series("q", range(5), [1.0, 2.0, math.nan, 2.0, 1.0], "line")], title="t")
    line = next(n for n in parsed(figure).find("svg").iter() if n.attrib.get("class") == "line")
    assert line.attrib["d"].count("M") == 2


def test_long_series_are_thinned_but_keep_their_extremes_and_their_shape():
    y = np.sin(np.arange(5000) / 300)
    y[1234], y[4000], y[2000] = 7.0, -9.0, math.inf
    figure = line_chart([Series("q", range(5000), y, rows=range(5000))], title="t")
    kept = {int(m.attrib["data-r"]) for m in marks(figure)}
    assert {1234, 4000, 2000} <= kept
    assert 100 < len(kept) <= 162
    line = line_chart([Series("q", range(5000), np.arange(5000.0), "line")], title="t")
    drawn = next(n for n in parsed(line).find("svg").iter() if n.attrib.get("class") == "line").attrib["d"]
    assert drawn.count("M") == 1, "thinning must not look like a gap"


def test_series_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="'q': expected one y per x, got 2 for 3"):
        Series("q", [1, 2, 3], [1.0, 2.0])


def test_titles_labels_and_legends_are_escaped():
    evil = "<script>alert(1)</script>"
    figure = line_chart([Series(evil, [1], [1.0], names=[evil])], title=evil, x=Axis(evil), y=Axis(evil),
                        rules=[Rule(1.0, evil)], caption=evil)  # fmt: skip
    assert "<script" not in figure
    assert parsed(figure).find("figcaption/b").text == evil


def test_the_area_of_a_histogram_is_one():
    counts = [1, 0, 5, 2]
    figure = histogram(counts, low=-2.0, high=2.0, title="t")
    bars = next(n for n in parsed(figure).iter() if n.attrib.get("class") == "hist").attrib["d"]
    base = [float(v) for v in re.findall(r"M[\d.]+ ([\d.]+)V", bars)]
    tops = [float(v) for v in re.findall(r"V([\d.]+)H", bars)]
    heights = [b - t for b, t in zip(base, tops, strict=True)]
    assert len(heights) == 3, "an empty bin has no bar"
    assert [h / sum(heights) for h in heights] == pytest.approx([1 / 8, 5 / 8, 2 / 8], abs=0.002)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ([], 0.0, 1.0),
        ([0, 0], 0.0, 1.0),
        ([1], 2.0, 2.0),
        ([1, 1], -math.inf, math.inf),
        ([1], math.nan, 1.0),
    ],
)
def test_a_histogram_of_nothing_says_so(counts, low, high):
    assert "no spread to draw" in histogram(counts, low=low, high=high, title="t", mean=0.0, std=1.0)


@pytest.mark.parametrize("std", [0.0, math.nan, math.inf, None])
def test_no_gaussian_is_drawn_that_does_not_exist(std):
    figure = histogram([1, 2], low=0.0, high=1.0, title="t", mean=0.0, std=std)
    assert "Gaussian" not in figure
    assert "Gaussian" not in qq_plot([0.0, 1.0], [0.3, 0.6], title="t", mean=0.0, std=std)


def test_gaussian_quantiles_lie_on_the_line():
    from statistics import NormalDist

    levels = [0.01, 0.1, 0.5, 0.9, 0.99]
    figure = qq_plot([NormalDist(2, 3).inv_cdf(v) for v in levels], levels, title="t", mean=2.0, std=3.0)
    points = np.array([(float(m.attrib["cx"]), float(m.attrib["cy"])) for m in marks(figure)])
    slope, shift = np.polyfit(points[:, 0], points[:, 1], 1)
    # pixels are rounded to a tenth
    assert np.abs(points[:, 1] - slope * points[:, 0] - shift).max() < 0.2


@settings(max_examples=40)
@given(st.integers(1, 6), st.integers(1, 6), st.data())
def test_heat_maps_survive_any_numbers(rows, cols, data):
    values = [[data.draw(NUMBER) for _ in range(cols)] for _ in range(rows)]
    scale = data.draw(st.sampled_from(["linear", "log"]))
    centre = data.draw(st.sampled_from([None, 1.0]))
    figure = heat_map(values, title="t", x=Axis("a"), y=Axis("b"), z=Axis("z", scale), centre=centre)
    assert all(-400 <= v <= 400 for v in coordinates(figure))


def test_a_heat_map_is_compact_and_covers_every_finite_cell():
    values = np.random.default_rng(0).normal(size=(60, 60))
    values[3, 4] = math.nan
    figure = heat_map(values, title="t", x=Axis("a"), y=Axis("b"))
    assert len(figure) < 120_000
    cells = next(n for n in parsed(figure).iter() if n.attrib.get("class") == "cells")
    runs = [r for p in cells for r in re.findall(r"M([\d.]+) ([\d.]+)H([\d.]+)V([\d.]+)", p.attrib["d"])]
    widths = [float(right) - float(left) for left, _, right, _ in runs]
    # 290 pixels across; edges are rounded to 0.01, and what one cell loses its neighbour has
    assert sum(widths) / (290 / 60) == pytest.approx(60 * 60 - 1, rel=1e-5)
    assert {bottom for *_, bottom in runs} - {top for _, top, *_ in runs} == {"210"}


def test_ragged_heat_maps_are_refused():
    with pytest.raises(ValueError, match="expected rows of 2 values, got one of 1"):
        heat_map([[1.0, 2.0], [1.0]], title="t", x=Axis(), y=Axis())


def test_the_sequential_colours_grow_in_lightness_and_the_diverging_are_palest_in_the_middle():
    def luminance(code):
        channels = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    grown = [luminance(colour(i / 50)) for i in range(51)]
    assert all(a < b for a, b in pairwise(grown))
    spread = [luminance(colour(i / 50, diverging=True)) for i in range(51)]
    assert max(spread) == spread[25]


@pytest.mark.parametrize("style", ["both", "line"])
def test_an_error_that_reaches_below_zero_ends_at_the_bottom_of_a_logarithmic_axis(style):
    y = Axis("q", scale="log", low=1e-3)
    chart = line_chart([Series("q", [1, 2], [0.01, 0.1], style, error=[0.02, 0.01])], title="q", y=y)
    assert "nan" not in str(chart)
    below = line_chart([Series("q", [1, 2], [0.01, 0.1], style, error=[0.0099, 0.01])], title="q", y=y)
    assert chart.count("<path") == below.count("<path")


def test_a_seventh_series_does_not_look_like_the_first():
    chart = line_chart([Series(str(i), [1, 2], [i, i + 1.0], "both") for i in range(8)], title="eight")
    looks = re.findall(r'<g class="(c\d both(?: second)?)"', chart)
    assert len(set(looks)) == 8  # in the legend and in the chart
    assert len(looks) == 16


def test_measurement_theory_before_and_after_have_four_colours():
    from firstlight.render import chart

    assert len({chart.MEASURED, chart.THEORY, chart.BEFORE, chart.AFTER}) == 4
    assert chart.MEASURED_TOO % chart.COLOURS == chart.MEASURED
