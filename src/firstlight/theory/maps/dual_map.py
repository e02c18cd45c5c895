"""DualMap: E φ(u)φ(v) as a fast function of the correlation at one variance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from firstlight import activations, gauss
from firstlight.activations import Activation
from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.theory.maps.piecewise_linear import PiecewiseLinear

# A Hermite series that ends this small relative to E φ² is exact for every |c| ≤ 1.
_TAIL = 1e-14
_MOST = 400
# Chebyshev pieces: nodes, where their series may end relative to the largest value, and limits to halving.
# An activation that is rough at every scale meets the last one, and ``error`` tells what is left.
_NODES, _ENDS, _ENDS_SLOPE = 24, 1e-11, 5e-11
_NARROWEST, _MOST_WORK = 1e-8, 20_000_000


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

    @classmethod
    @checked
    def of(cls, phi: Activation, q: float) -> DualMap:
        """The map of one activation at one variance (the last few are kept)."""
        return _made(phi, float(q))

    def __call__(self, c: np.ndarray) -> np.ndarray:
        """E φ(u)φ(v)."""
        c = np.clip(c, -1.0, 1.0)
        if self.kind == "Hermite series":
            return np.polynomial.polynomial.polyval(c, self.table)
        if self.kind == "Chebyshev in θ":
            return _interpolated(self.phi, self.q, False)(c)
        return activations.dual(self.phi, self.q, self.q, _tensor(c)).numpy()

    def slope(self, c: np.ndarray) -> np.ndarray:
        """E φ'(u)φ'(v)."""
        c = np.clip(c, -1.0, 1.0)
        if self.kind == "Hermite series":
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
    return DualMap(phi, q, "Chebyshev in θ", np.zeros(1), _interpolated(phi, q, False).error)


@lru_cache(maxsize=64)
@clean
def _interpolated(phi: Activation, q: float, slope: bool) -> Pieces:
    """Chebyshev series in θ on pieces that are halved until each series ends, or is too narrow to matter.

    Kinks at two different places meet at c = 1 (or −1) as exp(−1/θ²), and φ may be rough at every scale: both call
    for pieces that shrink towards an end.
    """
    std, f = math.sqrt(q), phi.derivative if slope else phi.function
    tolerance = _ENDS_SLOPE if slope else _ENDS
    nodes = np.cos(math.pi * (np.arange(_NODES) + 0.5) / _NODES)
    to_series = np.linalg.inv(np.polynomial.chebyshev.chebvander(nodes, _NODES - 1))
    lines = PiecewiseLinear.of(phi)
    open_, done = [(0.0, math.pi / 2), (math.pi / 2, math.pi)], {}
    size, error, work = 1e-300, 0.0, 0
    while open_:
        low, high = np.array(open_).T[:, :, None]
        theta = (low + high) / 2 + (high - low) / 2 * nodes
        # the cosine near ±1 by the half angle, which keeps the digits of 1 − |c|
        c = np.where(theta < 1, 1 - 2 * np.sin(theta / 2) ** 2, np.cos(theta))
        if lines is not None:
            level = torch.full(c.shape, q, dtype=torch.float64)
            values = lines.pair(level, level, _tensor(c))[1 if slope else 0].numpy()
            work += c.size * len(lines.at) ** 2
        else:
            found = gauss.integrate2(
                f, f, _tensor(c), std=(std, std), kinks=(phi.kinks, phi.kinks), rtol=1e-11
            )
            values, work = found.value.numpy(), work + found.evaluations
        tables = values @ to_series.T
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
