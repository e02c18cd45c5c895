"""The search for panels on which a function is not smooth: those whose Legendre series does not hold are halved."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.gauss._rules import ORDER, rule

# A function that is still unresolved on a panel this narrow is called not smooth there; relative to the distance
# from zero where that is below 1, but for the panel around zero.
NARROW = 2.6e-4
# In single precision rounding hides what is finer than this.
_NARROW_SINGLE = 1e-2
_SINGLE = 6e-8
_ROUNDS = 60
_UNDERFLOW, _OVERFLOW = 1e-290, 1e150
# Values between the nodes that the series of a panel must pass through; half as many after every halving.
_BETWEEN, _FEWEST = 1024, 60
# The octaves end at this distance from zero, where one panel takes their place.
SMALLEST, SMALLEST_SINGLE = 2.6e-4, 0.26
_ZERO = 1e-10
# After so many halvings, so few unresolved panels of an octave are a narrow feature, which a quadrature may miss. An
# octave within 1 of zero is narrow itself: it takes as many fewer halvings as it is halvings of the unit, yet two,
# since what turns once an octave for ever has no features.
_DEPTH, _FEW = 5, 4
# By this share of itself a half reaches into the other, at least the 0.2 % that no node sees.
_OVERLAP = 0.01
# Share of a panel's spread by which the series may miss them.
_MISSED = 1e-8
Function = Callable[[Tensor], Tensor]
Spans = list[tuple[float, float]]


def precision(f: Function) -> float:
    """The relative precision in which f is computed, at least that of float64."""
    x = torch.linspace(-2.9, 3.1, 97, dtype=torch.float64)
    y = f(x)
    changing = (f(x * 1.001) - y).abs() > 1e-6 * y.abs()
    if int(changing.sum()) >= 8 and bool((f(x * (1 + 1e-12)) == y)[changing].all()):
        # a fine staircase stands still over more than the last digit of single precision; half precision does so too
        moves = float((f(x * (1 + 1e-5)) != y)[changing].double().mean()) > 0.5
        short = (x.to(kind).double() for kind in (torch.float16, torch.bfloat16))
        if moves or any(bool((f(at) == y)[changing].all()) for at in short):
            return _SINGLE
    # dyadic points and a dyadic step: the arguments are exact, and the second difference is rounding alone
    x, step = torch.arange(-47, 49, dtype=torch.float64) / 16, 2.0**-43
    here, right, left = f(x), f(x + step), f(x - step)
    noise = (right - 2 * here + left).abs() / torch.maximum(right.abs(), left.abs()).clamp_min(_UNDERFLOW)
    noise = noise[torch.isfinite(noise)]
    return max(1.1e-16, float(noise.median())) if len(noise) else 1.1e-16


@dataclass(frozen=True)
class Search:
    """A function and the relative precision in which it is computed."""

    f: Function
    eps: float

    @cached_property
    @clean
    def near(self) -> float:
        """The size of f near zero."""
        y = self.f(torch.linspace(-4.1, 3.9, 97, dtype=torch.float64)).abs()
        return float(torch.where(torch.isfinite(y), y, 0.0).max())

    @property
    def double(self) -> bool:
        """Whether f keeps more digits than single precision."""
        return self.eps < 1e-10

    @property
    def smallest(self) -> float:
        """Where octaves end, seen from far."""
        return SMALLEST if self.double else SMALLEST_SINGLE

    def rough(self, low: Tensor, high: Tensor, *, most: int) -> Spans | None:
        """The narrowest panels that are never resolved, and narrow features; None if there are over ``most``."""
        narrow = NARROW if self.double else _NARROW_SINGLE
        seen, replaced = [np.zeros((0, 2))], [np.zeros(0, int)]
        features: Spans = []
        count, parent, root = 0, torch.full((len(low),), -1), torch.arange(len(low))
        alone = torch.zeros(0, dtype=torch.bool)
        due = (_DEPTH + torch.log2((high - low).clamp(max=1.0))).ceil().clamp_min(2.0)
        for turn in range(_ROUNDS):
            bad, y, tail = self._unresolved(low, high)
            bad &= _worst(tail, parent, alone)
            between = _BETWEEN >> turn
            if between >= _FEWEST:
                bad |= self._stepped_over(low, high, y, between)
            if int(bad.sum()) > most:
                return None
            low, high, y, parent, root = low[bad], high[bad], y[bad], parent[bad], root[bad]
            if len(low) == 0:
                break
            if turn <= _DEPTH:
                now = (due[root] == turn) | (turn == _DEPTH)
                features += _local(low[now], high[now], root[now])
            size = torch.maximum(low.abs(), high.abs())
            fine = high - low < narrow * torch.where(size < self.smallest, 1.0, size.clamp(max=1.0))
            replaced.append(parent[fine].numpy())
            seen.append(torch.stack([low[fine], high[fine]], 1).numpy())
            # at this width a panel holds one kink: only the worse half is looked at, and rounding around it is not
            alone = torch.cat([alone, (high - low < narrow * size)[fine]])
            parent[fine] = count + torch.arange(int(fine.sum()))
            count += int(fine.sum())
            low, high, parent, root = _children(low, high, y, fine, parent, root)
        # a panel whose child is not resolved either says less than the child
        alive, dead = np.ones(count, bool), np.concatenate(replaced)
        alive[dead[dead >= 0]] = False
        # in the panel around zero, a leaf as wide as its distance from zero is smooth at its own scale
        kinks = [
            (a, b) for a, b in np.concatenate(seen)[alive].tolist() if a * b <= 0 or b - a < 0.01 * abs(b)
        ]
        smooth = [
            s for s in features if self._matters(*s) and not any(s[0] <= k[1] and k[0] <= s[1] for k in kinks)
        ]
        return sorted(kinks + [(p, p) for a, b in smooth for p in (a, (a + b) / 2, b)])

    def _noise(self, low: Tensor, high: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """What rounding may do to values on each panel, and their spread."""
        spread = y.amax(-1) - y.amin(-1)
        # f is rounded, and so is its argument: the second shows where f is small but steep.
        moved = torch.maximum(low.abs(), high.abs()) * spread / (high - low)
        # far out a small difference of large numbers, as in GELU on the left, is only rounding
        left = self.near * (torch.minimum(low.abs(), high.abs()) > 1).to(torch.float64)
        return 100 * self.eps * (y.abs().amax(-1) + moved + left) + _UNDERFLOW, spread

    def _unresolved(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Which panels the Legendre series does not resolve, f at their nodes (NaN if it overflows), the tails."""
        r = rule()
        y = self.f((high + low)[:, None] / 2 + ((high - low) / 2)[:, None] * r.nodes)
        y = torch.where(torch.isfinite(y) & (y.abs() < _OVERFLOW), y, math.nan)
        noise, spread = self._noise(low, high, y)
        tail = (y @ r.tail).abs().amax(-1)
        return (tail > 1e-11 * spread) & (tail > noise), y, tail

    def _matters(self, low: float, high: float) -> bool:
        """Whether f changes there by more than 1e-12 of its size near zero: a tail that dies out does not."""
        y = self.f(torch.linspace(low, high, 33, dtype=torch.float64))
        return float(y.amax() - y.amin()) > 1e-12 * self.near

    def _stepped_over(self, low: Tensor, high: Tensor, y: Tensor, between: int) -> Tensor:
        """Which panels hold values between their nodes that the series does not pass through."""
        at, through = _interpolation(between)
        off = (self.f((high + low)[:, None] / 2 + (high - low)[:, None] / 2 * at) - y @ through.T).abs()
        noise, spread = self._noise(low, high, y)
        missed = (off > (_MISSED * spread + 100 * noise)[:, None]) & torch.isfinite(off)
        return missed.any(1)


