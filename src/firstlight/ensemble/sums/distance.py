"""Kolmogorov–Smirnov distances to a normal law from sketches, with the error the bins leave."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.ensemble.sums.sketch import RELATIVE_WIDTH, Sketch


@dataclass(frozen=True)
class Distance:
    """A distance between cumulative distribution functions.

    Attributes
    ----------
    value
        Its estimate.
    error
        Largest difference to the distance of the unbinned values: exact statement, not a probability.
    se
        Standard error from the finite number of networks, at most (units and inputs of one network count as
        fully dependent).
    at
        Where the supremum is reached.
    """

    value: float
    error: float
    se: float
    at: float


_MISSING = Distance(math.nan, math.nan, math.nan, math.nan)


@checked
@clean
def ks_of_values(
    sketch: Sketch, *, scale: float = 1.0, nets: int | None = None, own_scale: bool = False
) -> Distance:
    """KS distance between the values of a sketch and N(0, scale²).

    The empirical cdf is known exactly at the ends of bins, which brackets the supremum. ``own_scale`` says that
    scale² is the mean square of these very values: the standard error then includes its own (delta method).

    Examples
    --------
    >>> import torch
    >>> from firstlight.ensemble.sums.distance import ks_of_values
    >>> from firstlight.ensemble.sums.sketch import Sketch
    >>> round(ks_of_values(Sketch.of(torch.zeros(10))).value, 3)
    0.5
    """
    total = sketch.total
    if not total or not scale > 0:
        return _MISSING
    low, high = sketch.edges()
    after = np.cumsum(sketch.counts) / total
    before = after - sketch.counts / total
    at_low, at_high = _ndtr(low / scale), _ndtr(high / scale)
    sure = np.maximum(np.abs(before - at_low), np.abs(after - at_high))
    possible = np.maximum(after - at_low, at_high - before)
    i = int(sure.argmax())
    lower, upper = float(sure[i]), max(float(possible.max()), float(sure[i]))
    f, x = float(after[i]), float(high[i])
    influence = (np.arange(len(after)) <= i) - f
    c = sketch.centres()
    if own_scale and x != 0 and math.isfinite(x) and bool(np.isfinite(c).all()):
        near = np.abs(c - x) < 0.15 * scale
        density = float(sketch.counts[near].sum()) / total / (0.3 * scale)
        influence = influence + density * x / (2 * scale**2) * (c**2 - scale**2)
    se = math.sqrt(float(influence**2 @ sketch.counts) / total / (nets or total))
    return Distance(0.5 * (lower + upper), 0.5 * (upper - lower), se, x)


@checked
@clean
def ks_of_deviations(
    sketch: Sketch, *, scale: float = 1.0, nets: int | None = None, own_scale: bool = False
) -> Distance:
    r"""KS distance to N(0, scale²) of the mixture of N(0, s²) over the standard deviations s of a sketch.

    The mean is the Rao–Blackwell estimate: the law of a unit given the layer before is N(0, s²), so averaging
    :math:`Φ(t/s)` over networks replaces counting units. |∂Φ(t/s)/∂ log s| ≤ 0.242 bounds what the bins lose.
    ``own_scale`` says that scale² is the mean of these very s²: the standard error then includes its own.
    """
    total = sketch.total
    if not total or not scale > 0:
        return _MISSING
    atom = float(sketch.counts[np.isin(sketch.keys, (0, -1))].sum()) / total
    s, weight = _reduced(sketch)
    if not len(s):
        return Distance(0.5, 0.0, 0.0, 0.0)
    smallest = max(min(float(s.min()), scale) * 1e-2, scale * 1e-12)
    grid = np.exp(np.linspace(math.log(smallest), math.log(12 * scale), 384))
    t = _highest(grid, s, weight, atom, scale)
    step = grid[1] / grid[0]
    for _ in range(2):
        grid = np.exp(np.linspace(math.log(t / step), math.log(t * step), 33))
        t = _highest(grid, s, weight, atom, scale)
        step = grid[1] / grid[0]
    parts = _ndtr(t / s)
    mean = float(parts @ weight) + atom
    slope = 0.0
    if own_scale:
        density = float(np.exp(-0.5 * (t / s) ** 2) / s @ weight) / math.sqrt(2 * math.pi)
        slope = density * t / (2 * scale**2)
    influence = parts - mean + slope * (s**2 - scale**2)
    variance = float(influence**2 @ weight) + atom * (1 - mean - slope * scale**2) ** 2
    value = abs(mean - float(_ndtr(np.array([t / scale]))[0]))
    at_zero = 0.5 * atom
    if at_zero > value:
        t, value, variance = 0.0, at_zero, 0.25 * atom * (1 - atom)
    return Distance(value, 0.242 * RELATIVE_WIDTH, math.sqrt(variance / (nets or total)), t)


def _reduced(sketch: Sketch) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positive bins joined sixteen by sixteen at their mean: a second-order loss below 1e-6."""
    positive = sketch.keys > 0
    keys, counts, centres = sketch.keys[positive], sketch.counts[positive], sketch.centres()[positive]
    group, where = np.unique(keys >> 4, return_inverse=True)
    mass = np.zeros(len(group))
    mean = np.zeros(len(group))
    np.add.at(mass, where, counts)
    np.add.at(mean, where, counts * centres)
    return mean / np.maximum(mass, 1), mass / sketch.total


def _highest(
    grid: NDArray[np.float64],
    s: NDArray[np.float64],
    weight: NDArray[np.float64],
    atom: float,
    scale: float,
) -> float:
    gap = np.abs(_ndtr(grid[:, None] / s) @ weight + atom - _ndtr(grid / scale))
    return float(grid[int(gap.argmax())])


def _ndtr(x: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import ndtr

    return np.asarray(ndtr(x))
