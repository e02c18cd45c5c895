import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.render.numbers import from_log, number, power_of_ten


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (-0.0, "0"), (1, "1"), (0.1 + 0.2, "0.3"), (999.6, "1000"), (1234567, "1234567"),
        (12345678, "1.23e7"), (0.00012, "0.00012"), (0.000012, "1.2e−5"), (-2.5, "−2.5"), (1e-300, "1e−300"),
        (math.inf, "∞"), (-math.inf, "−∞"), (math.nan, "–"), (None, "–"), (5e-324, "4.94e−324"),
    ],
)  # fmt: skip
def test_numbers_are_short_and_what_is_no_number_has_a_sign(value, text):
    assert number(value) == text


@given(st.floats(-1e300, 1e300))
def test_three_digits_are_kept(value):
    shown = float(number(value).replace("−", "-"))
    # three significant digits: off by at most half a unit in the third
    assert shown == pytest.approx(value, rel=0.0051, abs=5e-324)


@given(st.floats(-1e6, 1e6))
def test_a_logarithm_is_shown_as_its_number_even_where_that_overflows(log):
    text = from_log(log).replace("−", "-")
    mantissa, _, power = text.partition("e")
    shown = math.log(float(mantissa)) + int(power or 0) * math.log(10)
    assert shown == pytest.approx(log, abs=0.0051, rel=1e-9)


@pytest.mark.parametrize(
    ("log", "text"), [(math.nan, "–"), (math.inf, "∞"), (-math.inf, "0"), (-1000.0, "5.08e−435")]
)
def test_logarithms_at_the_ends(log, text):
    assert from_log(log) == text


def test_powers_are_written_with_raised_digits():
    assert [power_of_ten(k) for k in (-12, -1, 0, 1, 2, 0.25)] == [
        "10⁻¹²",
        "10⁻¹",
        "1",
        "10",
        "10²",
        "10⁰·²⁵",
    ]