def _worst(tail: Tensor, parent: Tensor, alone: Tensor) -> Tensor:
    """Which panels are not the better half of a parent that holds one kink."""
    if not len(alone):
        return torch.ones_like(tail, dtype=torch.bool)
    has = parent >= 0
    most = torch.zeros(len(alone), dtype=torch.float64)
    most.scatter_reduce_(0, parent[has], tail[has].nan_to_num(0.0), "amax")
    at = parent.clamp_min(0)
    return ~(has & alone[at]) | (tail >= most[at])


def _local(low: Tensor, high: Tensor, root: Tensor) -> Spans:
    """Runs of unresolved panels that are few in their octave: narrow features of the function."""
    few = torch.bincount(root, minlength=1)[root] <= _FEW
    order = torch.argsort(low[few])
    runs: list[list[float]] = []
    for a, b in zip(low[few][order].tolist(), high[few][order].tolist()):
        if runs and a <= runs[-1][1] * (1 + 1e-12 * (1 if a > 0 else -1)):
            runs[-1][1] = b
        else:
            runs.append([a, b])
    return [(a, b) for a, b in runs]


@lru_cache(maxsize=8)
@clean
def _interpolation(count: int) -> tuple[Tensor, Tensor]:
    """Points between the nodes, and the matrix from values at the nodes to the series' values there."""
    at = np.linspace(-1, 1, count + 2)[1:-1]
    weights, nodes = rule().weights.numpy(), rule().nodes.numpy()
    scale = (2 * np.arange(ORDER) + 1) / 2
    series = scale[:, None] * np.polynomial.legendre.legvander(nodes, ORDER - 1).T * weights
    return torch.from_numpy(at), torch.from_numpy(np.polynomial.legendre.legvander(at, ORDER - 1) @ series)


def _children(
    low: Tensor, high: Tensor, y: Tensor, fine: Tensor, parent: Tensor, root: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Halves of unresolved panels, which overlap; a fine one that jumps between two nodes shrinks to their gap.

    A kink next to the middle would lie beyond the outermost nodes of both halves, and neither would see it.
    """
    size, where = (y[:, 1:] - y[:, :-1]).abs().max(-1)
    # what is left beside the gap must be next to nothing: there may be another kink in it
    jumps = fine & (size > 0.999 * (y.amax(-1) - y.amin(-1)))
    nodes = rule().nodes
    middle, half = (low + high) / 2, (high - low) / 2
    over = _OVERLAP * half
    left, right = middle + half * nodes[where], middle + half * nodes[where + 1]
    left, right = left - _OVERLAP * (right - left), right + _OVERLAP * (right - left)
    jumps &= (left > low) & (right < high) & (right > left)
    # what happens closer to zero than this happens at zero
    near = torch.maximum(low.abs(), high.abs()) < _ZERO
    split = ~jumps & ~near & (middle > low) & (middle < high)
    own, root = (torch.cat([v[jumps], v[split], v[split]]) for v in (parent, root))
    return (
        torch.cat([left[jumps], low[split], (middle - over)[split]]),
        torch.cat([right[jumps], (middle + over)[split], high[split]]),
        own,
        root,
    )
