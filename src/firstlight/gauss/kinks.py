"""Where a function of one variable is not smooth: jumps, kinks and jumps of the second derivative."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.gauss._arguments import expect_function
from firstlight.gauss._search import NARROW, Search, precision

_FURTHEST = 1e9
# An irrational shift: a kink that fell on a panel's end would not be seen.
_SHIFT = 0.4142135623730951 / 7
# The part of the line that is searched first; a function with more kinks there than this is called rough.
_INNER = 8.0
_MOST_KINKS, _AT_ONCE = 4096, 400
_COARSE = 9e-11
# The search ends this close to a jump, relative to its distance from zero; from there so many halvings reach it.
_BESIDE, _HALVINGS = 1e-9, 90


class Kink(NamedTuple):
    """A point where a function is not smooth: order 0 jumps, 1 bends, 2 has a jump in a higher derivative.

    A narrow feature, which a quadrature could step over, is marked by three points of order 2.
    """

    at: float
    order: int


@clean
def find_kinks(f: Callable[[Tensor], Tensor], *, reach: float | None = None) -> tuple[Kink, ...]:
    """Find the points where f is not smooth, from 1e-9 to 1e9 on both sides of zero.

    Octaves on which a Legendre series does not converge, or does not pass through the values between its nodes,
    are halved: on a smooth function this ends early, at a kink it never does. Features narrower than 1e-3 of their
    distance from zero may be missed, and smooth ones called not smooth; an extra point costs a quadrature nothing.
    A function computed in single precision is judged with that precision.

    Parameters
    ----------
    f
        Entry-by-entry function of a float64 tensor.
    reach
        Half width of the searched interval; 1e9 if None.

    Returns
    -------
    tuple of Kink
        In order of position; empty for a smooth function, or for one so rough that nothing can be said (more than
        4096 points in [−8, 8], or noise). Where the points further out are too many, the inner ones are given.

    Examples
    --------
    >>> import torch
    >>> from firstlight import gauss
    >>> gauss.find_kinks(torch.nn.functional.hardtanh)
    (Kink(at=-1.0, order=1), Kink(at=1.0, order=1))
    >>> gauss.find_kinks(torch.sign), gauss.find_kinks(torch.tanh)
    ((Kink(at=0.0, order=0),), ())
    """
    expect_function("looking for kinks", f)
    with torch.no_grad():
        eps = precision(f)
        spans = _spans(Search(f, eps), reach)
        if spans is None:
            # some functions are computed with fewer digits near zero than elsewhere
            spans = _spans(Search(f, max(eps, _COARSE)), reach) or []
        points, jumps = _settled(f, _merge(sorted(spans)))
        return tuple(map(Kink, points, _orders(f, points, jumps)))


def _spans(search: Search, reach: float | None) -> list[tuple[float, float]] | None:
    """Narrow panels that are not resolved; None if they are too many around zero."""
    rings = _rings(search.smallest, _FURTHEST if reach is None else float(reach))
    # all at once, which is enough for nearly every function
    spans = search.rough(*(torch.cat(ends) for ends in zip(*rings)), most=_AT_ONCE)
    if spans is not None:
        return spans
    for low, high in rings:
        found = search.rough(low, high, most=_MOST_KINKS - len(spans or ()))
        if found is None:
            break
        spans = (spans or []) + found
    return spans


def _rings(smallest: float, reach: float) -> list[tuple[Tensor, Tensor]]:
    """Octaves around zero, then further and further out, as pairs of lower and upper ends."""
    # the ends are shifted away from round numbers, and from each other's mirror images
    left, right = -(1 - _SHIFT / 3), 1 + _SHIFT / 2
    inner = min(_INNER, reach)
    halvings = max(0, math.ceil(math.log2(inner / smallest)))
    ends = inner * 2.0 ** torch.arange(-halvings, 1, dtype=torch.float64)
    edges = torch.cat([left * ends.flip(0), right * ends])
    rings = [(edges[:-1], edges[1:])]
    start = float(ends[-1])
    while start < reach:
        own = torch.tensor([start, min(2 * start, reach)], dtype=torch.float64)
        start = float(own[1])
        rings.append(
            (torch.stack([left * own[1], right * own[0]]), torch.stack([left * own[0], right * own[1]]))
        )
    return rings


def _merge(spans: list[tuple[float, float]]) -> list[float]:
    """One point for each cluster of narrow panels, in the narrowest of them."""
    points: list[float] = []
    last, width = -math.inf, math.inf
    for low, high in spans:
        own = high - low
        if low - last > NARROW * min(1.0, abs(low)) + 2 * own:
            points.append(_roundest(low, high))
            width = own
        elif own < 0.1 * width:
            points[-1], width = _roundest(low, high), own
        last = max(high, last)
    return sorted(set(points))


def _roundest(low: float, high: float) -> float:
    middle = (low + high) / 2
    slack = max(high - low, 1e-15 * min(1.0, max(abs(low), abs(high))))
    digits = 0 if abs(middle) > 1e-3 else max(0, -math.ceil(math.log10(max(abs(middle), 1e-12))))
    if low - slack <= 0.0 <= high + slack:
        return 0.0
    for places in range(digits, digits + 13):
        candidate = round(middle, places)
        if low - slack <= candidate <= high + slack:
            return candidate + 0.0
    return middle


def _settled(f: Callable[[Tensor], Tensor], points: list[float]) -> tuple[list[float], Tensor]:
    """The points, those where f itself jumps moved to the last digit of the jump, and which of them these are."""
    at = torch.tensor(points, dtype=torch.float64)
    if not points:
        return points, at > 0
    wide = torch.minimum(_BESIDE * at.abs().clamp_min(1.0), 0.3 * _gap(at))
    low, high = at - wide, at + wide
    left, right = f(low), f(high)
    size, across = torch.maximum(left.abs(), right.abs()), (right - left).abs()
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        here = f(middle)
        first = (here - left).abs() >= (right - here).abs()
        low, left = torch.where(first, low, middle), torch.where(first, left, here)
        high, right = torch.where(first, middle, high), torch.where(first, here, right)
    # what is continuous changes by less and less on a bracket that closes; at the jump itself f may be anything
    last = torch.maximum(high - low, 2e-16 * at.abs())
    jumps = (
        ((f(high + last) - f(low - last)).abs() > 0.5 * across)
        & (across > 1e-12 * size)
        & torch.isfinite(across)
    )
    ends = [
        _roundest(a, b) if j else p for p, a, b, j in zip(points, *(v.tolist() for v in (low, high, jumps)))
    ]
    return ends, jumps


def _gap(at: Tensor) -> Tensor:
    """The distance of each sorted point from its nearest neighbour."""
    gaps = torch.diff(at, prepend=at.new_full((1,), -math.inf), append=at.new_full((1,), math.inf))
    return torch.minimum(gaps[1:], gaps[:-1])


def _orders(f: Callable[[Tensor], Tensor], points: list[float], jumps: Tensor) -> list[int]:
    """0 where f itself jumps, 1 where its slope does, 2 otherwise."""
    if not points:
        return []
    at = torch.tensor(points, dtype=torch.float64)
    unit = torch.minimum(at.abs().clamp_min(1.0), 1e3 * _gap(at))
    steps = torch.stack([1e-4 * unit, 2e-4 * unit])
    right, left, here = f(at + steps), f(at - steps), f(at[None])[0]
    size = torch.cat([right, left]).abs().amax(0) + 1e-300
    slopes = (right[1] - right[0]) / steps[0], (left[0] - left[1]) / steps[0]
    steep = torch.maximum(slopes[0].abs(), slopes[1].abs())
    bend = (slopes[0] - slopes[1]).abs()
    # A smooth curve also turns between the two stencils: by three steps times its curvature.
    curved = torch.stack([(side[1] - 2 * side[0] + here).abs() for side in (right, left)]).amax(0) / steps[0]
    bends = bend > 8 * curved + 1e-6 * torch.maximum(steep, size)
    return torch.where(jumps, 0, torch.where(bends, 1, 2)).tolist()
