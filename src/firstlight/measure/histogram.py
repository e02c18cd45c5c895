"""The law of a tensor's entries, small enough to draw: mergeable histograms and quantiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.measure._blocks import floating, strided_sample

_MAX_ENTRIES = 16_384


@dataclass(frozen=True)
class Histogram:
    """Counts of entries in equal bins from ``low`` to ``high``; what fell outside is counted apart.

    Attributes
    ----------
    low, high
        The outer edges. The last bin includes ``high``.
    counts
        Entries in each bin.
    below, above
        Entries under ``low`` and over ``high``, infinities included.
    nan
        Entries that are NaN.
    """

    low: float
    high: float
    counts: tuple[int, ...]
    below: int = 0
    above: int = 0
    nan: int = 0

    @property
    def total(self) -> int:
        """All entries that were counted anywhere."""
        return sum(self.counts) + self.below + self.above + self.nan

    @property
    def edges(self) -> tuple[float, ...]:
        """The ``len(counts) + 1`` edges of the bins."""
        n = len(self.counts)
        return tuple(self.low + (self.high - self.low) * (i / n) for i in range(n + 1))

    def merge(self, other: Histogram) -> Histogram:
        """The counts of both; their bins must be the same.

        Raises
        ------
        DomainError
            If the bins differ.
        """
        mine, theirs = (self.low, self.high, len(self.counts)), (other.low, other.high, len(other.counts))
        if mine != theirs:
            raise DomainError(
                f"while merging histograms: expected equal (low, high, bins), got {mine} and {theirs}; "
                "give both the same low and high"
            )
        counts = tuple(a + b for a, b in zip(self.counts, other.counts))
        return Histogram(
            self.low,
            self.high,
            counts,
            self.below + other.below,
            self.above + other.above,
            self.nan + other.nan,
        )


@checked
@clean
def histogram(
    x: Tensor,
    bins: int = 48,
    *,
    low: float | None = None,
    high: float | None = None,
    max_entries: int | None = _MAX_ENTRIES,
) -> Histogram:
    """Histogram of the entries of a tensor, or of an evenly strided part of them.

    Parameters
    ----------
    x
        Any float tensor.
    bins
        Number of equal bins.
    low, high
        Outer edges; by default the least and largest finite entry read.
    max_entries
        About how many entries are read; None for all of them.

    Raises
    ------
    DomainError
        If ``x`` is not real floating-point data, or not low ≤ high, or bins < 1.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> measure.histogram(torch.tensor([0.0, 1.0, 2.0, 9.0]), 2, low=0.0, high=2.0).counts
    (1, 2)
    """
    x = floating(x, "making a histogram")
    values = (strided_sample(x, max_entries) if max_entries else x.reshape(-1)).cpu().double()
    finite = values[torch.isfinite(values)]
    if low is None:
        low = finite.min().item() if finite.numel() else 0.0
    if high is None:
        high = finite.max().item() if finite.numel() else max(low, 0.0)
    if bins < 1 or not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise DomainError(
            f"while making a histogram: expected bins ≥ 1 and finite low ≤ high, got {bins=}, {low=}, {high=}"
        )
    inside = finite[(finite >= low) & (finite <= high)]
    if high > low:
        # In units of the larger edge, so that a range from −1e308 to 1e308 has a finite width.
        unit = max(abs(low), abs(high))
        place = (inside / unit - low / unit) / (high / unit - low / unit) * bins
    else:
        place = torch.zeros_like(inside)
    counts = torch.bincount(place.long().clamp_(0, bins - 1), minlength=bins)
    nan = int(torch.isnan(values).sum())
    below, above = int((values < low).sum()), int((values > high).sum())
    return Histogram(float(low), float(high), tuple(counts.tolist()), below, above, nan)


@checked
@clean
def quantiles(
    x: Tensor, levels: Sequence[float], *, max_entries: int | None = _MAX_ENTRIES
) -> tuple[float, ...]:
    """Quantiles of the finite entries of a tensor, or of an evenly strided part of them.

    Linear interpolation between order statistics (definition 7 of Hyndman and Fan, 1996).

    Parameters
    ----------
    x
        Any float tensor.
    levels
        Probabilities in [0, 1].
    max_entries
        About how many entries are read; None for all of them.

    Returns
    -------
    tuple of float
        One per level; NaN where no entry is finite.

    Raises
    ------
    DomainError
        If ``x`` is not real floating-point data or a level is outside [0, 1].

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> measure.quantiles(torch.tensor([4.0, 1.0, 2.0]), [0.0, 0.5, 0.75])
    (1.0, 2.0, 3.0)
    """
    x = floating(x, "measuring quantiles")
    if not all(0.0 <= level <= 1.0 for level in levels):
        raise DomainError(f"while measuring quantiles: expected levels in [0, 1], got {list(levels)}")
    import numpy as np

    values = (strided_sample(x, max_entries) if max_entries else x.reshape(-1)).cpu()
    values = values if values.dtype == torch.float64 else values.float()
    finite = np.sort(values[torch.isfinite(values)].numpy())
    if len(finite) == 0:
        return tuple(math.nan for _ in levels)
    place = np.asarray(levels, dtype=np.float64) * (len(finite) - 1)
    lower = np.floor(place).astype(int)
    upper = np.minimum(lower + 1, len(finite) - 1)
    weight = place - lower
    result = (1 - weight) * finite[lower].astype(np.float64) + weight * finite[upper].astype(np.float64)
    return tuple(float(value) for value in result)
