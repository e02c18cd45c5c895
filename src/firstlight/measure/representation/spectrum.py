"""How many directions a representation uses: its ε-rank, and the von Neumann entropy of its directions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.measure.representation._rows import finite, samples_by_units


@clean
def epsilon_rank(x: Tensor, *, epsilon: float = 0.01, dim: int = -1) -> float:
    r"""Number of singular values of samples × units above ``epsilon`` times the largest.

    .. math:: \#\{i : σ_i > ε\, σ_1\}

    Parameters
    ----------
    x
        Any float tensor with an axis of units; every other axis counts samples.
    epsilon
        The share of the largest singular value, in [0, 1).
    dim
        The axis of units.

    Returns
    -------
    float
        Between 1 and min(samples, units); 0 for a zero tensor, NaN where an entry is not finite or there is none.

    Raises
    ------
    DomainError
        If ``x`` is not real floating-point data or has no such axis, or ``epsilon`` is not in [0, 1).

    Notes
    -----
    A paper on the layerwise effective dimension of ReLU networks claims an expected rank of m[1 − (1 − 2/π)^ℓ] at
    layer ℓ for m samples. This rank would *grow* with depth. No rank that we measured grows. For 50 samples in width
    100 the numerical rank is 50 at every depth, and the ε-rank and the entropy rank *fall* (the guide on
    representations has the numbers). So the library measures ranks, and offers no such formula.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> measure.epsilon_rank(torch.diag(torch.tensor([1.0, 0.5, 0.001])))
    2.0
    """
    doing = "measuring the ε-rank of a representation"
    if not 0 <= epsilon < 1:
        raise DomainError(
            f"while {doing}: expected epsilon in [0, 1), got {epsilon}; it is a share of the largest"
        )
    rows = samples_by_units(x, dim, doing)
    if not finite(rows):
        return math.nan
    largest = rows.abs().amax()
    if largest == 0:
        return 0.0
    values = torch.linalg.svdvals(rows / largest)
    return float((values > epsilon * values[0]).sum())


@clean
def von_neumann_entropy(x: Tensor, *, dim: int = -1) -> float:
    r"""Entropy of the spectrum of the samples' autocorrelation, in nats: how evenly their directions are spread.

    .. math:: S(C) = -\sum_j λ_j \log λ_j, \qquad C = \frac1N \sum_i \frac{h_i h_i^\top}{\|h_i\|^2}

    Parameters
    ----------
    x
        Any float tensor with an axis of units; every other axis counts samples.
    dim
        The axis of units.

    Returns
    -------
    float
        Between 0 (all samples on one line) and log min(samples, units); rows of zeros have no direction and are
        left out. NaN where an entry is not finite or no row is left.

    Raises
    ------
    DomainError
        If ``x`` is not real floating-point data or has no such axis.

    Notes
    -----
    Kim et al. (2023), *VNE: an effective method for improving deep representation by manipulating eigenvalue
    distribution*. Its exponential is ``measure.effective_rank`` of the normalised rows.

    Examples
    --------
    >>> import math, torch
    >>> from firstlight import measure
    >>> round(measure.von_neumann_entropy(torch.eye(4)) - math.log(4), 12)
    0.0
    """
    rows = samples_by_units(x, dim, "measuring the von Neumann entropy of a representation")
    if not finite(rows):
        return math.nan
    rows = rows / rows.abs().amax(dim=1, keepdim=True).clamp_min(1e-300)
    rows = rows[rows.any(dim=1)]
    if len(rows) == 0:
        return math.nan
    rows = rows / rows.norm(dim=1, keepdim=True)
    gram = rows @ rows.T if rows.shape[0] <= rows.shape[1] else rows.T @ rows
    values = torch.linalg.eigvalsh(gram / len(rows)).clamp_min(0.0)
    return max(float(torch.special.entr(values).sum()), 0.0)
