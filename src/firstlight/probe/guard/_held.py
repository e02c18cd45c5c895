"""Held: an object's state as it was found, and how states are compared and written back."""

from __future__ import annotations

import operator
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np

T = TypeVar("T")
# What a container holds, in its order.
Entries: TypeAlias = tuple[object, ...]


@dataclass(eq=False, slots=True)
class Held(Generic[T]):
    """One object as it was found: how to see its state now, the state then, and how to write that state."""

    name: str
    get: Callable[[], T]
    then: T
    put: Callable[[T], object]
    same: Callable[[T, T], bool]

    def unchanged(self) -> bool:
        """Whether the state is the one then."""
        return self.same(self.get(), self.then)

    def put_back(self) -> None:
        """Give the object its old state, if it has another one."""
        if not self.unchanged():
            self.put(self.then)


def identical(now: Entries, then: Entries) -> bool:
    return len(now) == len(then) and all(map(operator.is_, now, then))


def equal(now: object, then: object) -> bool:
    return bool(now == then)


def entries(value: dict[Any, Any]) -> Entries:
    kind = OrderedDict if isinstance(value, OrderedDict) else dict  # each knows an order of its own
    return (*kind.keys(value), *kind.values(value))


def pairs(value: dict[Any, Any]) -> list[tuple[object, object]]:
    found = entries(value)
    half = len(found) // 2
    return list(zip(found[:half], found[half:]))


def refill(value: dict[Any, Any], then: Entries) -> None:
    """Empty a dictionary and fill it again, past what a subclass makes of that."""
    kind = OrderedDict if isinstance(value, OrderedDict) else dict
    kind.clear(value)
    half = len(then) // 2
    for key, item in zip(then[:half], then[half:]):
        kind.__setitem__(value, key, item)


def refill_set(value: set[object], then: Entries) -> None:
    set.clear(value)
    set.update(value, then)


def refill_deque(value: deque[object], then: Entries) -> None:
    deque.clear(value)
    deque.extend(value, then)


def same_array(now: np.ndarray, then: np.ndarray) -> bool:
    return now.shape == then.shape and now.dtype == then.dtype and now.tobytes() == then.tobytes()


def fill_array(value: np.ndarray, then: np.ndarray) -> None:
    np.copyto(value, then)


def same_set(now: Entries, then: Entries) -> bool:
    return len(now) == len(then) and {id(x) for x in now} == {id(x) for x in then}


def same_state(now: Any, then: Any) -> bool:
    if isinstance(now, dict):
        return now.keys() == then.keys() and all(same_state(now[k], then[k]) for k in now)
    if isinstance(now, (tuple, list)):
        return len(now) == len(then) and all(map(same_state, now, then))
    return bool(np.array_equal(now, then))


def fill_objects(value: np.ndarray, then: Entries) -> None:
    for i, item in enumerate(then):
        value.flat[i] = item


def impossible(then: object) -> None:
    del then
    raise RuntimeError("the array is too large to be copied beforehand")
