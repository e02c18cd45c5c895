"""Places: which rows of a tensor of many axes are read, spread so that no border and no axis is preferred."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from firstlight.clean_room import clean


@lru_cache(maxsize=64)
@clean
def places(lead: tuple[int, ...], count: int, device: torch.device) -> tuple[Tensor, ...]:
    """Indices of ``count`` rows spread over the leading axes of a tensor."""
    total = math.prod(lead)
    step = total // count
    # an offset that changes with k keeps convolution rows off the image border
    index = np.array([k * total // count + (k * 2654435761 % step) for k in range(count)])
    return tuple(torch.from_numpy(p).to(device) for p in np.unravel_index(index, lead))


def stride(least: int, sizes: Iterable[int]) -> int:
    """The smallest step from ``least`` on that shares no factor with an axis, so that no axis is read in one place.

    Examples
    --------
    >>> stride(8, (64, 8, 8)), stride(6, (5, 7))
    (9, 6)
    """
    axes = [size for size in sizes if size > 1]
    step = max(least, 1)
    while any(math.gcd(step, size) > 1 for size in axes):
        step += 1
    return step
