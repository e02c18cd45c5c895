"""Mutual information of a layer with its inputs and with labels, by estimators that adapt to the layer's scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.measure.representation._rows import finite, samples_by_units

Estimator = Literal["bins", "kernel"]
_DOING = "estimating mutual information"


@dataclass(frozen=True)
class Information:
    """What a layer T tells of the inputs X and of the labels Y, in bits.

    Attributes
    ----------
    inputs
        I(X; T).
    labels
        I(T; Y); NaN without labels.
    """

    inputs: float
    labels: float


@clean
def mutual_information(
    x: Tensor,
    labels: Tensor | None = None,
    *,
    dim: int = -1,
    estimator: Estimator = "bins",
    bins: int = 30,
    noise: float = 1e-3,
) -> Information:
    r"""I(X; T) and I(T; Y) of a layer by estimators that adapt to the range of its entries.

    A layer is a function of its input, so I(X; T) needs a resolution. ``"bins"`` cuts the *different* values of the
    layer into bins of equal count and takes the entropy of the binned rows. ``"kernel"`` adds normal noise of
    deviation s = ``noise`` · max|T| and takes the bound

    .. math:: I(X; T) \le -\frac1N \sum_i \log_2 \frac1N \sum_j e^{-\|t_i - t_j\|^2 / 2 s^2}

    I(T; Y) is the same number less its mean over the classes. Both are limited by log₂ samples, which they reach for
    nearly every layer of some width: few units, or many samples, are needed to see compression.

    Parameters
    ----------
    x
        Any float tensor with an axis of units; every other axis counts samples.
    labels
        One integer class for each sample, or None.
    dim
        The axis of units.
    estimator
        ``"bins"`` or ``"kernel"``.
    bins
        Number of bins, at least 2.
    noise
        Deviation of the noise over the largest |entry|, > 0. In this form the estimate does not depend on the
        scale of the layer.

    Raises
    ------
    DomainError
        Data that is no float tensor with such an axis, labels that do not fit, or an option outside its domain.

    Notes
    -----
    Chelombiev, Houghton and O'Donnell (2019), *Adaptive estimators show information compression in deep neural
    networks*: bins of equal count and a noise that follows the layer's largest entry are the two ideas of the paper, of
    whose text the abstract and accounts of others were seen here; the bound is Kolchinsky and Tracey's (2017).

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> t = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    >>> measure.mutual_information(t, torch.tensor([0, 0, 1, 1]), bins=2)
    Information(inputs=1.0, labels=1.0)
    """
    if estimator not in get_args(Estimator):
        raise DomainError(f"while {_DOING}: expected the estimator 'bins' or 'kernel', got {estimator!r}")
    if bins < 2 or not noise > 0:
        raise DomainError(f"while {_DOING}: expected bins ≥ 2 and noise > 0, got {bins} and {noise}")
    rows = samples_by_units(x, dim, _DOING)
    if labels is not None and labels.shape != (len(rows),):
        raise DomainError(
            f"while {_DOING}: expected one label for each of {len(rows)} samples, got shape {tuple(labels.shape)}"
        )
    if not finite(rows):
        return Information(math.nan, math.nan)
    if estimator == "bins":
        seen = _binned(rows, bins)
        count = _row_entropy
    else:
        scale = max(float(rows.abs().max()), 1e-300) * noise
        seen, count = rows / scale, _kernel_entropy
    total = count(seen)
    if labels is None:
        return Information(total, math.nan)
    classes = labels.cpu()
    within = 0.0
    for label in torch.unique(classes):
        own = classes == label
        within += float(own.double().mean()) * count(seen[own])
    return Information(total, max(total - within, 0.0))


def _binned(rows: Tensor, bins: int) -> Tensor:
    """Rows of bin numbers: the different values of the layer, in order, are cut into bins of equal count."""
    values, inverse = torch.unique(rows, return_inverse=True)
    return torch.div(inverse * bins, max(len(values), 1), rounding_mode="floor")


def _row_entropy(rows: Tensor) -> float:
    counts = torch.unique(rows, dim=0, return_counts=True)[1].double()
    return max(float(torch.special.entr(counts / counts.sum()).sum()) / math.log(2), 0.0)


def _kernel_entropy(rows: Tensor) -> float:
    distance = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").square()
    logs = torch.logsumexp(-0.5 * distance, dim=1) - math.log(len(rows))
    return max(-float(logs.mean()) / math.log(2), 0.0)
