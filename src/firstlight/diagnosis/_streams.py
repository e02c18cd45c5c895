"""Streams: residual sums in chains, each of which reads the one before it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def chains(
    sums: Sequence[int], links: Sequence[Sequence[int]], kinds: Sequence[str]
) -> tuple[np.ndarray, ...]:
    """Residual sums in chains: each sum of a chain has the one before it as its stream, normalised at most.

    Parameters
    ----------
    sums
        Rows of residual sums, in order.
    links
        For every row the rows that it reads, a sum's stream first.
    kinds
        The kind of every row.

    Examples
    --------
    >>> kinds = ["input", "residual", "norm", "residual"]
    >>> [chain.tolist() for chain in chains([1, 3], [(), (0,), (1,), (2,)], kinds)]
    [[1, 3]]
    """
    found: dict[int, list[int]] = {}
    for row in sums:
        before = _stream_before(row, links, kinds)
        chain = found.pop(before, []) if before is not None else []
        found[row] = [*chain, row]
    return tuple(np.array(chain) for chain in found.values())


def widths(
    units: np.ndarray, fan_in: np.ndarray, links: Sequence[Sequence[int]], kinds: Sequence[str]
) -> np.ndarray:
    """Directions that each row's units can have at most: its units, its fan-in, and the width of what it reads.

    Examples
    --------
    >>> two = np.array([2.0, 8.0])
    >>> widths(two, np.array([4.0, 2.0]), [(), (0,)], ["weight", "weight"]).tolist()
    [2.0, 2.0]
    """
    found = np.where(np.isfinite(units), units, math.inf)
    for row, kind in enumerate(kinds):
        if kind == "weight" and fan_in[row] >= 1:
            found[row] = min(found[row], fan_in[row])
        sources = [s for s in (links[row] if links else ()) if kinds[s] != "input"]
        if sources and kind in ("weight", "norm", "activation", "affine"):
            found[row] = min(found[row], sum(found[s] for s in sources))
    return found


def _stream_before(row: int, links: Sequence[Sequence[int]], kinds: Sequence[str]) -> int | None:
    """The residual sum that a sum's stream comes from with no layer in between."""
    while links and links[row]:
        row = links[row][0]
        if kinds[row] == "residual":
            return row
        if kinds[row] not in ("norm", "activation", "affine"):
            return None
    return None
