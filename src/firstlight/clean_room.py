"""Clean room: our numbers do not depend on the modes that the caller's program has switched on around them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from traceback import walk_tb
from types import GeneratorType
from typing import Any, ParamSpec, TypeVar

import torch
from torch.utils._python_dispatch import _pop_mode as _pop_dispatch
from torch.utils._python_dispatch import _push_mode as _push_dispatch

P = ParamSpec("P")
R = TypeVar("R")

_functions_on, _dispatchers_on = torch._C._len_torch_function_stack, torch._C._len_torch_dispatch_stack
_pop_function, _push_function = torch._C._pop_torch_function_stack, torch._C._push_on_torch_function_stack
_autocast_on = torch._C._is_any_autocast_enabled
_NO_MODES: list[Any] = []

DEVICES = ("cpu", "cuda", "mps", "xpu", "mtia", "hpu", "maia", "privateuseone")


@dataclass(frozen=True)
class Ambient:
    """What a program may have switched on around a call, outermost mode first.

    Attributes
    ----------
    functions, dispatchers
        Torch function modes (a default device is one) and torch dispatch modes (fake tensors are one).
    autocasts
        Device types in autocast, with their dtypes.
    dtype
        The default dtype.
    """

    functions: tuple[Any, ...]
    dispatchers: tuple[Any, ...]
    autocasts: tuple[tuple[str, torch.dtype], ...]
    dtype: torch.dtype

    @classmethod
    def now(cls) -> Ambient:
        """What is switched on now."""
        c = torch._C
        return cls(
            tuple(c._get_function_stack_at(i) for i in range(c._len_torch_function_stack())),
            tuple(_stack(c._len_torch_dispatch_stack, c._get_dispatch_stack_at)),
            tuple((d, torch.get_autocast_dtype(d)) for d in DEVICES if _autocast_in(d)),
            torch.get_default_dtype(),
        )


def _stack(count: Callable[[], int], at: Callable[[int], object]) -> Iterator[Any]:
    return map(at, range(count()))


def _autocast_in(device: str) -> bool:
    try:
        return torch.is_autocast_enabled(device)
    except RuntimeError:  # a device type that this build does not know
        return False


CLEAN = Ambient((), (), (), torch.float32)
# What stood around the outermost room that is open now.
_outside: ContextVar[Ambient | None] = ContextVar("firstlight_outside", default=None)


def is_clean(*, grad: bool = True) -> bool:
    """Whether a room would change nothing here."""
    return (
        not _functions_on()
        and not _dispatchers_on()
        and not torch.is_inference_mode_enabled()
        and (torch.is_grad_enabled() or not grad)
        and torch.get_default_dtype() is torch.float32
        and not _autocast_on()
    )


@contextmanager
def room(*, grad: bool = True) -> Iterator[None]:
    """Inference mode and autocast off, gradients on where asked, default device and dtype as torch starts with.

    Torch function modes and dispatch modes of the caller are put aside, and put back in the same order at the
    end: the computation inside belongs to firstlight, so the caller's modes must not trace, fake or move it. A model
    of the caller's runs under `outside`.

    Parameters
    ----------
    grad
        Whether gradients are needed; if not, the mode stays as it is.

    Examples
    --------
    >>> import torch
    >>> from firstlight.clean_room import room
    >>> with torch.device("meta"), torch.inference_mode():
    ...     with room():
    ...         x = torch.ones(2, requires_grad=True)
    >>> x.device.type, x.is_inference()
    ('cpu', False)
    """
    before = Ambient.now()
    token = _outside.set(before) if _outside.get() is None else None
    try:
        with ExitStack() as stack:
            if torch.is_inference_mode_enabled():
                stack.enter_context(torch.inference_mode(False))
            if grad and not torch.is_grad_enabled():
                stack.enter_context(torch.enable_grad())
            stack.enter_context(_as(CLEAN, before))
            yield
    finally:
        if token is not None:
            _outside.reset(token)


@contextmanager
def outside() -> Iterator[None]:
    """Inside a room, for a call of the caller's own code: autocast, defaults and modes as the caller has them.

    Gradients stay on and inference mode stays off, since the call is made for its gradients.
    """
    ambient, here = _outside.get(), Ambient.now()
    if ambient is None or ambient == CLEAN:
        with kept():
            yield
        return
    inner = replace(
        ambient,
        functions=ambient.functions + here.functions,
        dispatchers=ambient.dispatchers + here.dispatchers,
    )
    with _as(inner, here):
        yield


@contextmanager
def kept() -> Iterator[None]:
    """Modes, defaults and the gradient mode as they are now again at the end, whatever a caller's code leaves of them.

    Examples
    --------
    >>> import torch
    >>> from firstlight.clean_room import kept
    >>> with kept():
    ...     torch.set_default_dtype(torch.float64)
    >>> torch.get_default_dtype()
    torch.float32
    """
    here, grad = Ambient.now(), torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_grad_enabled(grad)
        _set(here)


@contextmanager
def _as(there: Ambient, here: Ambient) -> Iterator[None]:
    """Change from what is switched on here to another ambient, and back at the end whatever happened between."""
    with ExitStack() as stack:
        wanted = dict(there.autocasts)
        for device in {*wanted, *dict(here.autocasts)}:
            dtype = wanted.get(device)
            stack.enter_context(torch.autocast(device, dtype=dtype, enabled=device in wanted))
        stack.callback(_set, here)
        _set(there)
        yield


def _set(ambient: Ambient) -> None:
    """Make the stacks of modes and the default dtype what they are in an ambient."""
    c = torch._C
    if torch.get_default_dtype() != ambient.dtype:
        torch.set_default_dtype(ambient.dtype)
    for wanted, count, at, pop, push in (
        (
            ambient.functions,
            c._len_torch_function_stack,
            c._get_function_stack_at,
            c._pop_torch_function_stack,
            c._push_on_torch_function_stack,
        ),
        (
            ambient.dispatchers,
            c._len_torch_dispatch_stack,
            c._get_dispatch_stack_at,
            _pop_dispatch,
            _push_dispatch,
        ),
    ):
        if list(_stack(count, at)) == list(wanted):
            continue
        while count():
            pop()
        for mode in wanted:
            push(mode)


_GENERATED = type(contextmanager(lambda: iter(()))())
_AROUND = {_GENERATED.__enter__.__code__, _GENERATED.__exit__.__code__}


def end_contexts(error: BaseException) -> None:
    """End the contexts that an interrupt has left open, whoever wrote them: the caller, torch, or firstlight.

    An interrupt may come when a generator of `contextlib.contextmanager` has begun and the ``with`` statement does
    not know so yet. Then the traceback alone holds the generator. Python runs the end of such a generator when the
    traceback is dropped, perhaps much later, and the end "puts back" modes of another time.

    Examples
    --------
    >>> from contextlib import contextmanager
    >>> from firstlight.clean_room import end_contexts
    >>> @contextmanager
    ... def opened():
    ...     yield
    >>> with opened():
    ...     try:
    ...         raise KeyboardInterrupt
    ...     except KeyboardInterrupt as interrupt:
    ...         end_contexts(interrupt)  # nothing was left open
    """
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        pending += [one.__cause__, one.__context__]
        for frame, _ in reversed(list(walk_tb(one.__traceback__))):
            if frame.f_code not in _AROUND:
                continue
            generator = getattr(frame.f_locals.get("self"), "gen", None)
            if isinstance(generator, GeneratorType) and not generator.gi_running:
                with suppress(Exception):  # an end that fails is over as well
                    generator.close()


def clean(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function whose numbers shall be the same whatever the caller has switched on.

    Examples
    --------
    >>> import torch
    >>> from firstlight.clean_room import clean
    >>> @clean
    ... def ones() -> torch.Tensor:
    ...     return torch.ones(2)
    >>> with torch.device("meta"):
    ...     ones().device.type
    'cpu'
    """

    @functools.wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        if is_clean():
            return function(*args, **kwargs)
        try:
            with room():
                return function(*args, **kwargs)
        except BaseException as error:
            end_contexts(error)
            raise

    return inside


class aside:
    """A room that costs a few microseconds, for what is computed between two operations of a caller's model.

    Examples
    --------
    >>> import torch
    >>> from firstlight.clean_room import aside
    >>> with torch.device("meta"):
    ...     with aside():
    ...         x = torch.ones(2)
    >>> x.device.type
    'cpu'
    """

    def __enter__(self) -> None:
        functions, dispatchers = _functions_on(), _dispatchers_on()
        self._functions = [_pop_function() for _ in range(functions)] if functions else _NO_MODES
        self._dispatchers = [_pop_dispatch() for _ in range(dispatchers)] if dispatchers else _NO_MODES
        plain = (
            not torch.is_inference_mode_enabled()
            and torch.get_default_dtype() == torch.float32
            and not _autocast_on()
        )
        self._room = None if plain else room(grad=False)
        if self._room is not None:
            self._room.__enter__()

    def __exit__(self, *error: object) -> None:
        if self._room is not None:
            self._room.__exit__(None, None, None)
        for mode in reversed(self._dispatchers):
            _push_dispatch(mode)
        for mode in reversed(self._functions):
            _push_function(mode)


def apart(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate what is computed beside a caller's model while the model runs."""

    @functools.wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with aside():
            return function(*args, **kwargs)

    return inside
