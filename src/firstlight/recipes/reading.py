"""Reading: the activation behind a module or a function, looked at once for all its copies."""

from __future__ import annotations

from collections.abc import Callable
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


def of_function(function: str | Callable[[Tensor], Tensor]) -> Activation | None:
    """The activation that a function of one tensor is, or a name; None where it is none."""
    if isinstance(function, str):
        return _known(function)
    return _remembered("function", function)


def _remembered(kind: Any, function: Any) -> Activation | None:
    grid = torch.linspace(-6.0, 6.0, 193, dtype=torch.float64)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            key = (kind, function(grid.clone()).numpy().tobytes())
    except Exception:
        # somebody's module: it takes no float64, no vector, or not on the CPU
        return _known(function)
    if key not in _SEEN:
        found = _known(function)
        if found is None:
            return None
        if len(_SEEN) >= 256:
            _SEEN.clear()
        _SEEN[key] = found
    return _SEEN[key]


def _known(function: Any) -> Activation | None:
    try:
        with torch.random.fork_rng(devices=[]):
            return activations.get(function)
    except Exception:
        # somebody's module, which is no function of one number
        return None
