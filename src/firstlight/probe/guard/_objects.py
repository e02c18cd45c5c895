"""Objects: what a model keeps beside its tensors, found by walking from it, and put back in place."""

from __future__ import annotations

import array
import enum
import functools
import logging
import random
import threading
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from firstlight.probe.guard._flows import FLOWS
from firstlight.probe.guard._held import (
    Entries,
    Held,
    HeldClass,
    HeldDict,
    T,
    equal,
    fill_array,
    fill_objects,
    identical,
    impossible,
    refill_deque,
    refill_set,
    same_array,
    same_set,
)
from firstlight.probe.guard.process import same

# Where a tensor keeps the hooks on its gradient.
HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")
# Walking further than this finds a program's data, not a model's state.
LIMIT = 200_000
# Arrays are copied up to this many bytes together; of larger ones a checksum tells that they were written.
ARRAYS = 24 << 20


# The objects that one leads to, by name.
Found: TypeAlias = Iterator[tuple[str, object]]


class Walk:
    """Everything that can be reached from some roots: tensors, and other objects with a state.

    ``tensors`` are all tensors by name, ``held`` the state of the rest, ``empty`` the containers with nothing in
    them (most of what modules have), ``cut`` tells that the limit was met.
    """

    def __init__(self) -> None:
        self.tensors: dict[int, tuple[str, Tensor]] = {}
        self.held: list[Held[Any] | HeldDict | HeldClass] = []
        self.empty: list[tuple[str, Any]] = []
        self.cut = False
        self._seen: dict[int, object] = {}
        self._arrays = ARRAYS
        self._members: dict[type, tuple[str, ...]] = {}  # names of slots, by class
        self._visits: dict[type, Any] = {}  # how containers are visited, by class

    def go(self, name: str, root: object) -> None:
        """Walk from a root."""
        waiting: list[tuple[str, object]] = [(name, root)]
        while waiting:
            where, value = waiting.pop()
            kind = type(value)
            if kind in _ATOMS or id(value) in self._seen:
                continue
            if len(self._seen) >= LIMIT:
                self.cut = True
                return
            self._seen[id(value)] = value
            waiting.extend((n, v) for n, v in self._visit(where, value) if type(v) not in _ATOMS)

    def hold(
        self,
        name: str,
        get: Callable[[], T],
        put: Callable[[T], object],
        same: Callable[[T, T], bool],
    ) -> T:
        """Keep the state of one object; returns the state."""
        then = get()
        self.held.append(Held(name, get, then, put, same))
        return then

    def _visit(self, name: str, value: Any) -> Iterable[tuple[str, object]]:
        """Hold the state of one object; what it leads to."""
        if isinstance(value, Tensor):
            return self._tensor(name, value)
        kind = type(value)
        module = isinstance(value, torch.nn.Module)
        if module:
            self.held.append(HeldClass(name, value))
        visit = self._visits.get(kind, _ours)
        if visit is _ours:
            visit = next((visit for kinds, visit in _VISITS if isinstance(value, kinds)), None)
            if value.__class__ is kind:  # what passes for another class answers for itself each time
                self._visits[kind] = visit
        if visit is not None:
            return [*visit(self, name, value), *self._attributes(name, value)]
        if not module and (isinstance(value, _STRANGERS) or _ours(value)):
            return ()
        return [*self._attributes(name, value), *self._slots(name, value), *self._class(value)]

    def _tensor(self, name: str, value: Tensor) -> list[tuple[str, object]]:
        self.tensors[id(value)] = (name, value)
        found = list(self._attributes(name, value))
        if value.is_leaf and (gradient := value.grad) is not None:
            found.append((f"the gradient of {name}", gradient))
        for attribute in HOOKS:
            if (hooks := getattr(value, attribute, None)) is not None:
                found.append((f"the hooks on {name}", hooks))
        return found

    def _attributes(self, name: str, value: object) -> Found:
        own = getattr(value, "__dict__", None)
        if type(own) is not dict:
            return
        if not own:
            self.empty.append((name, own))
            return
        self.held.append(HeldDict(name, own, value))
        seen = self._seen
        for key, item in own.items():
            kind = type(item)
            if kind in _ATOMS:
                continue
            if kind in _CONTAINERS and not item:
                if id(item) not in seen:
                    seen[id(item)] = item
                    self.empty.append((key, item))
            else:
                yield f"{name}.{key}", item

    def _slots(self, name: str, value: object) -> Found:
        own = self._members.get(type(value))
        if own is None:
            own = self._members[type(value)] = tuple(_members(type(value)))
        for slot in own:
            yield from self._slot(f"{name}.{slot}", value, slot)

    def _slot(self, name: str, value: object, slot: str) -> Found:
        def get() -> Entries:
            return (getattr(value, slot),) if hasattr(value, slot) else ()

        def put(then: Entries) -> None:
            if then:
                object.__setattr__(value, slot, then[0])
            else:
                object.__delattr__(value, slot)

        for item in self.hold(name, get, put, identical):
            yield name, item

    def _class(self, value: object) -> Found:
        """State that a class keeps for all its objects: counters, registries, caches."""
        for kind in type(value).__mro__:
            if kind.__module__.partition(".")[0] not in _LIBRARIES and id(kind) not in self._seen:
                self._seen[id(kind)] = kind
                yield from self._one_class(kind)

    def _one_class(self, kind: type) -> Found:
        def get() -> Entries:
            own = {n: v for n, v in vars(kind).items() if n not in _CLASS_OWN}
            return (*own.keys(), *own.values())

        def put(then: Entries) -> None:
            half = len(then) // 2
            old: dict[str, object] = dict(zip(map(str, then[:half]), then[half:]))
            now = dict(vars(kind))
            for added in now.keys() - old.keys() - _CLASS_OWN:
                type.__delattr__(kind, added)
            for key, item in old.items():
                if now.get(key) is not item:
                    type.__setattr__(kind, key, item)

        self.hold(f"the class {kind.__name__}", get, put, identical)
        for name, item in vars(kind).items():
            if not isinstance(item, (types.FunctionType, classmethod, staticmethod, property)):
                yield f"{kind.__name__}.{name}", item

    def _dict(self, name: str, value: dict[Any, Any]) -> Found:
        held = HeldDict(name, value)
        self.held.append(held)
        for key, item in held.then.items():
            if type(item) not in _ATOMS:
                yield _inner(name, key), item
            if type(key) not in _ATOMS:
                yield f"a key of {name}", key

    def _list(self, name: str, value: list[object]) -> Found:
        self.hold(
            name,
            lambda: tuple(list.__iter__(value)),
            lambda then: list.__setitem__(value, slice(None), then),
            identical,
        )
        for i, item in enumerate(list.__iter__(value)):
            if type(item) not in _ATOMS:
                yield f"{name}[{i}]", item

    def _set(self, name: str, value: set[object]) -> Found:
        then = self.hold(
            name, lambda: tuple(set.__iter__(value)), lambda old: refill_set(value, old), same_set
        )
        for item in then:
            yield f"an entry of {name}", item

    def _deque(self, name: str, value: deque[object]) -> Found:
        then = self.hold(name, lambda: tuple(value), lambda old: refill_deque(value, old), identical)
        for item in then:
            yield f"an entry of {name}", item

    def _tuple(self, name: str, value: tuple[object, ...] | frozenset[object]) -> Found:
        for i, item in enumerate(value):
            if type(item) not in _ATOMS:
                yield f"{name}[{i}]", item

    def _buffer(self, name: str, value: Any) -> Found:
        self.hold(name, lambda: value[:], lambda then: value.__setitem__(slice(None), then), equal)
        yield from ()

    def _array(self, name: str, value: np.ndarray) -> Found:
        if value.dtype == object:
            self.hold(name, lambda: tuple(value.flat), lambda old: fill_objects(value, old), identical)
            for item in value.flat:
                yield f"an entry of {name}", item
            return
        self._arrays -= value.nbytes
        if self._arrays >= 0:
            self.hold(name, value.copy, lambda then: fill_array(value, then), same_array)
        else:
            self.hold(name, lambda: hash(value.tobytes()), impossible, equal)

    def _torch_generator(self, name: str, value: torch.Generator) -> Found:
        self.hold(name, value.get_state, value.set_state, torch.equal)
        yield from ()

    def _numpy_generator(self, name: str, value: np.random.Generator | np.random.BitGenerator) -> Found:
        bits = value.bit_generator if isinstance(value, np.random.Generator) else value
        self.hold(name, lambda: bits.state, lambda then: setattr(bits, "state", then), same)
        yield from ()

    def _legacy_generator(self, name: str, value: np.random.RandomState) -> Found:
        self.hold(name, value.get_state, value.set_state, same)
        yield from ()

    def _python_generator(self, name: str, value: random.Random) -> Found:
        self.hold(name, value.getstate, value.setstate, equal)
        yield from ()

    def _function(self, name: str, value: types.FunctionType) -> Found:
        if (value.__module__ or "").startswith("firstlight."):
            return
        for cell_name, cell in zip(value.__code__.co_freevars, value.__closure__ or ()):
            yield f"{cell_name} of {name}", cell
        yield f"the defaults of {name}", value.__defaults__
        yield f"the defaults of {name}", value.__kwdefaults__

    def _cell(self, name: str, value: types.CellType) -> Found:
        def get() -> Entries:
            try:
                return (value.cell_contents,)
            except ValueError:  # empty
                return ()

        def put(then: Entries) -> None:
            if then:
                value.cell_contents = then[0]
            else:
                del value.cell_contents

        for item in self.hold(name, get, put, identical):
            yield name, item

    def _method(self, name: str, value: types.MethodType) -> Found:
        yield name, value.__self__
        yield name, value.__func__

    def _partial(self, name: str, value: functools.partial[object]) -> Found:
        yield name, value.func
        yield name, value.args
        yield name, value.keywords


