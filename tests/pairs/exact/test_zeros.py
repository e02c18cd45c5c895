"""Zeros of E|W|^s: the search against closed forms and the roots of polynomials."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from firstlight import weights
from firstlight.pairs.exact.zeros import zero_in_strip, zero_of


@settings(max_examples=60, deadline=None)
@given(st.floats(0.2, 0.999), st.floats(0.02, 0.98))
def test_two_levels_against_the_closed_form(small: float, share: float) -> None:
    """The zeros are s = (log(q/p) + (2k + 1)πi)/(−log b), b the smaller level and q its probability."""
    gap = -math.log(small)
    exact = complex(math.log(share / (1 - share)) / gap, math.pi / gap)
    assume(abs(exact.real + 1) > 1e-6)
    found = zero_of(weights.Discrete((small, 1.0), (share, 1 - share)))
    assert (found is None) == (exact.real < -1)
    if found is not None:
        turns = (found.imag / exact.imag - 1) / 2
        assert found.real == pytest.approx(exact.real, rel=1e-6, abs=1e-7)
        assert turns == pytest.approx(round(turns), abs=1e-6)


@pytest.mark.parametrize(
    "shares", [(0.2, 0.3, 0.5), (0.05, 0.05, 0.9), (0.1, 0.45, 0.45), (0.3, 0.01, 0.69), (0.02, 0.3, 0.68)]
)
def test_levels_in_a_ratio_of_two_against_the_roots_of_a_polynomial(shares: tuple[float, ...]) -> None:
    """With z = 2^s, E|W|^s = p₁ + p₂ z + p₃ z²: a zero to the right of −1 is a root with |z| > ½."""
    roots = np.roots(shares[::-1])
    found = zero_of(weights.Discrete((1.0, 2.0, 4.0), shares))
    assert (found is None) == bool(np.all(np.abs(roots) <= 0.5))
    if found is not None:
        assert np.abs(roots - 2**found).min() < 1e-9


@pytest.mark.parametrize("levels", [2, 3, 4, 8])
def test_uniform_levels_have_no_partner(levels: int) -> None:
    law = weights.Discrete(tuple(float(k + 1) for k in range(levels)), (1 / levels,) * levels)
    found = zero_of(law)
    assert found is not None
    assert found.real > -1
    assert abs(law.mellin(found)) < 1e-12


@pytest.mark.parametrize(
    "name",
    [
        "normal",
        "uniform",
        "weibull(3)",
        "chi(3)",
        "arcsine",
        "squared_beta(1.5, 2)",
        "student(9)",
        "generalised_gamma(2, 3)",
    ],
)
def test_products_of_gamma_functions_have_none(name: str) -> None:
    assert zero_of(weights.get(name)) is None


def test_a_law_with_a_density_can_have_one() -> None:
    # two levels smeared by a factor e^{U/50}: the zeros of the levels stay
    def log_mellin(s):
        s = np.asarray(s, dtype=np.complex128)
        half = 0.02 * s
        smear = np.where(np.abs(half) < 1e-6, 1 + half**2 / 6, np.sinh(half) / np.where(half == 0, 1, half))
        return np.log((0.4 + 0.6 * 0.9**s) * smear)

    found = zero_in_strip(log_mellin, low=-0.95)
    assert found is not None
    assert found == pytest.approx(3.8483592 + 29.8175520j, abs=1e-6)
