"""The public door: arguments are compared with their annotations before a function begins."""

from __future__ import annotations

import functools
import inspect
import numbers
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args, get_origin

from firstlight.errors import ArgumentError

_F = TypeVar("_F", bound=Callable[..., Any])
_WORDS: dict[Any, str] = {
    int: "a whole number", float: "a number", str: "a text", bool: "True or False", type(None): "None",
    bytes: "bytes", os.PathLike: "a path", Mapping: "a mapping", Sequence: "a sequence", Iterable: "a sequence",
    Callable: "a function",
}  # fmt: skip


def checked(function: _F) -> _F:
    """Compare every argument with its annotation before the function begins.

    Numbers, texts, truth values, paths, tensors, modules, choices (``Literal``) and unions of them are compared; a
    sequence or a mapping only has to be one. NumPy's and Python's numbers are alike; True is no number. For a class,
    the arguments that make an object are compared.

    Examples
    --------
    >>> from firstlight.doors import checked
    >>> @checked
    ... def double(width: int) -> int:
    ...     return 2 * width
    >>> double("3")
    Traceback (most recent call last):
    ...
    firstlight.errors.ArgumentError: while calling double: expected width to be a whole number, got '3'
    """
    if isinstance(function, type):
        function.__init__ = checked(function.__init__)  # type: ignore[misc]
        return function
    door = _Door(function)

    @functools.wraps(function)
    def call(*args: object, **keywords: object) -> Any:
        __tracebackhide__ = True
        if not door.known(args, keywords):
            door.check(args, keywords)
        return function(*args, **keywords)

    return typing.cast(_F, call)


class _Door:
    """What one function takes, and the types of arguments that were seen to fit: those are not looked at again."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function
        self.signature = inspect.signature(function)
        self.name = function.__qualname__.removesuffix(".__init__").removesuffix(".__new__")
        plain = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
        parameters = list(self.signature.parameters.values())
        self.places = tuple(p.name for p in parameters if p.kind is plain[0])
        self.required = tuple(p.name for p in parameters if p.default is p.empty)
        # functions that take any number of arguments are compared in full
        self.fitting: dict[str, set[type]] = (
            {p.name: set() for p in parameters} if all(p.kind in plain for p in parameters) else {}
        )

    def known(self, args: tuple[object, ...], keywords: Mapping[str, object]) -> bool:
        """Whether each argument has a place, and a type that has been seen there."""
        taken = len(args)
        if taken > len(self.places):
            return False
        fitting = self.fitting
        for name, value in zip(self.places, args):
            if name in keywords or type(value) not in fitting.get(name, ()):
                return False
        for name, value in keywords.items():
            if type(value) not in fitting.get(name, ()):
                return False
        return all(name in keywords for name in self.required if name not in self.places[:taken])

    def check(self, args: tuple[object, ...], keywords: Mapping[str, object]) -> None:
        """Compare each argument with its annotation."""
        try:
            given = self.signature.bind(*args, **keywords).arguments
        except TypeError as error:
            raise ArgumentError(
                f"while calling {self.name}: expected {', '.join(_names(self.signature))}, got other arguments: {error}"
            ) from None
        for argument, value in given.items():
            parameter = self.signature.parameters[argument]
            if (
                parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
                or value is parameter.default
            ):
                continue
            hint = _hint(self.function, parameter.annotation)
            if not _fits(value, hint):
                raise ArgumentError(
                    f"while calling {self.name}: expected {argument} to be {_told(hint)}, got {_shown(value)}"
                )
            if argument in self.fitting and not _has_choices(hint):
                self.fitting[argument].add(type(value))


def _has_choices(hint: object) -> bool:
    """Whether the value itself decides, and not only its type."""
    return get_origin(hint) is typing.Literal or any(map(_has_choices, get_args(hint)))


def _names(signature: inspect.Signature) -> list[str]:
    return [name for name in signature.parameters if name != "self"]


def _hint(function: Any, annotation: Any) -> Any:
    """The annotation as an object; ``Any`` where its names are not there at run time."""
    if not isinstance(annotation, str):
        return Any if annotation is inspect.Parameter.empty else annotation
    return _evaluated(annotation, inspect.unwrap(function))


@functools.cache
def _evaluated(annotation: str, function: Any) -> Any:
    try:
        return eval(annotation, dict(function.__globals__))
    except Exception:
        return Any


def _fits(value: object, hint: object) -> bool:
    if hint is Any or isinstance(hint, TypeVar | str):
        return True
    if hint is None:
        return value is None
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if origin is typing.Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(hint))
    if origin in (typing.Annotated, typing.Final, typing.ClassVar):
        return _fits(value, get_args(hint)[0])
    return _is_one(value, getattr(hint, "array_type", origin or hint))


def _is_one(value: object, kind: object) -> bool:
    """Whether a value is of a kind, by the words of numbers: 3.0 is no whole number, True is no number."""
    if kind in (int, float):
        number = numbers.Integral if kind is int else numbers.Real
        return isinstance(value, number) and not isinstance(value, bool)
    if kind in (Sequence, Iterable) and isinstance(value, str | bytes):
        return False
    if not isinstance(kind, type) or getattr(kind, "_is_protocol", False):
        return True
    try:
        return isinstance(value, kind)
    except TypeError:
        return True


def _told(hint: object) -> str:
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_told(part) for part in get_args(hint)))
    if origin is typing.Literal:
        return " or ".join(map(repr, get_args(hint)))
    kind = type(None) if hint is None else getattr(hint, "array_type", origin or hint)
    return _WORDS.get(kind) or f"a {getattr(kind, '__name__', kind)}"


def _shown(value: object) -> str:
    if isinstance(value, str | int | float | bytes | type(None)):
        return f"{value!r:.80}"
    if isinstance(value, type):
        return f"the class {value.__name__}; make an object of this class, as in {value.__name__}()"
    name = type(value).__name__
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"
