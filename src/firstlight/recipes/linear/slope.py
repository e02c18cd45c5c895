"""The maximal slope of a network's correlation map over all its parts, from the graph of a trace."""

from __future__ import annotations

import math
from collections.abc import Sequence

from firstlight.errors import DomainError


def maximal_slope(kinds: Sequence[str], links: Sequence[Sequence[int]], slope: float) -> float:
    r"""The largest slope C'(1) over all subnetworks, where each activation's own map has this slope.

    A chain multiplies slopes; a sum whose parts have equal second moments, normalised to 1, takes their mean. A part is
    what lies between a row and a later one that depends on nothing else; branches of a sum are parts too.

    Parameters
    ----------
    kinds, links
        Kinds of the rows, and for every row the rows that it was computed from, as `firstlight.probe.structure` gives
        them.
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
    best = 0.0
    for start in range(len(kinds)):
        logs = {start: math.log(slope) if kinds[start] == "activation" else 0.0}
        best = max(best, logs[start])
        for row in range(start + 1, len(kinds)):
            parents = links[row]
            if not parents or any(p not in logs for p in parents):
                continue
            top = max(logs[p] for p in parents)
            mean = top + math.log(sum(math.exp(logs[p] - top) for p in parents) / len(parents))
            logs[row] = mean + (math.log(slope) if kinds[row] == "activation" else 0.0)
            best = max(best, logs[row])
    return math.exp(best)


def local_slope(kinds: Sequence[str], links: Sequence[Sequence[int]], target: float) -> float:
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
    return float(brentq(lambda s: maximal_slope(kinds, links, s) - target, 1.0, target, xtol=1e-14))
