"""The constant-phase integral behind the tail of |Y|: its nodes, exponent and positive density.

With a = 2/θ, e = 1 − a, c = 1/e and x = y²/2, moving the Hankel contour of 1/Γ onto the path where the phase
is constant gives, for every y > 0 and 2 < θ < ∞,

    P(|Y| > y) = ∫₀^π q(u) erfc(√A(u) Z) du,    Z = x^{c/2},

    A(u) = (sin au / sin u)^c sin(eu) / sin(au)          (Kanter's function),
    q(u) = (e/π) R^{a/2} A^{−1/2} [cos(au/2) + sin(au/2) R'/R],    R = (sin au / sin u)^c,

with q > 0 and ∫ q = 1. Every term is positive, so nothing cancels, however far the tail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np

from firstlight.clean_room import clean

Array = np.ndarray


@dataclass(frozen=True)
class KanterIntegral:
    """log-survival and density in the tail, for one θ with 2 < θ < ∞.

    Attributes
    ----------
    theta
        Shape of the Weibull weights.
    """

    theta: float

    @property
    def a(self) -> float:
        """The exponent a = 2/θ."""
        return 2 / self.theta

    @property
    def e(self) -> float:
        """The rest e = 1 − 2/θ, without cancellation."""
        return (self.theta - 2) / self.theta

    @cached_property
    @clean
    def log_edge(self) -> float:
        """log A(0) = (a/e) log a + log e, written so that neither end of θ loses digits."""
        log_a = math.log1p(-self.e) if self.e < 0.5 else math.log(self.a)
        return self.a / self.e * log_a + math.log(self.e)

    def exponent_and_density(self, u: Array, v: Array) -> tuple[Array, Array]:
        """log A(u) and q(u), given u and v = π − u, each to full relative precision."""
        a, e = self.a, self.e
        sin_u = np.sin(np.minimum(u, v))
        cot_u = np.where(u < v, np.cos(u), -np.cos(v)) / sin_u
        sin_au, cos_au = np.sin(a * u), np.cos(a * u)
        sin_eu = np.where(u < v, np.sin(e * u), np.sin(v + a * u))
        if e < 0.5:  # sin au / sin u = cos eu − cot u sin eu
            log_ratio = np.log1p(-2 * np.sin(e * u / 2) ** 2 - cot_u * sin_eu)
        else:
            log_ratio = np.log(sin_au / sin_u)
        log_a = (a / e) * log_ratio + np.log(sin_eu / sin_u)
        slope = (sin_eu / e - cos_au * sin_u) / (sin_au * sin_u)  # R'/R
        # R^{a/2} A^{−1/2} = R^{−e/2} √(sin au / sin eu), and R^e is the ratio itself
        q = (e / math.pi) * np.exp(-0.5 * log_ratio) * np.sqrt(sin_au / sin_eu)
        return log_a, q * (np.cos(a * u / 2) + np.sin(a * u / 2) * slope)

    def _rise(self, u: Array) -> Array:
        """log A(u) − log A(0) for small u, from log(sin t / t) = −t²/6 − t⁴/180 − t⁶/2835 − …."""
        a, e, square = self.a, self.e, u * u
        total = np.zeros_like(u)
        for power, divisor in ((6, 2835.0), (4, 180.0), (2, 6.0)):
            sums = sum(a**j for j in range(power)) + a**power - e**power  # (1 − a^k)/e + a^k − e^k
            total = (total + sums / divisor) * square
        return total

    @cached_property
    @clean
    def nodes(self) -> tuple[Array, Array]:
        """√A(u) and the weight q(u) du at the nodes of this θ."""
        u, v, du = _nodes(self.theta)
        log_a, q = self.exponent_and_density(u, v)
        keep = log_a < math.log(1e5)  # beyond, erfc(√A Z) is zero for every Z ≥ 1
        return np.exp(0.5 * log_a[keep]), (q * du)[keep]

    def tail(self, log_z: Array) -> tuple[Array, Array, Array]:
        """Log-survival L, s = −dL/d log Z and d log(s e^L)/d log Z at Z = exp(log_z), Z ≥ 1 (y ≥ √2).

        The density of |Y| is s e^L c/y, so the third number carries the derivative of its logarithm.
        """
        z = np.exp(np.asarray(log_z, dtype=np.float64))[..., None]
        root, weight = self.nodes
        g = root * z
        edge = math.exp(0.5 * self.log_edge) * z
        decay = np.exp(-(g - edge) * (g + edge)) * weight
        return _moments(decay, g, edge[..., 0])

    def far_tail(self, log_z: Array) -> tuple[Array, Array, Array]:
        """As ``tail``, for Z so large that only the neighbourhood of u = 0, of width 1/Z, counts."""
        z = np.exp(np.asarray(log_z, dtype=np.float64))[..., None]
        edge = math.exp(0.5 * self.log_edge) * z
        # A(u) = A(0)(1 + a u²/2 + …): ten widths of exp(−A(0) Z² a u²/2), or the whole interval if that is less
        width = np.minimum(math.pi * 0.999, 10 / (edge * math.sqrt(self.a / 2)))
        t, dt = _rule(80)
        u = 0.5 * (1 + t) * width
        log_a, q = self.exponent_and_density(u, math.pi - u)
        gap = np.expm1(np.where(u < 0.05, self._rise(u), log_a - self.log_edge))
        g = edge * np.sqrt(1 + gap)
        decay = np.exp(-(edge**2) * gap) * q * (0.5 * dt * width)
        return _moments(decay, g, edge[..., 0])


@lru_cache(maxsize=4)
def _rule(count: int) -> tuple[Array, Array]:
    """Gauss–Legendre nodes and weights on [−1, 1]."""
    t, dt = np.polynomial.legendre.leggauss(count)
    return t, dt


def _moments(decay: Array, g: Array, edge: Array) -> tuple[Array, Array, Array]:
    """The three numbers of ``tail`` from the weights e^{−g² + edge²} q du and the arguments g of erfc."""
    from scipy.special import erfcx

    first = decay * g
    survival = (decay * erfcx(g)).sum(-1)
    mass = first.sum(-1)
    bend = 1 - 2 * (first * g * g).sum(-1) / mass  # d log ∫ g e^{−g²} q / d log Z
    return np.log(survival) - edge**2, (2 / math.sqrt(math.pi)) * mass / survival, bend


def _nodes(theta: float) -> tuple[Array, Array, Array]:
    """Nodes u, their complements π − u, and weights, for integrals over (0, π)."""
    if theta <= 5:
        # even and 2π-periodic, with every derivative zero at π: the trapezoid converges geometrically;
        # near θ = 2 the layer at π narrows
        count = 128 if theta >= 2.1 else 256 if theta >= 2.005 else 600
        u = (np.arange(count) + 0.5) * (math.pi / count)
        return u, math.pi - u, np.full(count, math.pi / count)
    return _panels(theta)


def _panels(theta: float) -> tuple[Array, Array, Array]:
    """Gauss–Legendre panels that halve towards π, where A grows within a layer of width a, and towards 0."""
    x, w = _rule(16)
    depth = math.ceil(math.log2(theta)) + 4
    left = [0.0] + [math.pi * 2.0**-j for j in range(5, 0, -1)]
    right = [math.pi * 2.0**-j for j in range(1, depth)] + [0.0]
    u: list[Array] = []
    v: list[Array] = []
    du: list[Array] = []
    for low, high in pairwise(left):
        node = 0.5 * (low + high) + 0.5 * (high - low) * x
        u, v, du = [*u, node], [*v, math.pi - node], [*du, 0.5 * (high - low) * w]
    for high, low in pairwise(right):
        node = 0.5 * (low + high) - 0.5 * (high - low) * x
        u, v, du = [*u, math.pi - node], [*v, node], [*du, 0.5 * (high - low) * w]
    return np.concatenate(u), np.concatenate(v), np.concatenate(du)
