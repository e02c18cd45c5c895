"""Rows of Gaussian moments for many variances, interpolated in log q between a few."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from jaxtyping import Float64
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.errors import DomainError

Rows = Callable[[Tensor], Tensor]

# A moment of a function that grows slower than Gaussians decay is analytic for |arg q| < π/2: on windows this wide
# in log q a Chebyshev series of so many nodes leaves 3.4^−32 of it. The coefficients of high Hermite polynomials
# vary faster, and have windows half as wide.
WIDTH, _NODES = 2.0, 32
_NARROW, _FEW = 1.0, 24
# By its last three terms a series must have fallen to this share of the smallest size in its window.
_RESOLVED = 1e-14
# Moments of fewer variances than this are computed one by one.
_MANY = 96


@lru_cache(maxsize=2)
@clean
def _chebyshev(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes on [0, 1], the matrix from values there to coefficients, and the degrees."""
    degrees = torch.arange(count, dtype=torch.float64)
    angles = math.pi * (degrees + 0.5) / count
    matrix = 2 / count * torch.cos(degrees[:, None] * angles)
    matrix[0] /= 2
    return (torch.cos(angles) + 1) / 2, matrix, degrees


def interpolated(
    function: Rows, q: Float64[Tensor, " n"], *, sizes: Rows = torch.abs
) -> Float64[Tensor, "n m"]:
    """Rows of moments (n, m) at the variances q ≥ 0, from fewer variances where many are asked.

    Parameters
    ----------
    function
        From variances (n,) to rows (n, m).
    q
        The variances.
    sizes
        From rows to the sizes that errors are measured by; the numbers themselves unless some may cancel.

    Examples
    --------
    >>> import torch
    >>> from firstlight.gauss.windows import interpolated
    >>> rows = lambda q: torch.stack([q, torch.exp(-q)], 1)
    >>> q = torch.logspace(-3, 2, 1000, dtype=torch.float64)
    >>> bool(((interpolated(rows, q) - rows(q)).abs() < 1e-14 * q[:, None].clamp_min(1)).all())
    True
    """
    positive = q > 0
    if len(q) < _MANY or not bool(positive.any()):
        return function(q)
    t = torch.log(q.clamp_min(1e-300))
    low, high = (float(v) for v in torch.aminmax(t[positive]))
    windows = max(1, math.ceil((high - low) / WIDTH))
    if windows * _NODES * 2 > len(q) or high - low < 1e-9:
        return function(q)
    nodes, matrix, degrees = _chebyshev(_NODES)
    width = (high - low) / windows
    at = torch.exp(low + width * (torch.arange(windows, dtype=torch.float64)[:, None] + nodes)).flatten()
    zeros = q[~positive]
    found = function(torch.cat([zeros, at]))
    values = found[len(zeros) :].view(windows, _NODES, -1)
    series = matrix @ values
    if bool((series[:, -3:].abs().amax(1) > _RESOLVED * sizes(values).amin(1)).any()):
        return function(q)
    x = (t - low) / width
    index = x.floor().clamp(0, windows - 1)
    angle = torch.arccos((2 * (x - index) - 1).clamp_(-1.0, 1.0))
    basis = torch.cos(angle[:, None] * degrees)
    # one product for each window, whose variances come together once they are sorted
    order = torch.argsort(index)
    counts = torch.bincount(index.to(torch.int64), minlength=windows).tolist()
    parts = [b @ s for b, s in zip(basis[order].split(counts), series)]
    out = torch.empty(len(q), values.shape[-1], dtype=torch.float64)
    out[order] = torch.cat(parts)
    out[~positive] = found[: len(zeros)]
    return out


class LogWindows:
    """Rows of numbers as functions of q > 0, asked again and again: series on windows that are filled as needed.

    Exact where few are asked, and where a series does not end.

    Parameters
    ----------
    function
        From variances (n,) to rows (n, m).

    Examples
    --------
    >>> import torch
    >>> from firstlight.gauss.windows import LogWindows
    >>> rows = LogWindows(lambda q: torch.stack([q, q.sqrt()], 1))
    >>> q = torch.linspace(1.0, 2.0, 1000, dtype=torch.float64)
    >>> float((rows(q) - torch.stack([q, q.sqrt()], 1)).abs().max()) < 1e-14
    True
    """

    def __init__(self, function: Rows) -> None:
        self.function = function
        self._series: dict[int, Tensor | None] = {}
        self._asked: dict[int, int] = {}

    def __call__(self, q: Float64[Tensor, " n"]) -> Float64[Tensor, "n m"]:
        """The rows at the variances q > 0."""
        t = torch.log(q) / _NARROW
        low, high = (math.floor(v) for v in torch.stack(torch.aminmax(t)).tolist())
        if low == high:
            return self._window(low, q, t)
        index = t.floor()
        out: Tensor | None = None
        for i in torch.unique(index).tolist():
            own = torch.nonzero(index == i)[:, 0]
            part = self._window(int(i), q[own], t[own])
            out = torch.empty(len(q), part.shape[1], dtype=torch.float64) if out is None else out
            out[own] = part
        assert out is not None
        return out

    def _window(self, i: int, q: Tensor, t: Tensor) -> Tensor:
        nodes, matrix, degrees = _chebyshev(_FEW)
        if i not in self._series:
            self._asked[i] = self._asked.get(i, 0) + len(q)
            if self._asked[i] <= _FEW:
                return self.function(q)
            self._series[i] = self._filled((nodes + i) * _NARROW, matrix)
        found = self._series[i]
        if found is None:
            return self.function(q)
        angle = torch.arccos((2 * (t - i) - 1).clamp_(-1.0, 1.0))
        return torch.cos(angle[:, None] * degrees) @ found

    def _filled(self, logs: Tensor, matrix: Tensor) -> Tensor | None:
        try:
            values = self.function(torch.exp(logs))
        except DomainError:  # a moment may diverge in a part of the window where nobody asked
            return None
        series = matrix @ values
        ended = series[-3:].abs().max() <= _RESOLVED * series.abs().max()
        return series if bool(ended) else None
