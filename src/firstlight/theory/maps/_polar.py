"""Polar: E φ(u)φ(v) of any variances for a φ whose only kink, if any, is at zero, where rays are its kinks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from firstlight.activations import Activation
from firstlight.clean_room import clean

# Nodes of a panel along a radius and an angle, and those of the rule that checks them.
_RADIAL, _ANGULAR, _FEWER = 16, 12, (12, 9)
_REACH = 9.5
# Panels shrink once more, a few times, until the error is below this.
_WANTED = 1e-12
# Panels shrink by this factor towards the rays and towards the origin, where a steep φ does all it does.
_SHRINK = 4.0
_CHUNK = 2_000_000


@dataclass(frozen=True, eq=False)
class Polar:
    r"""Pair moments by panels in polar coordinates of the two independent Gaussians.

    .. math:: E φ(u)φ(v) = \frac{1}{2π} \int_0^∞ r e^{-r^2/2} dr \int dα\;
        φ(\sqrt{q_1}\, r \cos α)\, φ(\sqrt{q_2}\, r \cos(α - θ)), \qquad c = \cos θ

    Where u or v changes its sign the direction (α) does, whatever the radius: between these four rays the integrand
    is smooth, and for c → ±1 two of the sectors only become thin.

    Attributes
    ----------
    phi
        The activation.
    levels
        How often panels shrink by 4 towards rays and origin: enough for standard deviations to ``steepest``.
    steepest
        The largest standard deviation that this rule resolves.
    error
        Relative to E φ² and E φ'²: the difference from a rule of three quarters of the nodes at some correlations,
        to the power 4/3 by which more nodes converge further.
    """

    phi: Activation
    levels: int
    steepest: float
    error: float

    @classmethod
    def of(cls, phi: Activation, q: float) -> Polar | None:
        """The rule for variances up to q; None if φ has kinks elsewhere."""
        if any(k != 0.0 for k in phi.kinks) or phi.jumps:
            return None
        level = max(0, math.ceil(math.log(max(math.sqrt(q), 1.0), _SHRINK)))
        return _made(phi, level)

    def pair(
        self, q1: Float64[Tensor, "*a"], q2: Float64[Tensor, "*b"], c: Float64[Tensor, "*c"]
    ) -> tuple[Float64[Tensor, "*d"], Float64[Tensor, "*d"]]:
        """E φ(u)φ(v) and E φ'(u)φ'(v) for variances q₁, q₂ and correlation c, which broadcast."""
        a, b, rho = torch.broadcast_tensors(q1, q2, c)
        return self._by(a, b, rho, _RADIAL, _ANGULAR)

    def _by(self, q1: Tensor, q2: Tensor, c: Tensor, radial: int, angular: int) -> tuple[Tensor, Tensor]:
        r, rw = _radii(self.levels, radial)
        t, tw = _sector(self.levels, angular)
        size = len(r) * len(t) * 4
        parts = [
            self._chunk(x, y, z, r, rw, t, tw)
            for x, y, z in zip(*(v.reshape(-1).split(max(1, _CHUNK // size)) for v in (q1, q2, c)))
        ]
        value, slope = (torch.cat(p).reshape(c.shape) for p in zip(*parts))
        return value, slope

    def _chunk(
        self, q1: Tensor, q2: Tensor, c: Tensor, r: Tensor, rw: Tensor, t: Tensor, tw: Tensor
    ) -> tuple[Tensor, Tensor]:
        theta, rest = angle(c), angle(-c)
        value, slope = torch.zeros_like(c), torch.zeros_like(c)
        s1, s2 = q1.sqrt()[:, None, None], q2.sqrt()[:, None, None]
        for width, same in ((theta, False), (rest, True)):
            # In a sector of this width, at the share t of it, one argument is the sine of its distance from one ray
            # and the other that from the other ray; both have one sign (wide angle between axes: other signs).
            u = s1 * torch.sin(width[:, None] * t)[:, None] * r[:, None]
            v = s2 * torch.sin(width[:, None] * (1 - t))[:, None] * r[:, None]
            if not same:
                v = -v
            weight = width / (2 * math.pi)
            for sign in (1.0, -1.0):
                x, y = sign * u, sign * v
                value += weight * torch.einsum("prt,r,t->p", self.phi(x) * self.phi(y), rw, tw)
                both = self.phi.derivative(x) * self.phi.derivative(y)
                slope += weight * torch.einsum("prt,r,t->p", both, rw, tw)
        return value, slope


def angle(c: Tensor) -> Tensor:
    """Arccos c by the half angle from the nearer end, which keeps its digits near ±1."""
    near = 2 * torch.asin(((1 - c.abs()) / 2).clamp(0, 1).sqrt())
    return torch.where(c < 0, math.pi - near, near)


@lru_cache(maxsize=64)
@clean
def _made(phi: Activation, level: int) -> Polar:
    q = torch.full((6,), _SHRINK ** (2 * level), dtype=torch.float64)
    c = torch.tensor([-0.97, -0.4, 0.3, 0.9, 1 - 1e-6, 1.0], dtype=torch.float64)
    for levels in range(level, level + 4):
        polar = Polar(phi, levels, _SHRINK**level, 0.0)
        fine, coarse = polar._by(q, q, c, _RADIAL, _ANGULAR), polar._by(q, q, c, *_FEWER)
        error = max(float((x - y).abs().max() / x[-1].abs().clamp_min(1e-300)) for x, y in zip(fine, coarse))
        error = max(error ** (4 / 3), 1e-15)
        if not error > _WANTED:
            break
    return Polar(phi, levels, polar.steepest, error)


@lru_cache(maxsize=32)
@clean
def _radii(levels: int, count: int) -> tuple[Tensor, Tensor]:
    """Radii and weights of ∫ r e^{−r²/2} · dr."""
    edges = [0.0, *(1.6 * _SHRINK ** -float(i) for i in range(levels, -1, -1)), 3.2, 5.5, _REACH]
    x, w = _panels(np.array(edges), count)
    return torch.from_numpy(x), torch.from_numpy(w * x * np.exp(-x * x / 2))


@lru_cache(maxsize=32)
@clean
def _sector(levels: int, count: int) -> tuple[Tensor, Tensor]:
    """Places and weights on [0, 1], gathered at both ends."""
    half = [0.5 * _SHRINK ** -float(i) for i in range(levels, -1, -1)]
    edges = np.array([0.0, *half, *(1 - v for v in half[-2::-1]), 1.0])
    x, w = _panels(edges, count)
    return torch.from_numpy(x), torch.from_numpy(w)


def _panels(edges: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(count)
    half = np.diff(edges)[:, None] / 2
    return ((edges[1:] + edges[:-1])[:, None] / 2 + half * nodes).ravel(), (half * weights).ravel()
