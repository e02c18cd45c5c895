"""Basins of the fixed points of the variance map, by iterating the map on the nodes of a scan."""

from __future__ import annotations

import math

import numpy as np

from firstlight.theory.maps._fixed._scan import Scan

# The map is composed with itself so many times: 2⁶⁰ layers.
_DOUBLINGS = 60
_FAR = 1e3
# What the map moves by, at least, where it moves by less than rounding.
_CREEP = 1e-12

Interval = tuple[float, float]


def basins(nodes: Scan, attracting: list[bool], *, zero: bool) -> tuple[list[Interval], Interval]:
    """Basins of the zeros of a scan, in order, and that of q = 0 (empty unless ``zero``).

    A basin is the interval around its point from which the variance tends to the point. At a point that holds
    from one side only, the interval ends at the point.

    Parameters
    ----------
    nodes
        The map on its nodes; the interpolant between the nodes has the same fixed points as the map.
    attracting
        Whether each zero attracts from one side at least.
    zero
        Whether 0 is a fixed point.
    """
    label = _labels(nodes, zero=zero)
    found: list[Interval] = []
    for number, (at, pulls) in enumerate(zip(nodes.zeros, attracting)):
        q = math.exp(nodes.t[at])
        found.append(_around(nodes, label, number, at) if pulls else (q, q))
    if not zero or label[0] != -1:
        return found, (0.0, 0.0)
    end = int(np.argmax(label != -1)) if (label != -1).any() else len(label)
    return found, (0.0, _border(nodes, end, end - 1) if end < len(label) else math.inf)


def _labels(nodes: Scan, *, zero: bool) -> np.ndarray:
    """Where each node ends: the number of a zero, −1 for q = 0, −2 for none."""
    t, after = nodes.t, np.clip(nodes.after, -_FAR, _FAR)
    moves = nodes.excess
    still = np.abs(moves) < _CREEP
    still[list(nodes.zeros)] = False
    # on a plateau the variance goes, ever so slowly, where it goes beyond it
    beyond = np.sign(moves[~still & (moves != 0)][:1]) if still.any() else np.zeros(1)
    after = np.where(still, t + _CREEP * (beyond[0] if len(beyond) else 0.0), after)
    low = -_FAR if zero and after[0] < t[0] else t[0]
    high = _FAR if after[-1] > t[-1] else t[-1]
    end = after
    for _ in range(_DOUBLINGS):
        end = np.interp(end, t, end, left=low, right=high)
        end = np.where(end <= -_FAR, -_FAR, end)
    label = np.full(len(t), -2)
    label[end <= -_FAR] = -1
    for number, at in enumerate(nodes.zeros):
        label[np.abs(end - t[at]) < 1e-9] = number
    return label


def _around(nodes: Scan, label: np.ndarray, number: int, at: int) -> Interval:
    low = high = at
    while low > 0 and label[low - 1] == number:
        low -= 1
    while high < len(label) - 1 and label[high + 1] == number:
        high += 1
    return (
        0.0 if low == 0 else _border(nodes, low - 1, low),
        math.inf if high == len(label) - 1 else _border(nodes, high + 1, high),
    )


def _border(nodes: Scan, outside: int, inside: int) -> float:
    """The end of a basin: the next fixed point, else the last node that belongs to it."""
    return math.exp(nodes.t[outside if outside in nodes.zeros else inside])
