"""Samples by units: how every measure of a representation sees a tensor."""

from __future__ import annotations

import torch
from torch import Tensor

from firstlight.errors import DomainError
from firstlight.measure._blocks import floating


def samples_by_units(x: Tensor, dim: int, doing: str) -> Tensor:
    """A float64 matrix with one row a sample (and place) and one column a unit.

    Raises
    ------
    DomainError
        If ``x`` is not real floating-point data, or has no axis ``dim``.
    """
    x = floating(x, doing)
    if x.ndim == 0 or not -x.ndim <= dim < x.ndim:
        raise DomainError(
            f"while {doing}: expected a tensor with an axis of units {dim}, got shape {tuple(x.shape)}; "
            "dim names the axis of units, 1 for the channels of a convolution"
        )
    moved = x.movedim(dim, -1)
    count = moved.shape[-1]
    return moved.reshape(moved.numel() // max(count, 1), count).cpu().double()


def finite(rows: Tensor) -> bool:
    """Whether there is an entry, and every entry is finite."""
    return rows.numel() > 0 and bool(torch.isfinite(rows).all())
