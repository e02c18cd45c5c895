"""The exact law of |Y| with |W| |Y| = |N(0,1)| in law, W symmetric Weibull(θ): a Wright function.

E|Y|^s = 2^{s/2} Γ((1+s)/2) / (√π Γ(1 + s/θ)). For θ = 2 it is an arcsine law, for θ = ∞ half-normal; between
them a series below √2 (``body``) and a positive integral above (``kanter``) give every digit in float64.
"""

from __future__ import annotations

import math
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.pairs.exact._body import body
from firstlight.pairs.exact._closed import ArcsineMagnitude, HalfNormalMagnitude
from firstlight.pairs.exact._kanter import KanterIntegral
from firstlight.pairs.exact.magnitude import Magnitude
from firstlight.weights.inversion import hermite

Array = Any  # a NumPy array, or a NumPy scalar where the argument was one
SMALLEST = 2 + 1e-6
LARGEST = 1e9
_ROOT2 = math.sqrt(2)
_DEEP = 750.0  # −log survival where the table ends: x = 38.6 of a Gaussian, below the smallest float64


class WrightMagnitude(Magnitude):
    """The law of |Y| for 2 < θ < ∞.

    Parameters
    ----------
    theta
        Shape of the Weibull weights, between 2.000001 and 1e9.

    Examples
    --------
    >>> from firstlight.pairs.exact.wright import WrightMagnitude
    >>> law = WrightMagnitude(3.0)
    >>> float(law.log_sf(5.0)) < -200
    True
    """

    @checked
    def __init__(self, theta: float) -> None:
        self.theta = float(theta)
        self._kanter = KanterIntegral(self.theta)
        self._body = body(self.theta)
        self._e = self._kanter.e

    @property
    def name(self) -> str:
        """Wright(θ)."""
        return f"Wright(theta={self.theta!r})"

    @property
    def edge(self) -> float:
        """The support is unbounded."""
        return math.inf

    def _split(self, y: object) -> tuple[Array, Array]:
        y = np.atleast_1d(np.asarray(y, dtype=np.float64))
        return y, y <= _ROOT2

    def _log_z(self, y: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (np.log(y) - 0.5 * math.log(2)) / self._e

    def _tail(self, log_z: Array) -> tuple[Array, Array, Array]:
        """The three numbers of ``KanterIntegral.tail``, at any Z ≥ 1."""
        log_z = np.minimum(log_z, 150.0)  # where the survival is long zero, and its logarithm still finite
        far = log_z > self._table_end
        parts = [np.empty_like(log_z) for _ in range(3)]
        for mask, method in ((~far, self._kanter.tail), (far, self._kanter.far_tail)):
            if mask.any():
                for part, value in zip(parts, method(log_z[mask]), strict=True):
                    part[mask] = value
        return parts[0], parts[1], parts[2]

    def pdf(self, y: object) -> Array:
        """Density at y ≥ 0."""
        return np.exp(self.log_pdf(y))

    def log_pdf(self, y: Array) -> Array:
        """Log-density at y ≥ 0, without underflow."""
        shape = np.shape(y)
        y, low = self._split(y)
        out = np.empty_like(y)
        with np.errstate(divide="ignore"):
            out[low] = np.log(self._body.pdf(y[low]))
            log_sf, slope, _ = self._tail(self._log_z(y[~low]))
            out[~low] = log_sf + np.log(slope / self._e / y[~low])
        return out.reshape(shape)

    def score(self, y: Array) -> Array:
        """Score: d log f / dy."""
        shape = np.shape(y)
        y, low = self._split(y)
        out = np.empty_like(y)
        out[low] = self._body.slope(y[low]) / self._body.pdf(y[low])
        high = y[~low]
        _, _, bend = self._tail(self._log_z(high))
        out[~low] = (bend / self._e - 1) / high
        return out.reshape(shape)

    def cdf(self, y: Array) -> Array:
        """P(|Y| ≤ y)."""
        shape = np.shape(y)
        y, low = self._split(y)
        out = np.empty_like(y)
        out[low] = self._body.cdf(y[low])
        out[~low] = -np.expm1(self._tail(self._log_z(y[~low]))[0])
        return out.reshape(shape)

    def log_sf(self, y: Array) -> Array:
        """log P(|Y| > y), to relative precision however small the probability."""
        shape = np.shape(y)
        y, low = self._split(y)
        out = np.empty_like(y)
        out[low] = np.log1p(-self._body.cdf(y[low]))
        out[~low] = self._tail(self._log_z(y[~low]))[0]
        return out.reshape(shape)

    # ---- quantile: cubic Hermite table, then one Newton step (the table is right to about 1e-9)

    @cached_property
    @clean
    def _table_end(self) -> float:
        """log z where −log survival passes the end of the table."""
        return 0.5 * (math.log(_DEEP) - self._kanter.log_edge)

    @cached_property
    @clean
    def _low_table(self) -> tuple[Array, Array, Array]:
        y = _ROOT2 * np.sin(np.linspace(0, math.pi / 2, 257))
        y[-1] = _ROOT2
        return self._body.cdf(y), y, 1 / self._body.pdf(y)

    @cached_property
    @clean
    def _high_table(self) -> tuple[Array, Array, Array]:
        log_z = np.linspace(0, self._table_end, 513)
        log_sf, slope, _ = self._kanter.tail(log_z)
        return -log_sf, log_z, 1 / slope

    @cached_property
    @clean
    def _join(self) -> float:
        """P(|Y| ≤ √2), where the two halves meet."""
        return float(self._low_table[0][-1])

    def quantile(self, p: Array, log_sf: Array) -> Array:
        """The y with P(|Y| ≤ y) = p and log P(|Y| > y) = log_sf."""
        p, log_sf = (np.asarray(v, dtype=np.float64) for v in (p, log_sf))
        shape = p.shape
        p, log_sf = p.reshape(-1), log_sf.reshape(-1)
        out = np.full(p.shape, np.nan)
        low = p <= self._join
        if low.any():
            y = hermite(p[low], *self._low_table)
            out[low] = y - (self._body.cdf(y) - p[low]) / self._body.pdf(y)
        high = p > self._join  # neither for NaN, which stays NaN
        if high.any():
            out[high] = _ROOT2 * np.exp(self._e * self._log_z_at(-log_sf[high]))
        return out.reshape(shape)

    def quantile_with_density(self, p: Array, log_sf: Array) -> tuple[Array, Array, Array]:
        """In the tail the density is taken at Z itself: going through y would cost a factor 1/(1 − 2/θ)."""
        p, log_sf = (np.asarray(v, dtype=np.float64) for v in (p, log_sf))
        shape = p.shape
        p, log_sf = p.reshape(-1), log_sf.reshape(-1)
        y, log_pdf, score = (np.full(p.shape, np.nan) for _ in range(3))
        low = p <= self._join
        y[low] = self.quantile(p[low], log_sf[low])
        log_pdf[low], score[low] = self.log_pdf(y[low]), self.score(y[low])
        high = p > self._join
        log_z = self._log_z_at(-log_sf[high])
        at, slope, bend = self._tail(log_z)
        tall = y[high] = _ROOT2 * np.exp(self._e * log_z)
        with np.errstate(invalid="ignore"):
            log_pdf[high] = at + np.log(slope / self._e / tall)
            score[high] = (bend / self._e - 1) / tall
        return y.reshape(shape), log_pdf.reshape(shape), score.reshape(shape)

    def _log_z_at(self, level: Array) -> Array:
        """log z where −log survival is ``level``."""
        out = np.empty_like(level)
        covered = level <= self._high_table[0][-1]
        far = ~covered & (level < math.inf)
        near = level[covered]
        if near.size:
            log_z = hermite(near, *self._high_table)
            log_sf, slope, _ = self._kanter.tail(log_z)
            out[covered] = np.maximum(log_z + (log_sf + near) / slope, 0.0)
        if far.any():
            # here −log survival = A(0) Z² + O(log Z): Newton from its leading term
            log_z = 0.5 * (np.log(level[far]) - self._kanter.log_edge)
            for _ in range(4):
                log_sf, slope, _ = self._kanter.far_tail(log_z)
                log_z = log_z + (log_sf + level[far]) / slope
            out[far] = log_z
        out[level == math.inf] = math.inf
        return out


@checked
@lru_cache(maxsize=64)
@clean
def weibull_partner(theta: float) -> Magnitude:
    """The law of |Y| for any θ in [2, ∞]: arcsine at 2, half-normal at ∞, a Wright function between.

    Raises
    ------
    DomainError
        When θ < 2 (no such law exists), NaN, or so close to an end that float64 cannot tell it apart.

    Examples
    --------
    >>> from firstlight.pairs.exact.wright import weibull_partner
    >>> weibull_partner(2.0).name
    'Arcsine on [0, √2]'
    """
    if theta == 2:
        return ArcsineMagnitude()
    if theta == math.inf:
        return HalfNormalMagnitude()
    if not theta >= 2:
        raise DomainError(
            f"while building the Weibull pair: expected theta in [2, inf], got {theta!r}; below 2 the tails "
            "cannot match (1/theta + 1/theta' = 1/2 has no positive theta')"
        )
    if not SMALLEST <= theta <= LARGEST:
        end = 2.0 if theta < SMALLEST else math.inf
        raise DomainError(
            f"while building the Weibull pair: expected theta = 2, theta = inf or a value in "
            f"[{SMALLEST}, {LARGEST:g}], got {theta!r}; use {end}, which float64 cannot tell from it"
        )
    return WrightMagnitude(theta)
