"""Gaussian integrals: kink-aware adaptive quadrature, Hermite coefficients, bivariate expectations."""

from __future__ import annotations

from firstlight.gauss.bivariate import expect2, integrate2
from firstlight.gauss.callables import as_float64
from firstlight.gauss.hermite import hermite_coefficients
from firstlight.gauss.integral import Integral, expect, integrate
from firstlight.gauss.kinks import Kink, find_kinks

__all__ = [
    "Integral",
    "Kink",
    "as_float64",
    "expect",
    "expect2",
    "find_kinks",
    "hermite_coefficients",
    "integrate",
    "integrate2",
]
