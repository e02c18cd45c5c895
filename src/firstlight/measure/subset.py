"""Evenly spread subsets of samples and units, and the part of a matrix that is finite."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.measure._blocks import floating
from firstlight.measure.ks import sorted_entries


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
    norms = torch.linalg.vector_norm(z, dim=1, keepdim=True)
    low, high = torch.stack(torch.aminmax(norms)).tolist()
    if low > 1e-15 and high < 1e15:
        return z * (math.sqrt(z.shape[1]) / norms)
    largest = z.abs().amax(dim=1, keepdim=True)
    if not math.isfinite(largest.amax().item()):
        return unit_rows(finite_part(z))
    keep = largest[:, 0] > 0
    z = z[keep] / largest[keep]
    return z.div_(z.square().mean(dim=1, keepdim=True).sqrt_())


@dataclass(frozen=True)
class StandardRows:
    """Rows of one layer made ready once for several measures.

    Attributes
    ----------
    values
        The rows and columns that were picked, as they were found, float32 or float64.
    unit
        Those that are finite and not zero, each divided by its root mean square.
    cosine
        The matrix of their cosines, on the CPU, ones on its diagonal.
    """

    values: Float[Tensor, "samples units"]
    unit: Float[Tensor, "some_samples some_units"]
    cosine: Float[Tensor, "some_samples some_samples"]

    def thinned(self, step: int) -> StandardRows:
        """Every ``step``-th unit only, with the cosines of all."""
        return StandardRows(self.values[:, ::step], self.unit[:, ::step], self.cosine)


@checked
@clean
def standardise(
    z: Float[Tensor, "samples units"], *, max_samples: int = 64, max_units: int = 256
) -> StandardRows:
    """Evenly spread rows and columns of a layer, standardised, with their cosines.

    Give the result to ``gaussianity`` and ``sample_correlation`` where both are wanted of the same entries.

    Raises
    ------
    DomainError
        If ``z`` is not a matrix of real floating-point data.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> rows = measure.standardise(torch.randn(100, 50))
    >>> measure.gaussianity(rows).samples, measure.sample_correlation(rows).samples
    (64, 64)
    """
    z = subset(matrix(z, "standardising rows"), max_samples, max_units)
    z = z if z.dtype == torch.float64 else z.float()
    unit = unit_rows(z)
    cosine = (unit @ unit.T).cpu().div_(max(unit.shape[1], 1)).clamp_(-1.0, 1.0).fill_diagonal_(1.0)
    return StandardRows(z, unit, cosine)


@dataclass(frozen=True)
class LayerStack:
    """``StandardRows`` of many layers of one shape, whose rows are all finite and not zero.

    Attributes
    ----------
    values, unit, cosine
        As in ``StandardRows``, with a leading axis of layers.
    """

    values: Float[Tensor, "layers samples units"]
    unit: Float[Tensor, "layers samples units"]
    cosine: Float[Tensor, "layers samples samples"]

    def thinned(self, step: int) -> LayerStack:
        """Every ``step``-th unit only, with the cosines of all."""
        return LayerStack(self.values[:, :, ::step], self.unit[:, :, ::step], self.cosine)

    @cached_property
    @clean
    def sorted_values(self) -> Float[np.ndarray, "layers entries"]:
        """All entries of each layer in increasing order, float32."""
        return sorted_entries(self.values)


@checked
@clean
def stackable(rows: Float[Tensor, "layers samples units"]) -> list[bool]:
    """For each layer, whether all its rows are finite and of a size whose square float32 holds.

    Raises
    ------
    DomainError
        Something else than a stack of real floating-point matrices.
    """
    rows = _stack(rows)
    if rows.numel() == 0:
        return [False] * len(rows)
    norms = torch.linalg.vector_norm(rows, dim=2)
    return ((norms > 1e-15) & (norms < 1e15)).all(dim=1).tolist()


@checked
@clean
def stack_layers(rows: Float[Tensor, "layers samples units"]) -> LayerStack:
    """Standardise layers of one shape together: what ``standardise`` makes of each, without its subsetting.

    Every layer must be ``stackable``.

    Raises
    ------
    DomainError
        Something else than a stack of real floating-point matrices.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> stack = measure.stack_layers(torch.randn(10, 64, 256))
    >>> stack.cosine.shape
    torch.Size([10, 64, 64])
    """
    rows = _stack(rows)
    norms = torch.linalg.vector_norm(rows, dim=2, keepdim=True)
    unit = rows * (math.sqrt(rows.shape[2]) / norms)
    cosine = torch.bmm(unit, unit.mT).cpu().div_(max(rows.shape[2], 1)).clamp_(-1.0, 1.0)
    cosine.diagonal(dim1=1, dim2=2).fill_(1.0)
    return LayerStack(rows, unit, cosine)


def _stack(rows: Tensor) -> Tensor:
    rows = floating(rows, "standardising layers together")
    if rows.dim() != 3:
        raise DomainError(
            f"while standardising layers together: expected layers × samples × units, got shape {tuple(rows.shape)}; "
            "stack matrices of one shape with torch.stack"
        )
    return rows
