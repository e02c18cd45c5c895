"""Partners in closed form: which law of |φ(X)| belongs to a weight law that a registry knows."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from firstlight.clean_room import clean
from firstlight.pairs.exact._closed import BetaMagnitude, GammaMagnitude, HalfNormalMagnitude
from firstlight.pairs.exact.magnitude import Magnitude
from firstlight.pairs.exact.wright import weibull_partner
from firstlight.weights import (
    Discrete,
    GeneralisedGamma,
    Normal,
    PowerUniform,
    Rademacher,
    ScaledLaw,
    SquaredBeta,
    SymmetricWeibull,
    WeightLaw,
)

Array = Any
_ROOT2 = math.sqrt(2)
_BLOCK = 1 << 18  # entries of the matrices of one block: they stay in the cache


def _real(y: object) -> Array:
    return np.asarray(y, dtype=np.float64)


class MixtureMagnitude(Magnitude):
    """A signed sum of half-normals and a share of χ₃, S(y) = Σ_k c_k erfc(b_k y/√2) + m S_χ₃(y).

    Half-normals alone belong to quantised weights, one of them and a share m = 1/κ to U^{1/κ}.

    Its quantile is found by Newton steps, from below in the cdf and from above in the log-tail.
    """

    edge = math.inf

    def __init__(self, label: str, coefficients: Array, rates: Array, maxwell: float = 0.0) -> None:
        self._label, self._maxwell = label, maxwell
        self._c, self._b = _real(coefficients), _real(rates)

    @property
    def name(self) -> str:
        """What it is the partner of."""
        return self._label

    def pdf(self, y: Array) -> Array:
        """√(2/π) (Σ c_k b_k e^{−b_k² y²/2} + m y² e^{−y²/2})."""
        y = _real(y)
        gauss = np.exp(-0.5 * (self._b * y[..., None]) ** 2) * (self._c * self._b)
        extra = self._maxwell * y * y * np.exp(-0.5 * y * y)
        return math.sqrt(2 / math.pi) * (gauss.sum(-1) + extra)

    def score(self, y: Array) -> Array:
        """Derivative of the log-density."""
        y = _real(y)
        gauss = np.exp(-0.5 * (self._b * y[..., None]) ** 2) * (self._c * self._b**3)
        extra = self._maxwell * (2 * y - y**3) * np.exp(-0.5 * y * y)
        return math.sqrt(2 / math.pi) * (-y * gauss.sum(-1) + extra) / self.pdf(y)

    def cdf(self, y: Array) -> Array:
        """Σ c_k erf(b_k y/√2), plus the share of χ₃, whose own function keeps its digits at 0."""
        from scipy.special import erf, gammainc

        y = _real(y)
        whole = (erf(self._b * y[..., None] / _ROOT2) * self._c).sum(-1)
        return whole + self._maxwell * gammainc(1.5, 0.5 * y * y) if self._maxwell else whole

    def log_sf(self, y: Array) -> Array:
        """With the factor e^{−b₀² y²/2} of the slowest term taken out."""
        from scipy.special import erfcx

        y = _real(y)
        least = float(self._b.min())
        # the difference of the rates, not of the exponents, which would lose every digit far out
        with np.errstate(over="ignore"):
            decay = np.exp(-0.5 * (self._b - least) * (self._b + least) * (y * y)[..., None])
        terms = self._c * erfcx(self._b * y[..., None] / _ROOT2) * decay
        extra = self._maxwell * (erfcx(y / _ROOT2) + math.sqrt(2 / math.pi) * y) if self._maxwell else 0.0
        return np.log(terms.sum(-1) + extra) - 0.5 * (least * y) ** 2

    def quantile(self, p: Array, log_sf: Array) -> Array:
        """A table brackets y; then bisection and Newton steps on the better of the two functions."""
        p, log_sf = np.broadcast_arrays(_real(p), np.minimum(_real(log_sf), 0.0))
        y = np.where(np.isnan(p), np.nan, 0.0)
        knots, below, log_above = self._table
        flat = y.reshape(-1)
        for mask, target, table, function in (
            ((p > 0) & (p <= 0.5), p, below, self.cdf),
            (p > 0.5, -log_sf, -log_above, lambda y: -self.log_sf(y)),
        ):
            chosen = np.flatnonzero(mask)
            for block in np.array_split(chosen, 1 + chosen.size * len(self._c) // _BLOCK):
                aim = target.reshape(-1)[block]
                place = np.searchsorted(table, aim)
                past = place == len(knots)
                bottom = np.where(place > 0, knots[place - 1], 0.0)
                top = knots[np.minimum(place, len(knots) - 1)]
                flat[block] = self._solve(function, aim, bottom, top)
                if past.any():
                    flat[block[past]] = self._far_quantile(aim[past])
        return flat.reshape(p.shape)

    def _far_quantile(self, level: Array) -> Array:
        """Where −log survival is ``level``, past the table: it grows like b²y²/2, b the slowest rate."""
        least = float(self._b.min())
        y = np.sqrt(2 * level) / least
        with np.errstate(invalid="ignore"):
            for _ in range(6):
                y = y + (level + self.log_sf(y)) / (least**2 * y)
        return np.where(np.isinf(level), np.inf, y)

    def _solve(self, function: Callable[[Array], Array], aim: Array, bottom: Array, top: Array) -> Array:
        """Where an increasing function, the cdf or −log survival, is ``aim``."""
        for _ in range(5):
            middle = 0.5 * (bottom + top)
            short = function(middle) < aim
            bottom, top = np.where(short, middle, bottom), np.where(short, top, middle)
        y = 0.5 * (bottom + top)
        tail = function != self.cdf
        with np.errstate(invalid="ignore", divide="ignore"):
            for _ in range(3):
                value = function(y)
                step = (aim - value) / self.pdf(y) * (np.exp(-value) if tail else 1.0)
                y = np.where((y + step >= bottom) & (y + step <= top), y + step, y)
        return np.asarray(y)

    @cached_property
    @clean
    def _table(self) -> tuple[Array, Array, Array]:
        """Y, P(|Y| ≤ y) and log P(|Y| > y), at steps in log y below 0.1: coefficients may differ at every scale."""
        y = np.concatenate([np.geomspace(1e-18, 0.1, 300)[:-1], np.linspace(0.1, 30 / self._b.min(), 600)])
        below, log_above = self.cdf(y), self.log_sf(y)
        return y, np.maximum.accumulate(below), np.minimum.accumulate(log_above)


class ScaledMagnitude(Magnitude):
    """The law of factor · |Y|."""

    def __init__(self, base: Magnitude, factor: float) -> None:
        self.base, self.factor = base, factor

    @property
    def name(self) -> str:
        """The base and the factor."""
        return f"{self.factor:.6g} · {self.base.name}"

    @property
    def edge(self) -> float:
        """Scaled."""
        return self.factor * self.base.edge

    @property
    def jump(self) -> bool:
        """The same as for the base."""
        return self.base.jump

    def pdf(self, y: object) -> Array:
        """Scaled."""
        return self.base.pdf(_real(y) / self.factor) / self.factor

    def score(self, y: object) -> Array:
        """Scaled."""
        return self.base.score(_real(y) / self.factor) / self.factor

    def cdf(self, y: object) -> Array:
        """Scaled."""
        return self.base.cdf(_real(y) / self.factor)

    def log_sf(self, y: object) -> Array:
        """Scaled."""
        return self.base.log_sf(_real(y) / self.factor)

    def quantile(self, p: Array, log_sf: Array) -> Array:
        """Scaled."""
        return self.factor * self.base.quantile(p, log_sf)


def closed_partner(law: WeightLaw) -> Magnitude | None:
    """The partner of a law with a closed form, or None when this registry has none.

    Rademacher ↔ half-normal; Weibull(θ ≥ 2) ↔ Wright; χ_ν/√ν (ν > 1) ↔ a root of a beta; sphere marginal ↔
    χ_d; |W| = U^{1/κ} (κ ≥ 1) ↔ a mixture of half-normal and χ₃; two magnitudes a > b with probabilities
    p, q and q/p ≤ b/a ↔ a signed sum of half-normals.
    """
    if isinstance(law, ScaledLaw):
        base = closed_partner(law.base)
        return None if base is None else ScaledMagnitude(base, 1 / law.factor)
    if isinstance(law, Rademacher):
        return HalfNormalMagnitude()
    if isinstance(law, Normal):
        return PointMagnitude()
    if isinstance(law, SymmetricWeibull) and law.theta >= 2:
        return weibull_partner(float(law.theta))
    if isinstance(law, GeneralisedGamma) and law.theta == 2 and law.alpha > 0.5:
        # W = Γ_{ν/2}^{1/2} = χ_ν/√2 = √(ν/2) · (χ_ν/√ν)
        return ScaledMagnitude(BetaMagnitude(2 * law.alpha), math.sqrt(1 / law.alpha))
    if isinstance(law, SquaredBeta) and law.alpha == 0.5:
        return GammaMagnitude(law.alpha + law.beta)
    if isinstance(law, PowerUniform) and law.kappa == 1:
        return GammaMagnitude(1.5)
    if isinstance(law, PowerUniform) and law.kappa > 1:
        share = (law.kappa - 1) / law.kappa
        return MixtureMagnitude(f"partner of U^(1/{law.kappa:g})", [share], [1.0], 1 / law.kappa)
    if isinstance(law, Discrete) and len(law.magnitudes) == 1 and law.magnitudes[0] > 0:
        return ScaledMagnitude(HalfNormalMagnitude(), 1 / law.magnitudes[0])
    if isinstance(law, Discrete) and len(law.magnitudes) == 2 and law.magnitudes[0] > 0:
        return _two_levels(law)
    return None


def _two_levels(law: Discrete) -> Magnitude | None:
    (b, a), (q, p) = law.magnitudes, law.probabilities
    ratio = q / p
    steep = ratio * a / b  # of the terms of the density at 0, the slowest to settle
    if steep > 1 + 1e-12:
        return None
    most = int(220 / math.log(a / b))  # the cube of the last rate stays finite
    count = min(int(math.log(1e-17) / math.log(steep)) + 2, most) if steep < 1 - 1e-9 else most
    k = np.arange(max(count, 2))
    c = (-ratio) ** k / p
    c[-1] *= 0.5  # at steep = 1 the density at 0 is an alternating sum, in Abel's sense
    return MixtureMagnitude(f"partner of {law.name}", c, a * (a / b) ** k)


class PointMagnitude(Magnitude):
    """|Y| = 1: the partner of normal weights, φ = sign."""

    name = "Point mass at 1"
    edge = 1.0
    jump = True

    def pdf(self, y: object) -> Array:
        """Infinite at 1, zero elsewhere."""
        return np.where(_real(y) == 1, np.inf, 0.0)

    def score(self, y: object) -> Array:
        """Zero: there is no density to speak of."""
        return np.zeros_like(_real(y))

    def cdf(self, y: object) -> Array:
        """A step at 1."""
        return (_real(y) >= 1).astype(np.float64)

    def log_sf(self, y: object) -> Array:
        """Log of one less the step."""
        return np.where(_real(y) >= 1, -np.inf, 0.0)

    def quantile(self, p: Array, log_sf: Array) -> Array:
        """One, everywhere."""
        return np.where(np.isnan(p), np.nan, 1.0)
