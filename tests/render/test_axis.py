import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.render.axis import Axis, fit, inner

values = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(values, max_size=8), st.sampled_from(["linear", "log", "exponent"]))
def test_any_data_gives_a_usable_axis_with_ordered_ticks_inside_it(data, scale):
    placed = fit(Axis("x", scale), data, start=10.0, end=210.0)
    assert placed.low < placed.high
    assert math.isfinite(placed.low)
    assert math.isfinite(placed.high)
    ticks = placed.ticks()
    pixels = [pixel for pixel, _ in ticks]
    assert pixels == sorted(pixels)
    assert all(9.9 <= pixel <= 210.1 for pixel in pixels)
    labels = [label for _, label in ticks]
    assert len(set(labels)) == len(labels) <= 25
    for value in data:
        if math.isfinite(inner(value, scale)) and abs(inner(value, scale)) < 1e300:
            assert placed.inside(value)
            assert 10 <= placed(value) <= 210


@given(st.floats(1e-290, 1e290), st.floats(1.5, 1e6))
def test_a_logarithmic_axis_puts_equal_ratios_at_equal_distances(value, ratio):
    placed = fit(Axis("x", "log"), [value, value * ratio**2], start=0.0, end=100.0, pad=0)
    # pixels are rounded to a tenth
    assert placed(value * ratio) == pytest.approx(50, abs=0.11)


@pytest.mark.parametrize("data", [[], [math.nan], [0.0], [3.0, 3.0], [-2.0], [1e-20], [1e25, 1e25]])
def test_data_without_a_span_stand_in_the_middle_of_an_axis(data):
    placed = fit(Axis(), data, start=0.0, end=100.0)
    for value in data:
        if not math.isnan(value):
            assert placed(value) == pytest.approx(50, abs=0.2)
    assert placed.ticks()


def test_fixed_ends_hold_and_what_lies_beyond_sits_at_the_end():
    placed = fit(Axis(low=0, high=1), [0.5, 7.0, -3.0], start=0.0, end=100.0)
    assert (placed.low, placed.high) == (0, 1)
    assert placed(7.0) == 100
    assert placed(-math.inf) == 0
    assert not placed.inside(7.0)


@pytest.mark.parametrize(
    ("axis", "data", "labels"),
    [
        (Axis(), [0.0, 1.0], ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (Axis(), [1.00001, 1.00003], ["1.00001", "1.000015", "1.00002", "1.000025", "1.00003"]),
        (Axis(scale="log"), [1e-3, 1e3], ["10⁻²", "1", "10²"]),
        (Axis(scale="log"), [1.0, 20.0], ["1", "2", "5", "10", "20"]),
        (Axis(scale="exponent"), [-600.0, 600.0], ["10⁻⁵⁰⁰", "1", "10⁵⁰⁰"]),
    ],
)
def test_ticks_are_round_and_tell_neighbours_apart(axis, data, labels):
    assert [label for _, label in fit(axis, data, start=0.0, end=100.0, pad=0).ticks()] == labels
