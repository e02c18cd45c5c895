r"""Isometry gap of the features of every layer, at the price of a few determinants.

In a linear stack the features of a layer are :math:`X' = R^{-1} W X`, with R the row lengths, so determinants
multiply. With ``tr`` the squared length of all rows and d rows,

.. math:: φ(X') - φ(X) = \log\frac{\operatorname{tr}'}{\operatorname{tr}} + \frac2d \sum_j \log R_j
          - \log\frac{\lVert W\rVert_F^2}{d} + φ(W), \qquad φ(W) \ge 0.

All but φ(W) costs next to nothing. Between two layers whose gaps are computed outright, the sum of the φ(W) is
therefore known, and none of them is negative: if the sum is small, every gap between is known to that accuracy.
Where it is not, the interval is halved.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch

from firstlight.builders.linear_stack import Trace
from firstlight.doors import checked
from firstlight.measure.isometry import isometry_gap

_SPACING = 16  # layers between two gaps that are always computed outright
_RELATIVE, _ABSOLUTE = 1e-3, 1e-6  # by how much a gap in between may be wrong


@checked
def layer_gaps(trace: Trace, *, every: int = 1) -> list[float]:
    """Isometry gap of every so many layers' features (smaller Gram matrix).

    Parameters
    ----------
    trace
        What a forward pass left behind.
    every
        The distance between the layers that are kept.

    Returns
    -------
    list of float
        The gaps; right to 1e-3 of their value or 1e-6, whichever is more, and to the rounding of the features'
        type. Infinite where the features have lost rank at that rounding.
    """
    layers = list(range(0, len(trace.features), every))
    if not layers:
        return []
    shapes = {y.shape for y in trace.features}
    if len(shapes) > 1:  # widths that differ: a weight that is not square has no determinant
        return [gap for layer in layers for gap in _outright(trace, [layer])]
    rows, samples = trace.features[0].shape
    if not trace.lengths or rows > samples or every >= _SPACING or len(layers) == 1:
        return _outright(trace, layers)
    known = dict.fromkeys([*layers[:: max(_SPACING // every, 1)], layers[-1]], math.nan)
    known = dict(zip(known, _outright(trace, list(known)), strict=True))
    steps = _steps(trace)
    doubtful = _doubtful(known, steps, layers)
    while doubtful:
        known |= dict(zip(doubtful, _outright(trace, doubtful), strict=True))
        doubtful = _doubtful(known, steps, layers)
    return _between(known, steps, layers)


def _outright(trace: Trace, layers: list[int]) -> list[float]:
    """By factorisation, in chunks that stay in cache."""
    features = torch.stack([trace.features[layer] for layer in layers])
    # entries are known to the rounding of their own type, so that is where rank ends
    rounding = max(features.shape[1:]) * torch.finfo(features.dtype).eps
    gaps: list[float] = isometry_gap(features, method="fast", rtol=rounding).tolist()
    return gaps


def _steps(trace: Trace) -> list[float]:
    """Sum over the layers up to each of everything but φ(W); entry 0 is 0."""
    lengths = torch.stack(trace.lengths).squeeze(-1).double()
    rows = lengths.shape[1]
    # a row z of length r = √(z² + ε) was divided by r
    kept = (rows - trace.eps * lengths.square().reciprocal().sum(dim=1)).clamp(
        min=torch.finfo(torch.float64).tiny
    )
    sizes = torch.stack(torch._foreach_norm(trace.weights[1:])).double()
    change = kept.log().diff() + 2 * lengths[1:].log().mean(dim=1) - 2 * sizes.log() + math.log(rows)
    return [0.0, *change.cumsum(dim=0).tolist()]


def _intervals(known: dict[int, float]) -> list[tuple[int, int]]:
    return list(pairwise(sorted(known)))


def _doubtful(known: dict[int, float], steps: list[float], layers: list[int]) -> list[int]:
    """The layer in the middle of every interval that is not known well enough."""
    places = {layer: index for index, layer in enumerate(layers)}
    found = []
    for start, end in _intervals(known):
        low, high = known[start], known[end]
        if places[end] - places[start] < 2 or _same(low, high):
            continue
        weights_gap = high - low - (steps[end] - steps[start])
        if not abs(weights_gap) <= max(_RELATIVE * min(low, high), _ABSOLUTE):
            found.append(layers[(places[start] + places[end]) // 2])
    return found


def _same(low: float, high: float) -> bool:
    """Whether both ends have lost rank, or finiteness, and with them all between."""
    return low == high == math.inf or (math.isnan(low) and math.isnan(high))


def _between(known: dict[int, float], steps: list[float], layers: list[int]) -> list[float]:
    """All gaps: the known ones, and between them the steps, with what is left spread evenly."""
    gaps = dict(known)
    for start, end in _intervals(known):
        low, high = known[start], known[end]
        for layer in range(start + 1, end):
            if _same(low, high):
                gaps[layer] = low
                continue
            left = high - low - (steps[end] - steps[start])
            share = (layer - start) / (end - start)
            gaps[layer] = max(low + steps[layer] - steps[start] + share * left, 0.0)
    return [gaps[layer] for layer in layers]