def _members(kind: type) -> Iterator[str]:
    """Names of the slots of a class and of those that it is made of."""
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if isinstance(vars(base).get(slot), types.MemberDescriptorType):
                yield slot


def _ours(value: object) -> bool:
    """Whether an object is a part of firstlight at work, an audit around this one for instance."""
    return type(value).__module__.startswith("firstlight.")


def _inner(name: str, key: object) -> str:
    return f"{name}.{key}" if isinstance(key, str) and key.isidentifier() else f"{name}[{key!r:.40}]"


_ATOMS = frozenset(
    (
        *(int, float, complex, str, bytes, bool, type(None), type(...), type(NotImplemented)),
        *(range, slice, type),
        *(types.BuiltinFunctionType, types.ModuleType, types.CodeType, types.GetSetDescriptorType),
        *(torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format, np.dtype, weakref.ref),
    )
)
_CONTAINERS = frozenset((dict, OrderedDict, list, set, deque))
# Things of the program, not of the model: what is inside them is not walked.
_STRANGERS = (
    *(
        type,
        types.ModuleType,
        types.FrameType,
        types.TracebackType,
        enum.Enum,
        logging.Logger,
        threading.Thread,
    ),
    *(np.generic, weakref.ref, torch.ScriptObject, torch.fx.Graph, torch.autograd.graph.Node),
)
_LIBRARIES = frozenset("builtins torch numpy abc typing collections firstlight enum functools".split())
_CLASS_OWN = frozenset("__dict__ __weakref__ __abstractmethods__ _abc_impl __doc__ __annotations__".split())
_VISITS: tuple[tuple[type | tuple[type, ...], Callable[..., Found]], ...] = (
    (dict, Walk._dict),
    (list, Walk._list),
    ((tuple, frozenset), Walk._tuple),
    (set, Walk._set),
    (deque, Walk._deque),
    ((bytearray, array.array), Walk._buffer),
    (np.ndarray, Walk._array),
    *FLOWS,
    (torch.Generator, Walk._torch_generator),
    ((np.random.Generator, np.random.BitGenerator), Walk._numpy_generator),
    (np.random.RandomState, Walk._legacy_generator),
    (random.Random, Walk._python_generator),
    (types.FunctionType, Walk._function),
    (types.CellType, Walk._cell),
    (types.MethodType, Walk._method),
    (functools.partial, Walk._partial),
)
