"""Units that say nothing: dead, constant and saturated ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.measure._blocks import blocks, floating


def _checked(x: Tensor, dim: int, doing: str) -> Tensor:
    x = floating(x, doing)
    if x.ndim == 0 or not -x.ndim <= dim < x.ndim:
        raise DomainError(
            f"while {doing}: expected a tensor with a unit axis {dim}, got shape {tuple(x.shape)}"
        )
    return x


def _extremes(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    others = [d for d in range(x.ndim) if d != dim % x.ndim]
    if not others:
        return x, x
    if x.numel() == 0:
        return x.new_empty(0), x.new_empty(0)
    return x.amin(dim=others), x.amax(dim=others)


def _few_entries(x: Tensor, dim: int, count: int) -> Tensor:
    """A view of about ``count`` entries of every unit: of many samples first, then of places in the middle."""
    for axis in range(x.ndim):
        if axis != dim % x.ndim:
            take = min(x.shape[axis], count)
            x = x.narrow(axis, (x.shape[axis] - take) // 2, take)
            count = max(count // max(take, 1), 1)
    return x


@checked
@clean
def dead_units(x: Tensor, *, dim: int = -1, tolerance: float = 0.0) -> float:
    """Share of units whose entries are all zero, over every sample and position.

    Give it activations φ(z) for units that are silent, or slopes φ'(z) for units that no gradient passes.

    Parameters
    ----------
    x
        Any float tensor with one axis of units.
    dim
        The axis of units (1 for a convolution's channels).
    tolerance
        Entries up to this absolute size count as zero.

    Returns
    -------
    float
        Between 0 and 1; NaN where there is no entry. A unit with a NaN is not dead.

    Raises
    ------
    DomainError
        If ``x`` is not real floating-point data or has no such axis.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> measure.dead_units(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    0.5
    """
    low, high = _extremes(_checked(x, dim, "counting dead units"), dim)
    dead = (low >= -tolerance) & (high <= tolerance)
    return dead.float().mean().item()


@checked
@clean
def constant_units(x: Tensor, *, dim: int = -1) -> float:
    """Share of units with the same value, zero or not, on every sample and position.

    Parameters, result and errors as ``dead_units``.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> measure.constant_units(torch.tensor([[3.0, 1.0], [3.0, 0.0]]))
    0.5
    """
    x = _checked(x, dim, "counting constant units")
    if x.numel() == 0:
        return math.nan
    doubtful: Tensor | None = None
    for count in (16, 256):
        part = _few_entries(x, dim, count)
        if part.shape == x.shape:
            break
        low, high = _extremes(part if doubtful is None else part.index_select(dim, doubtful), dim)
        same = (low == high).nonzero()[:, 0]
        if len(same) == 0:
            return 0.0
        doubtful = same if doubtful is None else doubtful[same]
    # only units that a few entries leave in doubt are read in full
    low, high = _extremes(x if doubtful is None else x.index_select(dim, doubtful), dim)
    return (low == high).sum().item() / x.shape[dim]


@checked
@clean
def saturation(slope: Tensor, *, largest: float | None = None, fraction: float = 0.05) -> float:
    """Share of entries where an activation's slope is below a fraction of its largest slope.

    Parameters
    ----------
    slope
        φ'(z), any shape.
    largest
        sup |φ'|, for example 1 for tanh; the largest entry of ``slope`` if not given.
    fraction
        Entries with |φ'| < fraction · largest are saturated.

    Returns
    -------
    float
        Between 0 and 1, over the finite entries; NaN where there is none, 1 where every slope is zero.

    Raises
    ------
    DomainError
        If ``slope`` is not real floating-point data.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> measure.saturation(torch.tensor([1.0, 0.5, 0.01, 0.0]))
    0.5
    """
    slope = floating(slope, "measuring saturation")
    if largest is None:
        sizes = [block[torch.isfinite(block)].abs() for block in blocks(slope)]
        largest = max((size.amax().item() for size in sizes if size.numel()), default=math.nan)
    low = count = 0
    line = fraction * largest
    for block in blocks(slope):
        size = block.abs()
        low += int(((size < line) | (size == 0)).sum())
        count += int(torch.isfinite(block).sum())
    return low / count if count else math.nan
