"""Gains seed by seed: two groups of runs that share their seeds, with a t interval of the difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from firstlight.errors import DomainError


@dataclass(frozen=True)
class Gain:
    """A mean difference of pairs.

    Attributes
    ----------
    mean, error
        Mean of the differences and its standard error; NaN for one pair.
    low, high
        95 % interval by Student's t; infinite for one pair.
    """

    mean: float
    error: float
    low: float
    high: float


def paired_gain(ours: Sequence[float], theirs: Sequence[float], *, shared: float = 0.0) -> Gain:
    """Mean of ours − theirs, pair by pair, with its 95 % interval; pairs with a NaN are left out.

    Parameters
    ----------
    ours, theirs
        Numbers in the same order of seeds.
    shared
        Standard error that all pairs have in common, such as that of the test images; the spread over pairs does not
        show it, so its part is added in squares.

    Raises
    ------
    DomainError
        Groups of different sizes.

    Examples
    --------
    >>> from firstlight.experiments.gain import paired_gain
    >>> gain = paired_gain([0.42, 0.44, 0.43], [0.40, 0.41, 0.41])
    >>> round(gain.mean, 4), round(gain.low, 4), round(gain.high, 4)
    (0.0233, 0.009, 0.0377)
    """
    from scipy.special import ndtri, stdtrit

    if len(ours) != len(theirs):
        raise DomainError(
            f"while comparing pairs: expected as many numbers of one group as of the other, got {len(ours)} and "
            f"{len(theirs)}; pair them by their seeds"
        )
    gaps = np.array(ours, float) - np.array(theirs, float)
    gaps = gaps[np.isfinite(gaps)]
    if len(gaps) < 2:
        return Gain(float(gaps.mean()) if len(gaps) else math.nan, math.nan, -math.inf, math.inf)
    mean, error = float(gaps.mean()), float(gaps.std(ddof=1) / math.sqrt(len(gaps)))
    reach = math.hypot(float(stdtrit(len(gaps) - 1, 0.975)) * error, float(ndtri(0.975)) * shared)
    return Gain(mean, math.hypot(error, shared), mean - reach, mean + reach)
