"""DualMap: E φ(u)φ(v) as a fast function of the correlation at one variance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from firstlight import activations, gauss
from firstlight.activations import Activation

# A Hermite series that ends this small relative to E φ² is exact for every |c| ≤ 1.
_TAIL = 1e-14
_MOST = 400


@dataclass(frozen=True, eq=False)
class DualMap:
    """E φ(u)φ(v) and E φ'(u)φ'(v) for correlations in [−1, 1] at one variance.

    A closed form where there is one; else a Hermite series if it ends (smooth φ); else a Chebyshev interpolant
    in θ = arccos c, in which kinked activations are smooth.

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
    def of(cls, phi: Activation, q: float | int) -> DualMap:
        """The map of one activation at one variance (the last few are kept)."""
        return _made(phi, float(q))

    def __call__(self, c: np.ndarray) -> np.ndarray:
        """E φ(u)φ(v)."""
        c = np.clip(c, -1.0, 1.0)
        if self.kind == "Hermite series":
            return np.polynomial.polynomial.polyval(c, self.table)
        if self.kind == "Chebyshev in θ":
            return _chebyshev(c, self.table)
        return activations.dual(self.phi, self.q, self.q, _tensor(c)).numpy()

    def slope(self, c: np.ndarray) -> np.ndarray:
        """E φ'(u)φ'(v)."""
        c = np.clip(c, -1.0, 1.0)
        if self.kind == "Hermite series":
            if len(self.table) < 2:
                return np.zeros_like(c)
            return np.polynomial.polynomial.polyval(c, np.polynomial.polynomial.polyder(self.table)) / self.q
        if self.kind == "Chebyshev in θ":
            return _chebyshev(c, _interpolated(self.phi, self.q, True)[0])
        return activations.dual_slope(self.phi, self.q, self.q, _tensor(c)).numpy()


def _tensor(c: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(c, dtype=np.float64))


def _chebyshev(c: np.ndarray, table: np.ndarray) -> np.ndarray:
    # near c = 1 arccos loses half the digits of 1 − c: θ comes from the half angle
    theta = 2 * np.arcsin(np.sqrt((1 - c) / 2))
    return np.polynomial.chebyshev.chebval(theta * (2 / math.pi) - 1, table)


@lru_cache(maxsize=64)
def _made(phi: Activation, q: float) -> DualMap:
    if activations.closed_form(phi) is not None:
        return DualMap(phi, q, "closed form", np.zeros(1), 1e-15)
    if not phi.kinks:
        a2 = gauss.hermite_coefficients(phi, q, _MOST).numpy() ** 2
        used = np.nonzero(a2 > 1e-18 * a2.sum())[0]
        rest = float(a2[-8:].sum() / max(a2.sum(), 1e-300))
        if rest < _TAIL:
            return DualMap(phi, q, "Hermite series", a2[: int(used[-1]) + 1 if len(used) else 1], rest)
    table, error = _interpolated(phi, q, False)
    return DualMap(phi, q, "Chebyshev in θ", table, error)


@lru_cache(maxsize=64)
def _interpolated(phi: Activation, q: float, slope: bool) -> tuple[np.ndarray, float]:
    """Chebyshev coefficients in θ, refined until they end or the work gets large; and their relative error."""
    count, std = 33, math.sqrt(q)
    f = phi.derivative if slope else phi.function
    while True:
        nodes = np.cos(math.pi * (np.arange(count) + 0.5) / count)
        c = _tensor(np.cos((nodes + 1) * (math.pi / 2)))
        found = gauss.integrate2(f, f, c, std=(std, std), kinks=(phi.kinks, phi.kinks), rtol=1e-11)
        table = np.polynomial.chebyshev.chebfit(nodes, found.value.numpy(), count - 1)
        error = float(np.abs(table[-4:]).max() / max(np.abs(table).max(), 1e-300))
        if error < 1e-11 or count >= 129 or found.evaluations > 8_000_000:
            return table, error
        count = 2 * count - 1
