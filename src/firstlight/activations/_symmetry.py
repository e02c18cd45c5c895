"""Parity and degree of homogeneity of a function that is known by its values only."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

Parity = Literal["odd", "even"]
Function = Callable[[Tensor], Tensor]

# Distances from zero, seven to an octave: no number of them is round, and no two have a rational ratio.
_SCALES = 1e-9 * 2.0 ** (torch.arange(420, dtype=torch.float64) / 7.0317)
# Around each kink, and between it and the next.
_AROUND = (1 - 1e-2, 1 - 1e-4, 1 - 1e-6, 1 + 1e-6, 1 + 1e-4, 1 + 1e-2)
_RTOL = 1e-12
# What a difference of two numbers near 1 keeps; it is allowed relative to the size of f up to this distance.
_ROUNDING = 4e-15


def parity_of(f: Function, kinks: Sequence[float]) -> Parity | None:
    """``"odd"`` or ``"even"`` if f is that at all distances from 1e-9 to 1e9 and around every kink, else None."""
    at = _places(kinks)
    with torch.no_grad():
        right, left = f(at), f(-at)
    known = ~(torch.isnan(right) & torch.isnan(left))
    right, left, at = right[known], left[known], at[known]
    size = torch.maximum(right.abs(), left.abs())
    # what is left of a cancellation near zero may be rounding of what is subtracted there, of size f(1)
    inside = size[(at <= 1) & torch.isfinite(size)]
    floor = _ROUNDING * torch.maximum(size, inside.max() if len(inside) else torch.zeros(()))
    limit = _RTOL * size + torch.where(torch.isfinite(floor), floor, 0.0)
    for parity, mirrored in (("even", left), ("odd", -left)):
        if bool(((right == mirrored) | ((right - mirrored).abs() <= limit)).all()):
            return "even" if parity == "even" else "odd"
    return None


def degree_of(f: Function, kinks: Sequence[float]) -> float | None:
    """D if both halves are multiples of |z|^d at all distances from 1e-9 to 1e9 and f has no kink but at 0."""
    if any(k != 0 for k in kinks):
        return None
    degrees = []
    with torch.no_grad():
        for side in (1.0, -1.0):
            y = f(side * _SCALES)
            if bool((y == 0).all()):
                continue
            if not bool(torch.isfinite(y).all() & ((y > 0).all() | (y < 0).all())):
                return None
            logs = torch.log(y.abs())
            d = float((logs[-1] - logs[0]) / torch.log(_SCALES[-1] / _SCALES[0]))
            d = round(d, 9) + 0.0
            rest = logs - d * torch.log(_SCALES)
            # logarithms of numbers up to 1e9^d are rounded by 1e-16 of their own size
            if float(rest.max() - rest.min()) > 1e-9 * max(1.0, abs(d)):
                return None
            degrees.append(d)
        zero = float(f(torch.zeros(1, dtype=torch.float64))[0])
    if not degrees or max(degrees) - min(degrees) > 1e-9:
        return None
    fits = zero == 0 if degrees[0] > 0 else math.isfinite(zero)
    return degrees[0] if fits else None


def _places(kinks: Sequence[float]) -> Tensor:
    """Positive distances from zero: all scales, both sides of the kinks, and the middles between them."""
    ends = sorted({0.0, *(abs(k) for k in kinks)})
    around = [k * share for k in ends if k > 0 for share in _AROUND]
    middles = [(a + b) / 2 for a, b in itertools.pairwise(ends)]
    own = torch.tensor([*around, *middles], dtype=torch.float64)
    grid = torch.linspace(0, 12, 2048, dtype=torch.float64)[1:]
    return torch.cat([_SCALES, grid, own]).sort().values
