"""Held: an object's state as it was found, and how states are compared and written back."""

from __future__ import annotations

import operator
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import torch

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


class HeldDict:
    """A dictionary: its keys and values, by identity, in their order; past what a subclass makes of reading them.

    ``owner`` is the object whose attributes they are.
    """

    __slots__ = ("kind", "name", "owner", "then", "value")

    def __init__(self, name: str, value: dict[Any, Any], owner: object = None) -> None:
        # an ordered dictionary knows an order of its own
        self.kind: Any = OrderedDict if isinstance(value, OrderedDict) else dict
        self.name, self.value, self.owner = name, value, owner
        self.then = dict(self.kind.items(value))

    def unchanged(self) -> bool:
        """Whether keys and values are the ones then."""
        kind, now, then = self.kind, self.value, self.then
        return (
            (self.owner is None or self.owner.__dict__ is now)
            and kind.__len__(now) == len(then)
            and all(map(operator.is_, kind.values(now), then.values()))
            and all(map(operator.is_, kind.keys(now), then))
        )

    def put_back(self) -> None:
        """Empty the dictionary and fill it again, if it has other entries or another is in its place."""
        if not self.unchanged():
            if self.owner is not None and self.owner.__dict__ is not self.value:
                object.__setattr__(self.owner, "__dict__", self.value)
            self.kind.clear(self.value)
            for key, item in self.then.items():
                self.kind.__setitem__(self.value, key, item)


class HeldClass:
    """The class of a module, which parametrisations exchange."""

    __slots__ = ("name", "then", "value")

    def __init__(self, name: str, value: torch.nn.Module) -> None:
        self.name, self.value, self.then = name, value, type(value)

    def unchanged(self) -> bool:
        """Whether the class is the one then."""
        return type(self.value) is self.then

    def put_back(self) -> None:
        """Give the module its old class, if it has another one."""
        if not self.unchanged():
            self.value.__class__ = self.then


def identical(now: Entries, then: Entries) -> bool:
    return len(now) == len(then) and all(map(operator.is_, now, then))


def equal(now: object, then: object) -> bool:
    return bool(now == then)


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


def fill_objects(value: np.ndarray, then: Entries) -> None:
    for i, item in enumerate(then):
        value.flat[i] = item


def impossible(then: object) -> None:
    del then
    raise RuntimeError("the array is too large to be copied beforehand")
