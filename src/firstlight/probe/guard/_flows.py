"""Flows: streams, maps of memory and iterators, which know a place that moves."""

from __future__ import annotations

import io
import itertools
import mmap
import operator
import types
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

from firstlight.probe.guard._held import identical

# Maps of memory are copied up to this many bytes; of larger ones a hash tells that they were written.
MAPPED = 24 << 20


@runtime_checkable
class _Walk(Protocol):
    def hold(
        self,
        name: str,
        get: Callable[[], Any],
        put: Callable[[Any], object],
        same: Callable[[Any, Any], bool],
    ) -> Any:
        """Keep the state of one object; returns the state."""


Visit = Callable[[Any, str, Any], Iterator[tuple[str, Any]]]


def _memory(walk: _Walk, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if value.closed:
        return
    if len(value) <= MAPPED:
        walk.hold(name, lambda: value[:], lambda then: value.__setitem__(slice(None), then), operator.eq)
    else:
        walk.hold(name, lambda: hash(value[:]), _no_way_back, operator.eq)
    yield from ()


def _view(walk: _Walk, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    del walk
    yield name, value.obj


def _stream(walk: _Walk, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    def put(then: tuple[Any, int]) -> None:
        written, place = then
        value.seek(0)
        value.truncate()
        value.write(written)
        value.seek(place)

    walk.hold(name, lambda: () if value.closed else (value.getvalue(), value.tell()), put, operator.eq)
    yield from ()


def _iterator(walk: _Walk, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """An iterator over something that keeps its order: the index of the next item, which can be set."""
    _, parts, *index = value.__reduce__()
    if index:
        walk.hold(name, lambda: value.__reduce__()[2:], lambda then: value.__setstate__(*then), operator.eq)
    yield from ((name, part) for part in parts)


def _count(walk: _Walk, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    walk.hold(name, lambda: value.__reduce__()[1], _no_way_back, operator.eq)
    yield from ()


def _generator(walk: _Walk, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A generator in the middle of its function, which cannot go back: that it went on is told."""

    def get() -> tuple[Any, ...]:
        frame = value.gi_frame
        return () if frame is None else (frame.f_lasti, *frame.f_locals.values())

    walk.hold(name, get, _no_way_back, _same_place)
    yield from ((name, item) for item in get()[1:])


def _same_place(now: tuple[Any, ...], then: tuple[Any, ...]) -> bool:
    return now[:1] == then[:1] and identical(now[1:], then[1:])


def _no_way_back(then: object) -> None:
    del then
    raise RuntimeError("it has no way back to where it was")


FLOWS: tuple[tuple[Any, Visit], ...] = (
    (mmap.mmap, _memory),
    (memoryview, _view),
    ((io.StringIO, io.BytesIO), _stream),
    ((type(iter([])), type(iter(())), type(iter("")), type(iter(range(0)))), _iterator),
    (itertools.count, _count),
    (types.GeneratorType, _generator),
)
