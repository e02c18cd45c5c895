"""What stands above the activations and they must call: the registry of names, and the torch modules of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_lookups: list[Callable[[str], Any]] = []
_modules: list[Callable[[Any], Any]] = []


def look_up_with(find: Callable[[str], object], library: Callable[[str], object]) -> None:
    """Let ``find`` answer for names, and ``library`` for those that no user has registered.

    Both raise ``DomainError`` for a name that they do not know.
    """
    _lookups[:] = [find, library]


def found(name: str) -> Any:
    """What the registry has under ``name``; raises ``DomainError`` where there is nothing."""
    return _lookups[0](name)


def of_library(name: str) -> Any:
    """What the library itself has under ``name``; raises ``DomainError`` where there is nothing."""
    return _lookups[1](name)


def make_modules_with(fixed: Callable[[Any], Any], learnable: Callable[[Any], Any]) -> None:
    """Let these make torch modules of activations."""
    _modules[:] = [fixed, learnable]


def module_of(activation: object, *, learnable: bool) -> Any:
    """A torch module of an activation."""
    return _modules[learnable](activation)
