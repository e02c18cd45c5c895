"""Gradient confusion: how far the gradients of two samples pull against each other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.measure.representation._rows import finite, samples_by_units


@dataclass(frozen=True)
class GradientConfusion:
    """The worst pair of samples.

    Attributes
    ----------
    bound
        The least η ≥ 0 with ⟨g_i, g_j⟩ ≥ −η for every pair of samples.
    cosine
        The smallest cosine of two gradients.
    """

    bound: float
    cosine: float


@clean
def gradient_confusion(gradients: Tensor, *, dim: int = -1) -> GradientConfusion:
    r"""How far the gradients of two samples pull against each other: η = max(0, −min_{i≠j} ⟨g_i, g_j⟩).

    Parameters
    ----------
    gradients
        One gradient of a sample's (or batch's) loss in each row: samples × parameters.
    dim
        The axis of parameters.

    Returns
    -------
    GradientConfusion
        NaN with fewer than two samples or where an entry is not finite.

    Raises
    ------
    DomainError
        If ``gradients`` is not real floating-point data or has no such axis.

    Notes
    -----
    Sankararaman et al. (2020), *The impact of neural network overparameterization on gradient confusion and stochastic
    gradient descent*, definition 2.1.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> measure.gradient_confusion(torch.tensor([[1.0, 0.0], [-2.0, 0.0], [0.0, 1.0]]))
    GradientConfusion(bound=2.0, cosine=-1.0)
    """
    rows = samples_by_units(gradients, dim, "measuring gradient confusion")
    if not finite(rows) or len(rows) < 2:
        return GradientConfusion(math.nan, math.nan)
    apart = ~torch.eye(len(rows), dtype=torch.bool)
    inner = rows @ rows.T
    size = rows.norm(dim=1).clamp_min(1e-300)
    cosine = (rows / size[:, None]) @ (rows / size[:, None]).T
    return GradientConfusion(max(-float(inner[apart].min()), 0.0), max(float(cosine[apart].min()), -1.0))
