"""Reading: the activation behind a module or a function, looked at once for all its copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from firstlight import activations
from firstlight.activations import Activation

# modules of one class with one set of values, as copies are, are looked at once
_SEEN: dict[tuple[Any, bytes], Activation] = {}


def of_module(module: nn.Module) -> Activation | None:
    """The activation that a module without children is; None where it is none."""
    if any(True for _ in module.children()):
        return None
    return _remembered(type(module), module)


def of_function(function: str | Callable[[Tensor], Tensor], name: str = "") -> Activation | None:
    """The activation that a function of one tensor is, or a name; None where it is none.

    A known activation of the given name is preferred where its values are the function's.
    """
    if isinstance(function, str):
        return _known(function)
    known = _known(name) if name else None
    if known is not None:
        grid = torch.linspace(-6.0, 6.0, 193, dtype=torch.float64)
        try:
            with torch.no_grad():
                if torch.allclose(known(grid), function(grid.clone()), rtol=1e-9, atol=1e-12):
                    return known
        except (RuntimeError, TypeError):
            pass
    return _remembered("function", function, name)


def _remembered(kind: Any, function: Any, name: str = "") -> Activation | None:
    grid = torch.linspace(-6.0, 6.0, 193, dtype=torch.float64)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            key = (kind, function(grid.clone()).numpy().tobytes())
    except Exception:
        # a user's module may refuse float64, a vector, or the CPU
        return _known(function)
    if key not in _SEEN:
        found = _known(function)
        if found is None:
            return None
        if name and not found.registered:
            found = replace(found, name=name)
        if len(_SEEN) >= 256:
            _SEEN.clear()
        _SEEN[key] = found
    return _SEEN[key]


def _known(function: object) -> Activation | None:
    try:
        with torch.random.fork_rng(devices=[]):
            return activations.get(function)
    except Exception:
        # a user's module that is no function of one number
        return None
