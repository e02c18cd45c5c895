"""DualMap: E φ(u)φ(v) as a fast function of the correlation at one variance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from firstlight import activations, gauss
from firstlight.activations import Activation
from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.theory.maps._steps import Steps
from firstlight.theory.maps.piecewise_linear import PiecewiseLinear

# A Hermite series that ends this small relative to E φ² is exact for every |c| ≤ 1.
_TAIL = 1e-14
_MOST = 400
# Chebyshev pieces: nodes, where their series may end relative to the largest value, and limits to halving.
# An activation that is rough at every scale meets the last one, and ``error`` tells what is left.
_NODES, _ENDS, _ENDS_SLOPE = 24, 1e-11, 5e-11
_NARROWEST, _MOST_WORK = 1e-8, 20_000_000
# With more kinks than this, quadrature over both Gaussians costs seconds: then a series of the last order, for as close
# correlations as it is known to this share of E φ².
_MANY_KINKS, _LAST_ORDER, _ACCEPTED = 32, 2048, 1e-7


@dataclass(frozen=True, eq=False)
class DualMap:
    """E φ(u)φ(v) and E φ'(u)φ'(v) for correlations in [−1, 1] at one variance.

    A closed form where there is one; else a Hermite series if it ends (smooth φ); else Chebyshev interpolants in
    θ = arccos c, in which kinked activations are smooth but for the ends.

    Attributes
    ----------
    kind
        ``"closed form"``, ``"Hermite series"`` or ``"Chebyshev in θ"``.
    error
        Estimated error relative to E φ².
    closest
        The largest |c| below 1 that the map is for: less than 1 where φ has so many kinks that its series does not end.

    Examples
    --------
    >>> import numpy as np
    >>> from firstlight import activations
    >>> from firstlight.theory import DualMap
    >>> dual = DualMap.of(activations.get("tanh"), 1.0)
    >>> dual.kind, round(float(dual(np.array([0.0]))[0]), 12)
    ('Hermite series', 0.0)
    """

    phi: Activation
    q: float
    kind: str
    table: np.ndarray
    error: float
    closest: float = 1.0

    @classmethod
    @checked
    def of(cls, phi: Activation, q: float) -> DualMap:
        """The map of one activation at one variance (the last few are kept)."""
        return _made(phi, float(q))

    def __call__(self, c: np.ndarray) -> np.ndarray:
        """E φ(u)φ(v).

        Raises
        ------
        DomainError
            A correlation between ``closest`` and 1 in size.
        """
        c = np.clip(c, -1.0, 1.0)
        if self.closest < 1:
            return self._cut(c)
        if self.kind == "Hermite series":
            return np.polynomial.polynomial.polyval(c, self.table)
        if self.kind == "Chebyshev in θ":
            return _interpolated(self.phi, self.q, False)(c)
        return activations.dual(self.phi, self.q, self.q, _tensor(c)).numpy()

    def _cut(self, c: np.ndarray) -> np.ndarray:
        """The series where it holds, and means over one Gaussian at ±1."""
        near = (np.abs(c) > self.closest) & (np.abs(c) < 1)
        if near.any():
            raise DomainError(
                f"while mapping correlations of {self.phi.name!r}: expected correlations up to {self.closest:.6g} in "
                f"size, got {float(c[near].flat[0]):.8g}; its kinks are too many for inputs so alike"
            )
        ends, out = np.abs(c) == 1, np.polynomial.polynomial.polyval(c, self.table)
        if ends.any():
            out = np.where(
                ends, activations.dual(self.phi, self.q, self.q, _tensor(np.where(ends, c, 1.0))).numpy(), out
            )
        return out

    def slope(self, c: np.ndarray) -> np.ndarray:
        """E φ'(u)φ'(v)."""
        c = np.clip(c, -1.0, 1.0)
        if self.kind == "Hermite series" and self.closest == 1:
            if len(self.table) < 2:
                return np.zeros_like(c)
            return np.polynomial.polynomial.polyval(c, np.polynomial.polynomial.polyder(self.table)) / self.q
        if self.kind == "Chebyshev in θ":
            return _interpolated(self.phi, self.q, True)(c)
        return activations.dual_slope(self.phi, self.q, self.q, _tensor(c)).numpy()


def _tensor(c: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(c, dtype=np.float64))


@dataclass(frozen=True, eq=False)
class Pieces:
    """A function of θ = arccos c as Chebyshev series between increasing edges; and its relative error."""

    edges: np.ndarray
    tables: np.ndarray
    error: float

    def fallen_from(self, first: float) -> Pieces:
        """``first`` minus the integral from θ = 0 of this function."""
        half = np.diff(self.edges) / 2
        tables = -half[:, None] * np.polynomial.chebyshev.chebint(self.tables, lbnd=-1, axis=1)
        falls = np.polynomial.chebyshev.chebval(1.0, tables.T)
        tables[:, 0] += first + np.cumsum(falls) - falls
        return Pieces(self.edges, tables, self.error)

    def __call__(self, c: np.ndarray) -> np.ndarray:
        """Its values at correlations c."""
        # near c = 1 arccos loses half the digits of 1 − c: θ comes from the half angle
        theta = np.atleast_1d(2 * np.arcsin(np.sqrt((1 - c) / 2)))
        which = np.clip(np.searchsorted(self.edges, theta, side="right") - 1, 0, len(self.tables) - 1)
        out = np.empty_like(theta)
        for i in np.unique(which):
            own, (low, high) = which == i, self.edges[i : i + 2]
            x = (2 * theta[own] - low - high) / (high - low)
            out[own] = np.polynomial.chebyshev.chebval(x, self.tables[i])
        return out.reshape(np.shape(c))


@lru_cache(maxsize=64)
@clean
def _made(phi: Activation, q: float) -> DualMap:
    if activations.closed_form(phi) is not None:
        return DualMap(phi, q, "closed form", np.zeros(1), 1e-15)
    if not phi.kinks:
        a2 = gauss.hermite_coefficients(phi, q, _MOST).numpy() ** 2
        used = np.nonzero(a2 > 1e-18 * a2.sum())[0]
        rest = float(a2[-8:].sum() / max(a2.sum(), 1e-300))
        if rest < _TAIL:
            return DualMap(phi, q, "Hermite series", a2[: int(used[-1]) + 1 if len(used) else 1], rest)
    if sum(abs(k) < 9 * math.sqrt(q) for k in phi.kinks) > _MANY_KINKS and Steps.of(phi, q) is None:
        a2 = gauss.hermite_coefficients(phi, q, _LAST_ORDER, kinks=phi.kinks).numpy() ** 2
        rest = 1 - float(a2.sum()) / max(float(activations.second(phi, q)), 1e-300)
        closest = min(1.0, (_ACCEPTED / max(rest, 1e-300)) ** (1 / (_LAST_ORDER + 1)))
        return DualMap(phi, q, "Hermite series", a2, min(max(rest, 1e-13), _ACCEPTED), closest)
    return DualMap(phi, q, "Chebyshev in θ", np.zeros(1), _interpolated(phi, q, False).error)


@lru_cache(maxsize=64)
@clean
def _interpolated(phi: Activation, q: float, slope: bool) -> Pieces:
    """Chebyshev series in θ of the values, or of their rate of change where φ is constant between its jumps."""
    steps = Steps.of(phi, q)
    if steps is not None:
        if slope:
            return Pieces(np.array([0.0, math.pi]), np.zeros((1, 1)), 0.0)
        rates = _halved(lambda theta: (steps.rate(theta), theta.size), _ENDS)
        return rates.fallen_from(float(activations.second(phi, q)))
    std, f = math.sqrt(q), phi.derivative if slope else phi.function
    lines = PiecewiseLinear.of(phi)

    def values(theta: np.ndarray) -> tuple[np.ndarray, int]:
        # the cosine near ±1 by the half angle, which keeps the digits of 1 − |c|
        c = np.where(theta < 1, 1 - 2 * np.sin(theta / 2) ** 2, np.cos(theta))
        if lines is not None:
            level = torch.full(c.shape, q, dtype=torch.float64)
            return lines.pair(level, level, _tensor(c))[1 if slope else 0].numpy(), c.size * len(
                lines.at
            ) ** 2
        found = gauss.integrate2(f, f, _tensor(c), std=(std, std), kinks=(phi.kinks, phi.kinks), rtol=1e-11)
        return found.value.numpy(), found.evaluations

    return _halved(values, _ENDS_SLOPE if slope else _ENDS)


def _halved(values: Callable[[np.ndarray], tuple[np.ndarray, int]], tolerance: float) -> Pieces:
    """Chebyshev series in θ on pieces that are halved until each series ends, or is too narrow to matter.

    Kinks at two different places meet at c = 1 (or −1) as exp(−1/θ²), and φ may be rough at every scale: both call
    for pieces that shrink towards an end. ``values`` gives the function and how much work it was.
    """
    nodes = np.cos(math.pi * (np.arange(_NODES) + 0.5) / _NODES)
    to_series = np.linalg.inv(np.polynomial.chebyshev.chebvander(nodes, _NODES - 1))
    open_, done = [(0.0, math.pi / 2), (math.pi / 2, math.pi)], {}
    size, error, work = 1e-300, 0.0, 0
    while open_:
        low, high = np.array(open_).T[:, :, None]
        found, cost = values((low + high) / 2 + (high - low) / 2 * nodes)
        tables, work = found @ to_series.T, work + cost
        size = max(size, float(np.abs(tables).max()))
        after = []
        for piece, table in zip(open_, tables):
            tail = float(np.abs(table[-3:]).max()) / size
            width = piece[1] - piece[0]
            if tail < tolerance or width < _NARROWEST or work > _MOST_WORK:
                done[piece], error = table, max(error, tail)
            else:
                middle = (piece[0] + piece[1]) / 2
                after += [(piece[0], middle), (middle, piece[1])]
        open_ = after
    order = sorted(done)
    return Pieces(np.array([*(p[0] for p in order), math.pi]), np.stack([done[p] for p in order]), error)
