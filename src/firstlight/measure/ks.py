"""The exact Kolmogorov–Smirnov distance of a sample to the standard normal law."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firstlight.measure.blocks import floating


@lru_cache(maxsize=8)
def _steps(n: int) -> NDArray[np.float32]:
    """Midpoints (i − ½)/n of the steps of an empirical cdf of ``n`` entries."""
    steps = (np.arange(n, dtype=np.float64) + 0.5) / n
    return steps.astype(np.float32)


def ks_to_normal(x: Tensor) -> float:
    """Exact sup over t of |F̂(t) − Φ(t)|, F̂ the empirical cdf of all entries of ``x``.

    The supremum is attained at a jump of F̂, so one sort gives it; ties are allowed. Computed in float32,
    which leaves an error below 3e-7. Infinite entries count as mass at the ends; NaN where ``x`` is empty
    or has a NaN.

    Examples
    --------
    >>> import torch
    >>> from firstlight.measure import ks_to_normal
    >>> round(ks_to_normal(torch.zeros(10)), 6)
    0.5
    """
    x = floating(x, "measuring the distance to a normal law")
    if x.numel() == 0:
        return math.nan
    # numpy sorts float32 with vector instructions, about ten times as fast as torch.sort
    values = np.sort(x.float().cpu().numpy(), axis=None)
    if np.isnan(values[-1]):
        return math.nan
    gap = torch.special.ndtr(torch.from_numpy(values)).numpy()
    gap -= _steps(len(values))
    return float(max(gap.max(), -gap.min())) + 0.5 / len(values)
