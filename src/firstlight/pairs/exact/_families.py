"""Partners in closed form: which law of |φ(X)| belongs to a weight law that a registry knows."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from firstlight.pairs.exact._closed import HalfNormalMagnitude
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


def _real(y: Any) -> Array:
    return np.asarray(y, dtype=np.float64)


class GammaMagnitude(Magnitude):
    """|Y| = √2 Γ_α^{1/2}, a χ law with 2α degrees of freedom: the partner of a sphere marginal."""

    edge = math.inf

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    @property
    def name(self) -> str:
        """Its degrees of freedom."""
        return f"chi(nu={2 * self.alpha:g})"

    def pdf(self, y: Any) -> Array:
        """2^{1−α} y^{2α−1} e^{−y²/2}/Γ(α)."""
        y = _real(y)
        a = self.alpha
        return 2 ** (1 - a) / math.gamma(a) * y ** (2 * a - 1) * np.exp(-0.5 * y * y)

    def score(self, y: Any) -> Array:
        """(2α−1)/y − y."""
        y = _real(y)
        with np.errstate(divide="ignore"):
            return (2 * self.alpha - 1) / y - y

    def cdf(self, y: Any) -> Array:
        """Regularised incomplete gamma."""
        from scipy.special import gammainc

        return gammainc(self.alpha, 0.5 * _real(y) ** 2)

    def log_sf(self, y: Any) -> Array:
        """Log of its complement; −∞ where that underflows."""
        from scipy.special import gammaincc

        with np.errstate(divide="ignore"):
            return np.log(gammaincc(self.alpha, 0.5 * _real(y) ** 2))

    def quantile(self, p: Array, log_sf: Array) -> Array:
        """By the complement above the median."""
        from scipy.special import gammainccinv, gammaincinv

        p, log_sf = _real(p), np.minimum(_real(log_sf), 0.0)
        low = gammaincinv(self.alpha, np.minimum(p, 0.5))
        return np.sqrt(2 * np.where(p <= 0.5, low, gammainccinv(self.alpha, np.exp(log_sf))))


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

    def pdf(self, y: Any) -> Array:
        """2 (1 − y²/ν)^{(ν−3)/2}/(√ν B(½, (ν−1)/2))."""
        from scipy.special import beta

        t = np.minimum(_real(y) ** 2 / self.nu, 1.0)
        with np.errstate(divide="ignore"):
            return 2 * (1 - t) ** ((self.nu - 3) / 2) / (math.sqrt(self.nu) * beta(0.5, (self.nu - 1) / 2))

    def score(self, y: Any) -> Array:
        """−(ν − 3) y/(ν − y²)."""
        y = _real(y)
        with np.errstate(divide="ignore", invalid="ignore"):
            return -(self.nu - 3) * y / (self.nu - y * y)

    def cdf(self, y: Any) -> Array:
        """Incomplete beta."""
        from scipy.special import betainc

        return betainc(0.5, (self.nu - 1) / 2, np.minimum(_real(y) ** 2 / self.nu, 1.0))

    def log_sf(self, y: Any) -> Array:
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


class MixtureMagnitude(Magnitude):
    """A signed sum of half-normals, S(y) = Σ_k c_k erfc(b_k y/√2): uniform powers and quantised weights.

    Its quantile is found by Newton steps, from below in the cdf and from above in the log-tail.
    """

    edge = math.inf

    def __init__(self, label: str, coefficients: Array, rates: Array, slope: float = 0.0) -> None:
        self._label, self._slope = label, slope
        self._c, self._b = _real(coefficients), _real(rates)

    @property
    def name(self) -> str:
        """What it is the partner of."""
        return self._label

    def pdf(self, y: Any) -> Array:
        """√(2/π) Σ c_k b_k e^{−b_k² y²/2}, plus the uniform's term."""
        y = _real(y)
        gauss = np.exp(-0.5 * (self._b * y[..., None]) ** 2) * (self._c * self._b)
        extra = self._slope * (y * y - 1) * np.exp(-0.5 * y * y)
        return math.sqrt(2 / math.pi) * (gauss.sum(-1) + extra)

    def score(self, y: Any) -> Array:
        """Derivative of the log-density."""
        y = _real(y)
        gauss = np.exp(-0.5 * (self._b * y[..., None]) ** 2) * (self._c * self._b**3)
        extra = self._slope * (3 * y - y**3) * np.exp(-0.5 * y * y)
        return math.sqrt(2 / math.pi) * (-y * gauss.sum(-1) + extra) / self.pdf(y)

    def cdf(self, y: Any) -> Array:
        """Σ c_k erf(b_k y/√2), less the uniform's term."""
        from scipy.special import erf

        y = _real(y)
        whole = (erf(self._b * y[..., None] / _ROOT2) * self._c).sum(-1)
        return whole - self._slope * math.sqrt(2 / math.pi) * y * np.exp(-0.5 * y * y)

    def log_sf(self, y: Any) -> Array:
        """With the factor e^{−b₀² y²/2} of the slowest term taken out."""
        from scipy.special import erfcx

        y = _real(y)
        least = float(self._b.min())
        arguments = self._b * y[..., None] / _ROOT2
        terms = self._c * erfcx(arguments) * np.exp(-(arguments**2 - (0.5 * (least * y) ** 2)[..., None]))
        extra = self._slope * math.sqrt(2 / math.pi) * y
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
                far = 2.0 + 3 * np.sqrt(2 * np.where(past, aim, 0)) / self._b.min()
                top = np.where(past, far, knots[np.minimum(place, len(knots) - 1)])
                flat[block] = self._solve(function, aim, bottom, top, steps=44 if past.any() else 5)
        return flat.reshape(p.shape)

    def _solve(
        self, function: Callable[[Array], Array], aim: Array, bottom: Array, top: Array, *, steps: int
    ) -> Array:
        """Where an increasing function, the cdf or −log survival, is ``aim``."""
        for _ in range(steps):
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

    def pdf(self, y: Any) -> Array:
        """Scaled."""
        return self.base.pdf(_real(y) / self.factor) / self.factor

    def score(self, y: Any) -> Array:
        """Scaled."""
        return self.base.score(_real(y) / self.factor) / self.factor

    def cdf(self, y: Any) -> Array:
        """Scaled."""
        return self.base.cdf(_real(y) / self.factor)

    def log_sf(self, y: Any) -> Array:
        """Scaled."""
        return self.base.log_sf(_real(y) / self.factor)

    def quantile(self, p: Array, log_sf: Array) -> Array:
        """Scaled."""
        return self.factor * self.base.quantile(p, log_sf)


