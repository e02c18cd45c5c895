"""Laws of |Y| in closed form, given through elementary or incomplete-gamma functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from firstlight.pairs.exact.magnitude import Magnitude

Array = Any  # a NumPy array, or a NumPy scalar where the argument was one
_ROOT2 = math.sqrt(2)


def _real(y: Any) -> Array:
    return np.asarray(y, dtype=np.float64)


class ArcsineMagnitude(Magnitude):
    """The partner of Weibull(2): f(y) = √2/(π √(1 − y²/2)) · … on [0, √2], φᵒ(x) = √2 sin(π(Φ(x) − ½))."""

    name = "Arcsine on [0, √2]"
    edge = _ROOT2

    def pdf(self, y: Any) -> Array:
        """(2/π)/√(2 − y²)."""
        y = _real(y)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(y <= _ROOT2, (2 / math.pi) / np.sqrt((_ROOT2 - y) * (_ROOT2 + y)), 0.0)

    def score(self, y: Any) -> Array:
        """y/(2 − y²)."""
        y = _real(y)
        with np.errstate(divide="ignore"):
            return y / ((_ROOT2 - y) * (_ROOT2 + y))

    def cdf(self, y: Any) -> Array:
        """(2/π) arcsin(y/√2)."""
        return np.arcsin(np.minimum(_real(y) / _ROOT2, 1.0)) * (2 / math.pi)

    def log_sf(self, y: Any) -> Array:
        """Log (2/π) arccos(y/√2)."""
        with np.errstate(divide="ignore"):
            return np.log(np.arccos(np.minimum(_real(y) / _ROOT2, 1.0)) * (2 / math.pi))

    def quantile(self, p: Array, log_sf: Array) -> Array:
        """√2 sin(πp/2), by the cosine of the complement above the median."""
        low = np.sin(0.5 * math.pi * np.minimum(p, 0.5))
        return _ROOT2 * np.where(p <= 0.5, low, np.cos(0.5 * math.pi * np.exp(np.minimum(log_sf, 0.0))))

    def quantile_with_density(self, p: Array, log_sf: Array) -> tuple[Array, Array, Array]:
        """With √(1 − y²/2) taken from the complement, which keeps its digits at the edge."""
        y = self.quantile(p, log_sf)
        rest = np.sin(0.5 * math.pi * np.exp(np.minimum(log_sf, 0.0)))
        with np.errstate(divide="ignore"):
            return y, math.log(_ROOT2 / math.pi) - np.log(rest), 0.5 * y / rest**2


class HalfNormalMagnitude(Magnitude):
    """The partner of Rademacher weights: |N(0,1)|, φᵒ the identity."""

    name = "Half-normal"
    edge = math.inf

    def pdf(self, y: Any) -> Array:
        """√(2/π) exp(−y²/2)."""
        return np.exp(self.log_pdf(y))

    def log_pdf(self, y: Any) -> Array:
        """½ log(2/π) − y²/2."""
        return 0.5 * math.log(2 / math.pi) - 0.5 * _real(y) ** 2

    def score(self, y: Any) -> Array:
        """−y."""
        return -_real(y)

    def cdf(self, y: Any) -> Array:
        """erf(y/√2)."""
        from scipy.special import erf

        return erf(_real(y) / _ROOT2)

    def log_sf(self, y: Any) -> Array:
        """Log erfc(y/√2)."""
        from scipy.special import log_ndtr

        return log_ndtr(-_real(y)) + math.log(2)

    def quantile(self, p: Array, log_sf: Array) -> Array:
        """√2 erfinv(p), by the log-tail above the median."""
        from scipy.special import erfinv, ndtri_exp

        upper = -ndtri_exp(np.minimum(_real(log_sf), -1e-300) - math.log(2))
        return np.where(_real(p) <= 0.5, _ROOT2 * erfinv(np.minimum(p, 0.5)), upper)
