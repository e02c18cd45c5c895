"""What a pair does to signals and gradients at infinite width: Gaussian integrals of its exact activation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from firstlight.clean_room import clean
from firstlight.pairs.exact.function import ExactActivation
from firstlight.pairs.exact.magnitude import Magnitude

Array = np.ndarray
_REACH = 12.0
_PANEL = 24


@dataclass(frozen=True)
class Nodes:
    """Gauss–Legendre nodes on [−12, 12] with the Gaussian density in the weights, split at a kink."""

    x: Array
    weight: Array

    def mean(self, values: Array) -> float:
        """E of a function of X ~ N(0,1) from its values at the nodes."""
        return float(np.sum(values * self.weight))


@lru_cache(maxsize=64)
@clean
def nodes(kink: float) -> Nodes:
    """Panels of length about 1.5, and panels that shrink towards the kink, where φ may be a fractional power."""
    t, w = np.polynomial.legendre.leggauss(_PANEL)
    kink = min(max(kink, -_REACH), _REACH)
    steps = np.concatenate([[0.0], 4.0 ** np.arange(-15.0, 0.5), np.arange(2.5, 2 * _REACH + 1.5, 1.5)])
    edges = np.unique(np.clip(np.concatenate([kink - steps, kink + steps]), -_REACH, _REACH))
    if abs(kink) == _REACH:  # no kink inside
        edges = np.linspace(-_REACH, _REACH, 17)
    half, middle = 0.5 * np.diff(edges), 0.5 * (edges[1:] + edges[:-1])
    x = (middle[:, None] + half[:, None] * t).ravel()
    weight = (half[:, None] * w).ravel() * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return Nodes(x, weight)


def expect(exact: ExactActivation, integrand: Callable[[Array, Array, Array], Array]) -> float:
    """E g(X, φ(X), φ'(X)) for X ~ N(0,1)."""
    at = nodes(exact.kink)
    value, slope, _ = exact._pieces(at.x, order=1)
    return at.mean(integrand(at.x, value, slope))


def chi(exact: ExactActivation, variance: float) -> float:
    """χ₁ = E W² · E φ'(X)²: growth of the squared gradient norm per layer.

    Infinite when φ' grows towards the zero of φ like the inverse root of the distance, or faster (a density of
    |φ(X)| that vanishes at 0, as for uniform weights): no quadrature would say so.
    """
    if exact.split > 0:
        near = exact.kink + np.array([1e-6, 1e-4])
        with np.errstate(divide="ignore", invalid="ignore"):
            nearer, further = np.log(exact.derivative(near))
            tame = nearer - further < 0.49 * math.log(100)
        if not tame:  # functions with a jump, such as sign, are excluded too
            return math.inf
    return variance * expect(exact, lambda x, y, d: d * d)


def variance_slope(exact: ExactActivation, variance: float) -> float:
    """V'(1) = E W² · E[φ(X) φ'(X) X]: how a deviation of the second moment from 1 changes per layer."""
    return variance * expect(exact, lambda x, y, d: y * d * x)


def correlation_map(exact: ExactActivation, variance: float, *, order: int = 80) -> Array:
    """Coefficients of C(c) = E W² Σ_k a_k² c^k, a_k the normalised Hermite coefficients of φ.

    The map is exact for the next layer when the two pre-activations are jointly Gaussian; a pair makes them
    Gaussian one by one only, so deep inside a network it is an approximation.
    """
    at = nodes(exact.kink)
    value = exact(at.x)
    before, now = np.zeros_like(at.x), np.ones_like(at.x)
    squares = []
    for k in range(order):
        squares.append(at.mean(value * now) ** 2)
        before, now = now, (at.x * now - math.sqrt(k) * before) / math.sqrt(k + 1)
    return variance * np.array(squares)


@lru_cache(maxsize=256)
@clean
def critical_split(magnitude: Magnitude, variance: float) -> float:
    """p* in (0, ½] where χ₁ = 1: the share of X on which φ is negative in the pair that is also critical.

    χ₁ falls from its odd value (≥ 1, by Cauchy–Schwarz) at p = ½ to its positive value (< 1) at p = 0.
    """
    from scipy.optimize import brentq

    def excess(p: float) -> float:
        return chi(ExactActivation(magnitude, p), variance) - 1

    if excess(0.5) < 1e-13:
        return 0.5
    return float(brentq(excess, 0.02, 0.5, xtol=1e-15, rtol=1e-14))