def closed_partner(law: WeightLaw) -> Magnitude | None:
    """The partner of a law with a closed form, or None when this registry has none.

    Rademacher ↔ half-normal; Weibull(θ ≥ 2) ↔ Wright; χ_ν/√ν (ν > 1) ↔ a root of a beta; sphere marginal ↔
    χ_d; |W| = U^{1/κ} (κ ≥ 1) ↔ a half-normal less a Maxwell share; two magnitudes a > b with probabilities
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
    if isinstance(law, PowerUniform) and law.kappa >= 1:
        # S(y) = erfc(y/√2) + √(2/π) y e^{−y²/2}/κ
        return MixtureMagnitude(f"partner of U^(1/{law.kappa:g})", [1.0], [1.0], 1 / law.kappa)
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

    def pdf(self, y: Any) -> Array:
        """Infinite at 1, zero elsewhere."""
        return np.where(_real(y) == 1, np.inf, 0.0)

    def score(self, y: Any) -> Array:
        """Zero: there is no density to speak of."""
        return np.zeros_like(_real(y))

    def cdf(self, y: Any) -> Array:
        """A step at 1."""
        return (_real(y) >= 1).astype(np.float64)

    def log_sf(self, y: Any) -> Array:
        """Log of one less the step."""
        return np.where(_real(y) >= 1, -np.inf, 0.0)

    def quantile(self, p: Array, log_sf: Array) -> Array:
        """One, everywhere."""
        return np.where(np.isnan(p), np.nan, 1.0)
