"""Groups: things that are alike, so many at a time."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

# Layers that are stacked at a time: enough to share the cost of a call, few enough to stay near the caches.
LAYERS = 32

T = TypeVar("T")


def alike(things: Iterable[T], key: Callable[[T], Hashable]) -> Iterator[list[T]]:
    """The things in groups of equal key, at most ``LAYERS`` in a group.

    Examples
    --------
    >>> list(alike(range(5), lambda number: number % 2))
    [[0, 2, 4], [1, 3]]
    """
    groups: dict[Hashable, list[T]] = {}
    for thing in things:
        groups.setdefault(key(thing), []).append(thing)
    for group in groups.values():
        for i in range(0, len(group), LAYERS):
            yield group[i : i + LAYERS]
