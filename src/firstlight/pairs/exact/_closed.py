"""Laws of |Y| in closed form, given through elementary or incomplete-gamma functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from firstlight.pairs.exact.magnitude import Magnitude

Array = Any  # a NumPy array, or a NumPy scalar where the argument was one
_ROOT2 = math.sqrt(2)


def _real(y: object) -> Array:
    return np.asarray(y, dtype=np.float64)


class ArcsineMagnitude(Magnitude):
    """The partner of Weibull(2): f(y) = √2/(π √(1 − y²/2)) · … on [0, √2], φᵒ(x) = √2 sin(π(Φ(x) − ½))."""

    name = "Arcsine on [0, √2]"
    edge = _ROOT2

    def pdf(self, y: Array) -> Array:
        """(2/π)/√(2 − y²)."""
        y = _real(y)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(y <= _ROOT2, (2 / math.pi) / np.sqrt((_ROOT2 - y) * (_ROOT2 + y)), 0.0)

    def score(self, y: Array) -> Array:
        """y/(2 − y²)."""
        y = _real(y)
        with np.errstate(divide="ignore"):
            return y / ((_ROOT2 - y) * (_ROOT2 + y))

    def cdf(self, y: object) -> Array:
        """(2/π) arcsin(y/√2)."""
        return np.arcsin(np.minimum(_real(y) / _ROOT2, 1.0)) * (2 / math.pi)

    def log_sf(self, y: object) -> Array:
        """log (2/π) arccos(y/√2)."""
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

    def pdf(self, y: object) -> Array:
        """√(2/π) exp(−y²/2)."""
        return np.exp(self.log_pdf(y))

    def log_pdf(self, y: object) -> Array:
        """½ log(2/π) − y²/2."""
        return 0.5 * math.log(2 / math.pi) - 0.5 * _real(y) ** 2

    def score(self, y: object) -> Array:
        """−y."""
        return -_real(y)

    def cdf(self, y: object) -> Array:
        """erf(y/√2)."""
        from scipy.special import erf

        return erf(_real(y) / _ROOT2)

    def log_sf(self, y: object) -> Array:
        """log erfc(y/√2)."""
        from scipy.special import log_ndtr

        return log_ndtr(-_real(y)) + math.log(2)

    def quantile(self, p: Array, log_sf: Array) -> Array:
        """√2 erfinv(p), by the log-tail above the median."""
        from scipy.special import erfinv, ndtri_exp

        upper = -ndtri_exp(np.minimum(_real(log_sf), -1e-300) - math.log(2))
        return np.where(_real(p) <= 0.5, _ROOT2 * erfinv(np.minimum(p, 0.5)), upper)


class GammaMagnitude(Magnitude):
    """|Y| = √2 Γ_α^{1/2}, a χ law with 2α degrees of freedom: the partner of a sphere marginal."""

    edge = math.inf

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    @property
    def name(self) -> str:
        """Its degrees of freedom."""
        return f"chi(nu={2 * self.alpha:g})"

    def pdf(self, y: object) -> Array:
        """2^{1−α} y^{2α−1} e^{−y²/2}/Γ(α)."""
        return np.exp(self.log_pdf(y))

    def log_pdf(self, y: Array) -> Array:
        """(1 − α) log 2 − log Γ(α) + (2α − 1) log y − y²/2."""
        y, a = _real(y), self.alpha
        with np.errstate(divide="ignore"):
            return (1 - a) * math.log(2) - math.lgamma(a) + (2 * a - 1) * np.log(y) - 0.5 * y * y

    def score(self, y: Array) -> Array:
        """(2α−1)/y − y."""
        y = _real(y)
        with np.errstate(divide="ignore"):
            return (2 * self.alpha - 1) / y - y

    def cdf(self, y: object) -> Array:
        """Regularised incomplete gamma."""
        from scipy.special import gammainc

        return gammainc(self.alpha, 0.5 * _real(y) ** 2)

    def log_sf(self, y: object) -> Array:
        """Log of its complement; far out by the asymptotic series of Γ(α, t) e^t t^{1−α} in 1/t."""
        from scipy.special import gammaincc

        t = 0.5 * _real(y) ** 2
        with np.errstate(divide="ignore"):
            near = np.log(gammaincc(self.alpha, np.minimum(t, self._far)))
        return np.where(t < self._far, near, self._far_log_sf(np.maximum(t, self._far)))

    @property
    def _far(self) -> float:
        """The t = y²/2 from which the series is right to the last digit."""
        return 300.0 + 30 * self.alpha

    def _far_log_sf(self, t: Array) -> Array:
        total, term = np.ones_like(t), np.ones_like(t)
        for k in range(1, 16):
            term = term * (self.alpha - k) / t
            total = total + term
        return (self.alpha - 1) * np.log(t) - t - math.lgamma(self.alpha) + np.log(total)

    def quantile(self, p: Array, log_sf: Array) -> Array:
        """By the complement above the median."""
        from scipy.special import gammainccinv, gammaincinv

        p, log_sf = _real(p), np.minimum(_real(log_sf), 0.0)
        low = gammaincinv(self.alpha, np.minimum(p, 0.5))
        limit = float(self._far_log_sf(np.array(self._far)))
        t = np.where(p <= 0.5, low, gammainccinv(self.alpha, np.exp(np.maximum(log_sf, limit))))
        beyond = (log_sf < limit) & np.isfinite(log_sf)
        if beyond.any():
            aim = log_sf[beyond]
            far = -aim
            for _ in range(8):  # Newton from the leading term; the slope of the logarithm is nearly −1
                far = np.maximum(far, self._far)
                far = far + (self._far_log_sf(far) - aim) / (1 - (self.alpha - 1) / far)
            t = np.asarray(t)
            t[beyond] = far
        return np.sqrt(2 * np.where(log_sf == -np.inf, np.inf, t))


class BetaMagnitude(Magnitude):
    """Y² = ν·Beta(½, (ν−1)/2): the partner of W = ±χ_ν/√ν, ν > 1; a bounded law."""

    def __init__(self, nu: float) -> None:
        self.nu = nu

    @property
    def name(self) -> str:
        """Its parameter."""
        return f"sqrt(nu·Beta(1/2, (nu−1)/2)), nu={self.nu:g}"

    @property
    def edge(self) -> float:
        """√ν."""
        return math.sqrt(self.nu)

    def pdf(self, y: object) -> Array:
        """2 (1 − y²/ν)^{(ν−3)/2}/(√ν B(½, (ν−1)/2))."""
        from scipy.special import beta

        t = np.minimum(_real(y) ** 2 / self.nu, 1.0)
        with np.errstate(divide="ignore"):
            return 2 * (1 - t) ** ((self.nu - 3) / 2) / (math.sqrt(self.nu) * beta(0.5, (self.nu - 1) / 2))

    def score(self, y: Array) -> Array:
        """−(ν − 3) y/(ν − y²)."""
        y = _real(y)
        with np.errstate(divide="ignore", invalid="ignore"):
            return -(self.nu - 3) * y / (self.nu - y * y)

    def cdf(self, y: object) -> Array:
        """Incomplete beta."""
        from scipy.special import betainc

        return betainc(0.5, (self.nu - 1) / 2, np.minimum(_real(y) ** 2 / self.nu, 1.0))

    def log_sf(self, y: object) -> Array:
        """Log of its complement."""
        from scipy.special import betainc

        rest = 1 - np.minimum(_real(y) ** 2 / self.nu, 1.0)
        with np.errstate(divide="ignore"):
            return np.log(betainc((self.nu - 1) / 2, 0.5, rest))

    def quantile(self, p: Array, log_sf: Array) -> Array:
        """By the complement above the median."""
        from scipy.special import betaincinv

        b = (self.nu - 1) / 2
        p, log_sf = _real(p), np.minimum(_real(log_sf), 0.0)
        low = betaincinv(0.5, b, np.minimum(p, 0.5))
        high = 1 - betaincinv(b, 0.5, np.exp(log_sf))
        return np.sqrt(self.nu * np.where(p <= 0.5, low, high))
