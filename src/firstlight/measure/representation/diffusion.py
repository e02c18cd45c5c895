"""Diffusion spectral entropy: how many clusters a random walk sees among the samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.measure.representation._rows import finite, samples_by_units


@clean
def diffusion_spectral_entropy(
    x: Tensor, *, dim: int = -1, sigma: float = 10.0, steps: float = 1.0, trivial: bool = True
) -> float:
    r"""Entropy in bits of the spectrum of a diffusion over the samples.

    .. math::
        K = D^{-1/2} G D^{-1/2}, \quad G_{ij} = e^{-\|h_i - h_j\|^2 / 2σ^2}, \quad D = \mathrm{diag}\, G 1, \qquad
        -\sum_i p_i \log_2 p_i, \quad p_i = |λ_i(K)|^t / \sum_j |λ_j(K)|^t

    Parameters
    ----------
    x
        Any float tensor with an axis of units; every other axis counts samples. The matrix K has samples² entries.
    dim
        The axis of units.
    sigma
        Width of the kernel, in the units of ``x``; the authors take 10.
    steps
        Steps t of the walk.
    trivial
        Whether the largest eigenvalue, which is 1 for every K, counts. One version of the authors' code drops it.

    Returns
    -------
    float
        Between 0 (samples that the kernel does not distinguish) and log₂ samples (samples far apart); NaN where an
        entry is not finite or no eigenvalue is left.

    Raises
    ------
    DomainError
        If ``x`` is not real floating-point data or has no such axis, or ``sigma`` or ``steps`` is not positive.

    Notes
    -----
    Liao et al. (2024), *Assessing neural network representations during training using noise-resilient diffusion
    spectral entropy*; the formula was read in the authors' code.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> measure.diffusion_spectral_entropy(1e4 * torch.eye(8)), measure.diffusion_spectral_entropy(torch.ones(8, 3))
    (3.0, 0.0)
    """
    doing = "measuring the diffusion spectral entropy of a representation"
    if not (sigma > 0 and steps > 0):
        raise DomainError(f"while {doing}: expected sigma > 0 and steps > 0, got {sigma} and {steps}")
    rows = samples_by_units(x, dim, doing)
    if not finite(rows):
        return math.nan
    # differences, not a product of the rows, so that samples that agree have distance 0 to the last digit
    distance = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    kernel = torch.exp(-0.5 * (distance / sigma).square())
    degree = kernel.sum(dim=1).rsqrt()
    values = torch.linalg.eigvalsh(degree[:, None] * kernel * degree).abs()
    # what is left of a zero eigenvalue by rounding is zero
    values = torch.where(values > 1e-14 * len(rows), values, 0.0).sort(descending=True).values
    values = (values if trivial else values[1:]).pow(steps)
    total = float(values.sum())
    if not total > 0:
        return 0.0 if len(values) else math.nan
    return max(float(torch.special.entr(values / total).sum()) / math.log(2), 0.0)
