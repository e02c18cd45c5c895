"""Single entries of a representation: zeros, the part all share, and the ones that tower over the rest."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.measure._blocks import blocks, floating
from firstlight.measure.moments import moments


@clean
def zero_share(x: Tensor) -> float:
    """Share of entries that are exactly zero; NaN where there is no entry.

    Raises
    ------
    DomainError
        If ``x`` is not real floating-point data.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> measure.zero_share(torch.tensor([0.0, 1.0, -2.0, 0.0]))
    0.5
    """
    x = floating(x, "counting zeros")
    zeros = sum(int((block == 0).sum()) for block in blocks(x))
    return zeros / x.numel() if x.numel() else math.nan


@clean
def dc_share(x: Tensor) -> float:
    r"""The part of a signal's power that is its mean: (mean)²/(mean of squares), over all entries.

    1/π for rectified normal entries (``activations.moments(φ, q).dc_share`` is the theory), 0 for an odd φ. NaN for
    a zero tensor and where an entry is not finite.

    Raises
    ------
    DomainError
        If ``x`` is not real floating-point data.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> measure.dc_share(torch.tensor([1.0, 1.0, 1.0, -1.0]))
    0.25
    """
    found = moments(x)
    if found.nonfinite != 0 or not found.q > 0:
        return math.nan
    return min(found.mean * (found.mean / found.q), 1.0)


@clean
def top_over_median(x: Tensor) -> float:
    r"""Largest |entry| over the median |entry|: how far massive activations tower over the rest.

    Sun et al. (2024) call an entry massive where it exceeds 100 and about a thousand medians. For normal entries the
    ratio is near √(2 log n)/.6745. Infinite where more than half of the entries are zero; NaN for a zero tensor and
    where an entry is not finite.

    Raises
    ------
    DomainError
        If ``x`` is not real floating-point data.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> measure.top_over_median(torch.tensor([1.0, -2.0, 1.0, 500.0, 2.0]))
    250.0
    """
    size = floating(x, "comparing the largest entry with the median").reshape(-1).cpu().double().abs()
    if size.numel() == 0 or not bool(torch.isfinite(size).all()):
        return math.nan
    top, middle = float(size.max()), float(size.median())
    return top / middle if middle > 0 else math.nan if top == 0 else math.inf
