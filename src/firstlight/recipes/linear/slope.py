"""Maxima of a network's correlation map over all its parts, from the graph of a trace: of its slope, bend and value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from firstlight.errors import DomainError

Shares = Mapping[int, Sequence[float]]
_LARGEST = 1e300  # an overflow is no number to bisect with


def subnet_maximum(
    kinds: Sequence[str],
    links: Sequence[Sequence[int]],
    start: float,
    activation: Callable[[float], float],
    *,
    shares: Shares | None = None,
) -> float:
    r"""The largest value behind any part of a network that ``start`` enters, where a function maps it at activations.

    .. math:: M_{f,r}(x) = \max_{g \subseteq f} \text{value of } g \text{ with } φ \to r, \qquad
              \text{sums: } \textstyle\sum_i w_i v_i,\; \sum_i w_i = 1

    A part is what lies between a row and a later one that depends on nothing else; branches of a sum are parts too.

    Parameters
    ----------
    kinds, links
        Kinds of the rows, and for every row the rows that it was computed from, as `firstlight.probe.structure` gives
        them.
    start
        x.
    activation
        r.
    shares
        For sums the shares of their parts in the second moment, in the order of the links; equal shares if absent.

    Notes
    -----
    Zhang, Botev and Martens (2022), appendix B.

    Examples
    --------
    >>> from firstlight.recipes import subnet_maximum
    >>> kinds, links = ["input", "activation", "residual", "activation"], [(), (0,), (0, 1), (2,)]
    >>> subnet_maximum(kinds, links, 1.0, lambda s: 2 * s, shares={2: (0.75, 0.25)})
    2.5
    """
    best = start
    for first in range(len(kinds)):
        values = {first: activation(start) if kinds[first] == "activation" else start}
        best = max(best, values[first])
        for row in range(first + 1, len(kinds)):
            parents = links[row]
            if not parents or any(p not in values for p in parents):
                continue
            parts = (shares or {}).get(row) or [1.0 / len(parents)] * len(parents)
            value = sum(share * values[p] for share, p in zip(parts, parents, strict=True))
            values[row] = min(activation(value), _LARGEST) if kinds[row] == "activation" else value
            best = max(best, values[row])
    return best


def maximal_slope(
    kinds: Sequence[str], links: Sequence[Sequence[int]], slope: float, *, shares: Shares | None = None
) -> float:
    r"""The largest slope C'(1) over all subnetworks, where each activation's own map has this slope.

    A chain multiplies slopes; a sum takes their mean, weighted by its parts' shares in the second moment.

    Parameters
    ----------
    kinds, links, shares
        As for `subnet_maximum`.
    slope
        C'(1) of each activation, ≥ 0.

    Examples
    --------
    >>> from firstlight.recipes import maximal_slope
    >>> maximal_slope(["input", "weight", "activation", "weight", "activation"], [(), (0,), (1,), (2,), (3,)], 1.5)
    2.25
    >>> maximal_slope(["input", "activation", "residual"], [(), (0,), (0, 1)], 1.5)
    1.5
    """
    return subnet_maximum(kinds, links, 1.0, lambda s: slope * s, shares=shares)


def maximal_bends(
    kinds: Sequence[str], links: Sequence[Sequence[int]], *, shares: Shares | None = None
) -> float:
    """The largest C''(1) over all subnetworks, in units of one activation's, where every C'(1) is 1.

    A chain adds second derivatives, so that a chain of L activations gives L.

    Examples
    --------
    >>> from firstlight.recipes import maximal_bends
    >>> maximal_bends(["input", "activation", "residual", "activation"], [(), (0,), (0, 1), (2,)])
    1.5
    """
    return subnet_maximum(kinds, links, 0.0, lambda bend: bend + 1.0, shares=shares)


def local_slope(
    kinds: Sequence[str], links: Sequence[Sequence[int]], target: float, *, shares: Shares | None = None
) -> float:
    """The slope of each activation at which the maximal slope of the network is the target.

    Raises
    ------
    DomainError
        A target ≤ 1, or a network without activations.

    Examples
    --------
    >>> from firstlight.recipes import local_slope
    >>> round(local_slope(["input", "activation", "activation"], [(), (0,), (1,)], 1.5), 6)
    1.224745
    """
    from scipy.optimize import brentq

    if not target > 1.0 or "activation" not in kinds:
        raise DomainError(
            f"while looking for the slope of an activation: expected a target > 1 and a network with activations, got "
            f"{target} and {kinds.count('activation')} activations"
        )
    at = math.log(target)

    def over(log: float) -> float:
        return math.log(maximal_slope(kinds, links, math.exp(log), shares=shares)) - at

    return math.exp(float(brentq(over, 0.0, at, xtol=1e-15)))
