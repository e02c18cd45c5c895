"""Zeros of log V(q)/q on an interval of variances: where the sign changes, and where zero is only touched."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from firstlight.errors import DomainError
from firstlight.theory.maps._fixed._coarse import CoarseMap
from firstlight.theory.maps.layer import LayerMap

# Where |log V(q)/q| is below this at one end of a step it may reach zero inside; such steps are cut in so many.
_CLOSE, _FINER = 0.05, 4
# V is known to 1e-13: a turn this close to zero touches it. Two zeros closer than √(2e-12/curvature) are one.
_TOUCHES = 1e-12
# A zero that is touched is not as wide as this in log q.
_PLATEAU = 0.1
# What rounding leaves of zero: of V, and of a logarithm of size t.
_NOTHING = (1e-14, 1e-15)
# Every zero that is returned holds to this.
_HOLDS = 1e-8
_LEAST = 1e-320
Curve = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Scan:
    """The map on nodes in t = log q, its zeros among them.

    Attributes
    ----------
    t, after
        Nodes and log V at them, infinite where a moment diverges.
    zeros
        Indices of the nodes with V(q) = q.
    touched
        Indices of those at which log V(q)/q keeps its sign.
    """

    t: np.ndarray
    after: np.ndarray
    zeros: tuple[int, ...]
    touched: frozenset[int]

    @property
    def excess(self) -> np.ndarray:
        """How fast the variance grows, log V(q)/q: where the variance grows this is positive."""
        with np.errstate(invalid="ignore"):
            return self.after - self.t


def scan(layer: LayerMap, low: float, high: float, per_decade: int) -> Scan:
    """The map on a logarithmic grid to which its turns near zero and its zeros are added.

    Raises
    ------
    DomainError
        A zero that does not hold to 1e-8, or V(q)/q too close to 1 to tell, because φ is too rough.
    """
    coarse = CoarseMap.of(layer, low, high)
    excess = lambda t: _log(coarse.variance(np.exp(t))) - t  # noqa: E731
    turn = lambda t: _turn(*coarse.moments(np.exp(t)), np.exp(t))  # noqa: E731
    t = np.linspace(math.log(low), math.log(high), max(3, round(per_decade * math.log10(high / low)) + 1))
    t, near = _finer(t, excess(t))
    slopes = np.full(len(t), math.nan)
    if near.any():
        slopes[near] = turn(t[near])
    with np.errstate(invalid="ignore"):
        at = np.nonzero(slopes[:-1] * slopes[1:] < 0)[0]
    turns = _roots(turn, t[at], t[at + 1])
    t = np.unique(np.concatenate([t, turns]))
    g = excess(t)
    flat = np.isin(t, turns) & (np.abs(g) <= _TOUCHES)
    sign = np.where(flat | (np.abs(g) <= _NOTHING[0] + _NOTHING[1] * np.abs(t)), 0.0, np.sign(g))
    sign = _without_plateaus(t, g, sign)
    with np.errstate(invalid="ignore"):
        cross = np.nonzero(sign[:-1] * sign[1:] < 0)[0]
    found = _roots(excess, t[cross], t[cross + 1])
    zeros = _apart(excess, np.unique(np.concatenate([found, t[sign == 0]])))
    _check(layer, excess, zeros)
    t = np.unique(np.concatenate([t[~_beside(t, g, zeros)], zeros]))
    index = np.searchsorted(t, zeros)
    after = _log(coarse.variance(np.exp(t)))
    after[index] = t[index]
    return Scan(t, after, tuple(index.tolist()), _touched(t, after, index))


def _log(v: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(v, _LEAST))


def _turn(v: np.ndarray, slope: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The slope of log V/q in log q."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return slope * q / v - 1


def _finer(t: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The grid, finer where the excess is small, and which nodes are there.

    Between two neighbours of this grid the excess turns once at most, for V is analytic in log q in a strip of
    width π/2.
    """
    size = np.abs(g)
    close = np.nonzero(np.fmin(size[:-1], size[1:]) < _CLOSE)[0]
    inside = np.arange(1, _FINER) / _FINER
    extra = t[close, None] + (t[close + 1] - t[close])[:, None] * inside
    fine = np.unique(np.concatenate([t, extra.reshape(-1)]))
    near = np.zeros(len(fine), bool)
    for i in close:
        near |= (fine >= t[i]) & (fine <= t[i + 1])
    return fine, near


def _roots(f: Curve, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Zeros of f in brackets, all at once; of a sign change that was rounding, the better end."""
    from scipy.optimize import elementwise

    if len(low) == 0:
        return low
    found = elementwise.find_root(f, (low, high), tolerances={"xatol": 2e-15, "xrtol": 4e-16, "fatol": 0.0})
    ends = np.where(np.abs(f(low)) <= np.abs(f(high)), low, high)
    return np.where(np.isfinite(found.x) & (found.status != -1), found.x, ends)


def _apart(excess: Curve, zeros: np.ndarray) -> np.ndarray:
    """The zeros between which the excess is more than V's error: of others, the middle one."""
    if len(zeros) < 2:
        return zeros
    between = np.abs(excess((zeros[1:] + zeros[:-1]) / 2))
    same = (between <= _TOUCHES) & (np.diff(zeros) < 1e-3)
    groups = np.split(zeros, np.nonzero(~same)[0] + 1)
    return np.array([group[len(group) // 2] for group in groups])


def _beside(t: np.ndarray, g: np.ndarray, zeros: np.ndarray) -> np.ndarray:
    """Nodes so close to a zero that the sign there is rounding."""
    if len(zeros) == 0:
        return np.zeros(len(t), bool)
    return (np.abs(t[:, None] - zeros).min(1) < 1e-3) & (np.abs(g) <= _TOUCHES)


def _without_plateaus(t: np.ndarray, g: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """Stretches on which V(q) = q are no fixed points of their own: the map goes there where it goes beyond them."""
    sign, start, before = sign.copy(), 0, 0.0
    for still, run in itertools.groupby((np.abs(g) <= _TOUCHES).tolist()):
        stop = start + len(list(run))
        if still and t[stop - 1] - t[start] > _PLATEAU:
            sign[start:stop] = sign[stop] if stop < len(sign) else before
        start, before = stop, sign[stop - 1]
    return sign


def _check(layer: LayerMap, excess: Curve, zeros: np.ndarray) -> None:
    off = np.abs(excess(zeros)) if len(zeros) else zeros
    if len(zeros) and not float(off.max()) < _HOLDS:
        q = math.exp(float(zeros[int(off.argmax())]))
        raise DomainError(
            f"while looking for fixed points of {layer.phi.name!r}: expected V(q) = q to {_HOLDS:g}, got a difference "
            f"of {float(off.max()):.3g} at q = {q:.6g}; the second moment of the activation is too rough there"
        )


def _touched(t: np.ndarray, after: np.ndarray, index: np.ndarray) -> frozenset[int]:
    """Zeros with the same sign on both sides."""
    g = after - t
    inside = [i for i in index.tolist() if 0 < i < len(t) - 1]
    return frozenset(i for i in inside if g[i - 1] * g[i + 1] > 0)
