"""Measured growth and exponents against theory."""

from __future__ import annotations

import pytest

from firstlight.builders import measure_gamma, measured_growth
from firstlight.errors import DomainError
from firstlight.theory.batchnorm import choose_gamma, shaped_growth


@pytest.mark.parametrize("activation", ["sin", "tanh"])
@pytest.mark.parametrize("exponent", [0.0, 0.25, 0.4])
def test_growth_agrees_with_theory(activation, exponent):
    measured = measured_growth(activation, exponent, depth=100)
    # between the first weight and the last lie the gains of all layers but the last
    theory = shaped_growth(activation, [layer**-exponent for layer in range(1, 100)])
    # finite batch and width: a tenth, and a random walk of a few tenths
    assert measured == pytest.approx(theory, rel=0.1, abs=0.5)


@pytest.mark.slow
def test_exponent_agrees_with_theory():
    measured = measure_gamma("tanh", depth=120)
    assert measured == pytest.approx(choose_gamma("tanh", depth=120).gamma, abs=0.08)


def test_relu_has_none():
    with pytest.raises(DomainError, match="smooth odd"):
        measure_gamma("relu", depth=60)
