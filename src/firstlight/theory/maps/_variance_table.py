"""VarianceTable: pair moments of many inputs of many variances, interpolated in both variances and the angle."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from firstlight.theory.maps._polar import Polar, angle

# Chebyshev nodes in log q, tried in turn, and in θ = arccos c.
_IN_Q, _IN_ANGLE = (3, 5, 8, 12, 16), (24, 40, 64)
# Share of the largest value at which the last two coefficients of every axis must be.
_ENDED = 1e-11
# Numbers in one product: 32 MB.
_BLOCK = 4_000_000


@dataclass(frozen=True, eq=False)
class VarianceTable:
    r"""E φ(u)φ(v) and E φ'(u)φ'(v) as series :math:`\sum t_{ijk} T_i(\log q_1) T_j(\log q_2) T_k(θ)`.

    Attributes
    ----------
    low, high
        Range of log q.
    tables
        Coefficients of both moments, (k, 2·i·j).
    nodes
        Number of nodes in log q.
    """

    low: float
    high: float
    tables: Tensor
    nodes: int

    @classmethod
    def of(cls, polar: Polar, low: float, high: float) -> VarianceTable | None:
        """The table for variances from low to high; None if the largest of them does not resolve it."""
        a, b = math.log(low), math.log(high)
        b = max(b, a + 1e-9)
        angles = _enough(_IN_ANGLE, lambda n: _values(polar, np.array([a, b]), np.array([b]), n), 2)
        middle = np.array([(a + b) / 2])
        count = _enough(_IN_Q, lambda n: _in_q(n, _values(polar, _at(a, b, n), middle, _IN_ANGLE[0])), 0)
        if angles is None or count is None:
            return None
        series = _in_q(count, _values(polar, _at(a, b, count), None, angles))
        series = _in_q(count, series.swapaxes(0, 1)).swapaxes(0, 1)
        if not (_ends(series, 0) and _ends(series, 2)):
            return None
        tables = series.transpose(2, 3, 0, 1).reshape(angles, -1)
        return cls(a, b, torch.from_numpy(np.ascontiguousarray(tables)), count)

    def pair(self, q1: Tensor, q2: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """E φφ and E φ'φ' for variances that broadcast to the correlations c."""
        m, angles = self.nodes, len(self.tables)
        first, second = self._basis(q1), self._basis(q2)
        theta = angle(c.reshape(-1)).mul_(2 / math.pi).sub_(1)
        x, degrees = torch.arccos(theta.clamp_(-1, 1)), torch.arange(angles, dtype=torch.float64)
        step = max(1, _BLOCK // max(angles, 2 * m * m))
        flat1, flat2 = ([f.expand_as(c).reshape(-1) for f in fs] for fs in (first, second))
        value, slope = torch.empty_like(x), torch.empty_like(x)
        for start in range(0, len(x), step):
            own = slice(start, start + step)
            found = torch.cos(x[own, None] * degrees) @ self.tables
            sides = [torch.stack([f[own] for f in fs], 1) for fs in (flat1, flat2)]
            weights = (sides[0][:, :, None] * sides[1][:, None]).flatten(1)
            value[own] = (found[:, : m * m] * weights).sum(1)
            slope[own] = (found[:, m * m :] * weights).sum(1)
        return value.reshape(c.shape), slope.reshape(c.shape)

    def _basis(self, q: Tensor) -> list[Tensor]:
        """T_i(log q) on the range."""
        x = ((2 * torch.log(q) - self.low - self.high) / (self.high - self.low)).clamp(-1, 1)
        angle = torch.arccos(x)
        return [torch.cos(i * angle) for i in range(self.nodes)]


def _nodes(count: int) -> np.ndarray:
    return np.cos(math.pi * (np.arange(count) + 0.5) / count)


def _to_series(count: int) -> np.ndarray:
    return np.linalg.inv(np.polynomial.chebyshev.chebvander(_nodes(count), count - 1))


def _at(low: float, high: float, count: int) -> np.ndarray:
    return (low + high) / 2 + (high - low) / 2 * _nodes(count)


def _in_q(count: int, values: np.ndarray) -> np.ndarray:
    """Series along the first axis."""
    return np.tensordot(_to_series(count), values, (1, 0))


def _enough(counts: tuple[int, ...], make: Callable[[int], np.ndarray], axis: int) -> int | None:
    """The first number of nodes whose series end along the axis."""
    return next((n for n in counts if _ends(make(n), axis)), None)


def _values(polar: Polar, first: np.ndarray, second: np.ndarray | None, angles: int) -> np.ndarray:
    """Series in the angle for pairs of log variances, (i, j, angles, 2); symmetric ones if ``second`` is None."""
    theta = math.pi / 2 * (1 + _nodes(angles))
    c = torch.from_numpy(np.where(theta < 1, 1 - 2 * np.sin(theta / 2) ** 2, np.cos(theta)))
    other = first if second is None else second
    i, j = (
        np.triu_indices(len(first)) if second is None else np.indices((len(first), len(other))).reshape(2, -1)
    )
    q1, q2 = (torch.from_numpy(np.exp(v)) for v in (first[i], other[j]))
    found = torch.stack(polar.pair(q1[:, None], q2[:, None], c), -1).numpy()
    out = np.empty((len(first), len(other), angles, 2))
    out[i, j] = np.einsum("ka,paf->pkf", _to_series(angles), found)
    if second is None:
        out[j, i] = out[i, j]
    return out


def _ends(series: np.ndarray, axis: int) -> bool:
    size = np.abs(series)
    last = np.moveaxis(size, axis, 0)[-2:]
    return bool((last.max((0, 1, 2)) <= _ENDED * size.max((0, 1, 2))).all())
