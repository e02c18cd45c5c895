"""Activation patterns: which units are on, how far samples differ in them, and how a path folds through them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.measure.representation._rows import finite, samples_by_units


@dataclass(frozen=True)
class ActivationPatterns:
    """Patterns of the units that are on (above 0), one for each sample.

    Attributes
    ----------
    distance
        Share of units in which two samples differ, mean over all pairs of samples; NaN with one sample.
    distinct
        Number of different patterns over the number of samples.
    """

    distance: float
    distinct: float


@clean
def activation_patterns(x: Tensor, *, dim: int = -1) -> ActivationPatterns:
    r"""How much samples differ in the units that are on.

    .. math:: \text{distance} = \frac{1}{n} \sum_u \frac{2 N}{N - 1}\, p_u (1 - p_u)

    with p_u the share of the N samples for which unit u is on. Two pre-activations with a normal law and
    correlation c differ in sign with probability arccos(c)/π.

    Parameters
    ----------
    x
        Pre-activations, or outputs of a rectifier: any float tensor with an axis of units.
    dim
        The axis of units.

    Raises
    ------
    DomainError
        If ``x`` is not real floating-point data or has no such axis.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> measure.activation_patterns(torch.tensor([[1.0, -1.0], [1.0, 1.0]]))
    ActivationPatterns(distance=0.5, distinct=1.0)
    """
    rows = samples_by_units(x, dim, "comparing activation patterns")
    if not finite(rows):
        return ActivationPatterns(math.nan, math.nan)
    on = rows > 0
    count = len(on)
    distinct = len(torch.unique(on, dim=0)) / count
    if count < 2:
        return ActivationPatterns(math.nan, distinct)
    share = on.double().mean(dim=0)
    return ActivationPatterns(float((share * (1 - share)).mean()) * 2 * count / (count - 1), distinct)


@clean
def space_folding(path: Tensor, *, dim: int = -1) -> float:
    r"""How much a layer folds a path: 0 if the pattern only moves away from its start, towards 1 if it comes back.

    .. math:: χ = 1 - \frac{\max_i d_H(π_0, π_i)}{\sum_i d_H(π_i, π_{i+1})}

    with π_i the pattern of units that are on at the i-th point of the path and d_H the Hamming distance.

    Parameters
    ----------
    path
        Pre-activations (or outputs of a rectifier) at the points of a path, in order: points × units. A straight
        line between two inputs x and y is ``torch.lerp(x, y, t[:, None])``.
    dim
        The axis of units.

    Returns
    -------
    float
        Between 0 and 1; 0 where no unit switches, NaN where an entry is not finite or there is no point.

    Raises
    ------
    DomainError
        If ``path`` is not real floating-point data or has no such axis.

    Notes
    -----
    The measure of space folding of Lewandowski et al. (2024). One layer never folds a straight line, since each unit
    switches at most once on it.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> t = torch.linspace(-1, 1, 101)[:, None]
    >>> once = t @ torch.tensor([[1.0, -1.0]]) + torch.tensor([0.505, 0.205])
    >>> again = once.relu() @ torch.tensor([[1.0], [1.0]]) - 0.75
    >>> measure.space_folding(once), measure.space_folding(again)
    (0.0, 0.5)
    """
    rows = samples_by_units(path, dim, "measuring how a path folds")
    if not finite(rows):
        return math.nan
    on = rows > 0
    steps = int((on[1:] != on[:-1]).sum())
    return 1 - int((on != on[:1]).sum(dim=1).max()) / steps if steps else 0.0
