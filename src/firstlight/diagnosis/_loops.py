"""Loops through time: layers that are called again on what they gave, while something new comes in at each call."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise

import numpy as np

# Calls from which a layer that reads its own earlier output is a step of a loop.
STEPS = 3


def calls_of(names: Sequence[str], rows: Sequence[int]) -> dict[str, list[int]]:
    """The rows of every layer by its name, in the order of the calls.

    Examples
    --------
    >>> calls_of(["x", "h", "h#2", "out"], [1, 2, 3])
    {'h': [1, 2], 'out': [3]}
    """
    found: dict[str, list[int]] = {}
    for row in rows:
        found.setdefault(names[row].partition("#")[0], []).append(row)
    return found


def through_time(
    calls: Sequence[int],
    links: Sequence[Sequence[int]],
    feeds: Sequence[Sequence[int]],
    quiet: Collection[int] = (),
    cells: Collection[int] = (),
) -> bool:
    """Whether the calls of one layer are steps in time, and not a depth whose blocks share their weights.

    A step in time reads what the step before gave, and beside it something that no step of the loop has made: the next
    entry of a sequence. A decoder that reads nothing but its own output has a recurrent cell in the loop. In a depth of
    shared blocks all that a call reads has come through the calls before.

    Parameters
    ----------
    calls
        Rows of the layer, in order.
    links, feeds
        For every row the rows that it reads, and the rows that read it.
    quiet
        Rows that bring nothing new: masks and constants.
    cells
        Rows of recurrent layers and cells.

    Examples
    --------
    >>> links = [(), (0,), (0, 1), (0, 2), (3,)]  # three calls, and each of them reads row 0
    >>> through_time([1, 2, 3], links, [(1, 2, 3), (2,), (3,), (4,), ()])
    True
    >>> through_time([1, 2, 3], [(), (0,), (1,), (2,), (3,)], [(1,), (2,), (3,), (4,), ()])
    False
    """
    if len(calls) < STEPS:
        return False
    made = reached(calls[0], feeds)
    if any(later not in made for later in calls[1:]):
        return False
    new = [_brings(before, call, links, made - set(cells), quiet) for before, call in pairwise(calls[1:])]
    return 2 * sum(new) > len(new)


def one_row_each(calls: Iterable[Sequence[int]], logs: np.ndarray) -> np.ndarray:
    """Log norms with all calls of a layer in its first row, as if one call had read the whole sequence.

    Examples
    --------
    >>> one_row_each([[0], [1, 2]], np.log([2.0, 3.0, 4.0])).round(3).tolist()
    [0.693, 1.609, nan]
    """
    found = np.full(len(logs), math.nan)
    for rows in calls:
        each = logs[list(rows)]
        each = each[~np.isnan(each)]
        if len(each):
            found[rows[0]] = 0.5 * np.logaddexp.reduce(2.0 * each)
    return found


def _brings(
    before: int, call: int, links: Sequence[Sequence[int]], made: set[int], quiet: Collection[int]
) -> bool:
    """Whether something that the loop's layers have not made comes in between two calls."""
    inside, stack = {call}, [call]
    while stack:
        for source in links[stack.pop()]:
            if source not in made and source not in quiet:
                return True
            if before < source and source not in inside:
                inside.add(source)
                stack.append(source)
    return False


def reached(start: int, ways: Sequence[Sequence[int]]) -> set[int]:
    """A row and all rows that the ways lead to: what it is made of by the links, what is made of it by the feeds.

    Examples
    --------
    >>> sorted(reached(2, [(), (0,), (1,), (2,)]))
    [0, 1, 2]
    """
    found, stack = {start}, [start]
    while stack:
        for row in ways[stack.pop()]:
            if row not in found:
                found.add(row)
                stack.append(row)
    return found
