"""Evenly spread subsets of samples and units, and the part of a matrix that is finite."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.errors import DomainError
from firstlight.measure.blocks import floating


def matrix(z: Tensor, doing: str) -> Tensor:
    """``z`` without its history, after a check that it is a matrix (samples, units) of real numbers."""
    z = floating(z, doing)
    if z.ndim != 2:
        raise DomainError(
            f"while {doing}: expected a matrix (samples, units), got shape {tuple(z.shape)}; "
            "flatten what follows the samples, or make positions samples"
        )
    return z


def _spread(size: int, count: int, z: Tensor) -> Tensor:
    return torch.linspace(0, size - 1, count, dtype=torch.float32).round().long().to(z.device)


def subset(
    z: Float[Tensor, "samples units"], max_samples: int, max_units: int
) -> Float[Tensor, "some_samples some_units"]:
    """At most so many evenly spread rows and columns; ``z`` itself where it is small enough."""
    rows, units = z.shape
    if rows > max_samples and units > max_units:
        return z[_spread(rows, max_samples, z)[:, None], _spread(units, max_units, z)]
    if rows > max_samples:
        return z[_spread(rows, max_samples, z)]
    return z[:, _spread(units, max_units, z)] if units > max_units else z


def finite_part(z: Float[Tensor, "samples units"]) -> Float[Tensor, "some_samples some_units"]:
    """``z`` without the rows, or else the columns, that hold a NaN or an infinity: whichever keeps more."""
    finite = torch.isfinite(z)
    rows, columns = finite.all(dim=1), finite.all(dim=0)
    keeps_by_row = int(rows.sum()) * z.shape[1]
    return z[rows] if keeps_by_row >= int(columns.sum()) * z.shape[0] else z[:, columns]


def unit_rows(z: Float[Tensor, "samples units"]) -> Float[Tensor, "some_samples some_units"]:
    """The finite, non-zero rows of ``z``, each divided by its root mean square; no size overflows."""
    if z.numel() == 0:
        return z[:0]
    largest = z.abs().amax(dim=1, keepdim=True)
    extremes = torch.stack([largest.amax(), largest.amin()]).tolist()
    if not extremes[0] < float("inf"):
        z = finite_part(z)
        return unit_rows(z)
    if extremes[1] == 0.0:
        keep = largest[:, 0] > 0
        z, largest = z[keep], largest[keep]
    z = z / largest
    return z.div_(z.square().mean(dim=1, keepdim=True).sqrt_())
