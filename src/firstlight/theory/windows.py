"""LogWindows: a function of the variance, interpolated in log q on windows that are filled where they are asked."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float64
from torch import Tensor

# Windows this wide in log q with so many Chebyshev nodes: a Gaussian moment is analytic for |arg q| < π/2, which
# leaves 6.4^−24 of it.
_WIDTH, _NODES = 1.0, 24
# A series that has not fallen this far by its last three terms is not used.
_RESOLVED = 1e-14


class LogWindows:
    """Rows of numbers as functions of q > 0: exact where few are asked, else Chebyshev series in log q.

    Parameters
    ----------
    function
        From variances (n,) to rows (n, m); smooth in log q, as all Gaussian moments are.

    Examples
    --------
    >>> import torch
    >>> from firstlight.theory.windows import LogWindows
    >>> rows = LogWindows(lambda q: torch.stack([q, q.sqrt()], 1))
    >>> q = torch.linspace(1.0, 2.0, 1000, dtype=torch.float64)
    >>> float((rows(q) - torch.stack([q, q.sqrt()], 1)).abs().max()) < 1e-14
    True
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function
        self._series: dict[int, Tensor | None] = {}
        self._asked: dict[int, int] = {}
        self._degrees = torch.arange(_NODES, dtype=torch.float64)
        angles = math.pi * (self._degrees + 0.5) / _NODES
        self._nodes = (torch.cos(angles) + 1) / 2
        self._to_series = 2 / _NODES * torch.cos(self._degrees[:, None] * angles)
        self._to_series[0] /= 2

    def __call__(self, q: Float64[Tensor, " n"]) -> Float64[Tensor, "n m"]:
        """The rows at the variances q > 0."""
        t = torch.log(q) / _WIDTH
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
        if i not in self._series:
            self._asked[i] = self._asked.get(i, 0) + len(q)
            if self._asked[i] <= _NODES:
                return self.function(q)
            series = self._to_series @ self.function(torch.exp((self._nodes + i) * _WIDTH))
            resolved = bool(series[-3:].abs().max() <= _RESOLVED * series.abs().max())
            self._series[i] = series if resolved else None
        found = self._series[i]
        if found is None:
            return self.function(q)
        angle = torch.arccos((2 * (t - i) - 1).clamp_(-1.0, 1.0))
        return torch.cos(angle[:, None] * self._degrees) @ found
