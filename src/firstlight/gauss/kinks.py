"""Where a function of one variable is not smooth: jumps, kinks and jumps of the second derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from firstlight.gauss._rules import rule

_REACH = 64.0
# An irrational shift: a kink that fell on a panel's end would not be seen.
_SHIFT = 0.4142135623730951 / 7
_ROUNDS = 52
# A function that is still unresolved on a panel this narrow is called not smooth there.
_NARROW = 2.6e-4
# In single precision rounding hides what is finer than this.
_NARROW_SINGLE = 1e-2
_MOST_PANELS = 4096
_MOST_KINKS = 128
_UNDERFLOW = 1e-290


class Kink(NamedTuple):
    """A point where a function is not smooth: order 0 jumps, 1 bends, 2 has a jump in a higher derivative."""

    at: float
    order: int


def find_kinks(f: Callable[[Tensor], Tensor], *, reach: float | int = _REACH) -> tuple[Kink, ...]:
    """Find the points in [−reach, reach] where f is not smooth.

    Panels whose Legendre series does not converge are halved: on a smooth function this ends early, at a kink
    it never does. Functions with features narrower than about 1e-3 may be called not smooth; an extra point
    costs a quadrature nothing. A function computed in single precision is judged with that precision.

    Parameters
    ----------
    f
        Entry-by-entry function of a float64 tensor.
    reach
        Half width of the searched interval.

    Returns
    -------
    tuple of Kink
        In order of position; empty for a smooth function, or for one so rough that nothing can be said
        (more than 128 points, or noise).

    Examples
    --------
    >>> import torch
    >>> from firstlight import gauss
    >>> gauss.find_kinks(torch.nn.functional.hardtanh)
    (Kink(at=-1.0, order=1), Kink(at=1.0, order=1))
    >>> gauss.find_kinks(torch.sign), gauss.find_kinks(torch.tanh)
    ((Kink(at=0.0, order=0),), ())
    """
    with torch.no_grad():
        spans = _rough_spans(f, reach)
        found = [Kink(at, _order(f, at)) for at in _merge(spans)]
    return tuple(found) if len(found) <= _MOST_KINKS else ()


def _rough_spans(f: Callable[[Tensor], Tensor], reach: float | int) -> list[tuple[float, float]]:
    """The narrowest panels that never got resolved."""
    r = rule()
    count = 2 * int(reach)
    edges = torch.linspace(-reach, reach, count + 1, dtype=torch.float64) + _SHIFT
    low, high = edges[:-1], edges[1:]
    spans: dict[float, tuple[float, float]] = {}
    eps = 6e-8 if _is_single(f) else 1.1e-16
    for _ in range(_ROUNDS):
        half = (high - low)[:, None] / 2
        y = f((high + low)[:, None] / 2 + half * r.nodes)
        y = torch.where(torch.isfinite(y), y, torch.zeros_like(y))
        top = y.abs().amax(-1)
        spread = y.amax(-1) - y.amin(-1)
        tail = (y @ r.tail).abs().amax(-1)
        # f is rounded, and so is its argument: the second shows where f is small but steep.
        noise = 100 * eps * (top + torch.maximum(low.abs(), high.abs()) * spread / (high - low)) + _UNDERFLOW
        rough = (tail > 1e-11 * spread) & (tail > noise)
        if int(rough.sum()) * 2 > _MOST_PANELS:
            return []
        low, high = low[rough], high[rough]
        narrow = _NARROW if eps < 1e-10 else _NARROW_SINGLE
        for a, b in zip(low.tolist(), high.tolist()):
            if b - a < narrow:
                spans = {key: s for key, s in spans.items() if not (s[0] <= a and b <= s[1])}
                spans[a] = (a, b)
        if len(low) == 0:
            break
        middle = (low + high) / 2
        keep = (middle > low) & (middle < high)
        low, high = (
            torch.cat([low[keep], middle[keep]]),
            torch.cat([middle[keep], high[keep]]),
        )
    return sorted(spans.values())


def _is_single(f: Callable[[Tensor], Tensor]) -> bool:
    """Whether f is computed in single precision: a step of 1e-12 is lost on it where a step of 1e-3 is not."""
    x = torch.linspace(-2.9, 3.1, 97, dtype=torch.float64)
    y = f(x)
    changing = (f(x * 1.001) - y).abs() > 1e-6 * y.abs()
    return int(changing.sum()) >= 8 and bool((f(x * (1 + 1e-12)) == y)[changing].all())


def _merge(spans: list[tuple[float, float]]) -> list[float]:
    """One point for each cluster of narrow panels, as round a number as the panel allows."""
    points: list[float] = []
    last = -float("inf")
    for low, high in spans:
        if low - last > _NARROW:
            points.append(_roundest(low, high))
        elif high - low < 1e-9:
            points[-1] = _roundest(low, high)
        last = high
    return points


def _roundest(low: float, high: float) -> float:
    middle = (low + high) / 2
    slack = max(high - low, 1e-15)
    for digits in range(13):
        candidate = round(middle, digits)
        if low - slack <= candidate <= high + slack:
            return candidate + 0.0
    return middle


def _order(f: Callable[[Tensor], Tensor], at: float) -> int:
    """0 if f itself jumps, 1 if its slope does, 2 otherwise."""
    unit = max(1.0, abs(at))
    steps = torch.tensor([1e-4, 2e-4, 1e-9], dtype=torch.float64) * unit
    right, left = f(at + steps), f(at - steps)
    size = float(torch.stack([right, left]).abs().max()) + 1e-300
    slopes = (right[1] - right[0]) / steps[0], (left[0] - left[1]) / steps[0]
    steep = max(abs(float(slopes[0])), abs(float(slopes[1])))
    gap = abs(float(right[2] - left[2]))
    if gap > 4 * steps[2] * steep + 1e-12 * size and gap > 1e-3 * abs(float(right[0] - left[0])):
        return 0
    bend = abs(float(slopes[0] - slopes[1]))
    # A smooth curve also turns between the two stencils: by three steps times its curvature.
    here = f(torch.tensor([float(at)], dtype=torch.float64))[0]
    curved = max(abs(float(side[1] - 2 * side[0] + here)) for side in (right, left)) / float(steps[0])
    return 1 if bend > 8 * curved + 1e-6 * max(steep, size) else 2
