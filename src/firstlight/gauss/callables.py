"""Any callable of one array, seen as a function of float64 torch tensors."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.errors import DomainError

_PROBE = (-1.25, -0.5, 0.0, 0.375, 2.0)


def _numpy_call(f: Callable[..., object]) -> Callable[[Tensor], Tensor]:
    def call(x: Tensor) -> Tensor:
        return torch.as_tensor(np.asarray(f(x.detach().numpy()), dtype=np.float64)).reshape(x.shape)

    return call


def _scalar_call(f: Callable[..., object]) -> Callable[[Tensor], Tensor]:
    def call(x: Tensor) -> Tensor:
        values = [float(f(v)) for v in x.detach().reshape(-1).tolist()]  # type: ignore[arg-type]
        return torch.tensor(values, dtype=torch.float64).reshape(x.shape)

    return call


@clean
def as_float64(f: Any) -> tuple[Callable[[Tensor], Tensor], bool]:
    """Make ``f`` a function of float64 tensors, and say whether autograd can see through it.

    A torch module is copied in float64 and evaluation mode; a function of NumPy arrays or of single floats is
    wrapped, in this order of preference.

    Raises
    ------
    DomainError
        ``f`` takes neither a tensor nor an array nor a float, or does not act entry by entry.

    Examples
    --------
    >>> import math, torch
    >>> from firstlight.gauss.callables import as_float64
    >>> function, differentiable = as_float64(math.tanh)
    >>> function(torch.zeros(2, dtype=torch.float64)), differentiable
    (tensor([0., 0.], dtype=torch.float64), False)
    """
    target = f
    if isinstance(f, torch.nn.Module):
        target = copy.deepcopy(f).double().eval().requires_grad_(False)
    if not callable(target):
        raise DomainError(
            f"while reading an activation: expected a callable of one tensor, got {f!r}; "
            "give a name, an nn.Module or a function"
        )
    reasons: list[str] = []
    for wrap in (lambda g: g, _numpy_call, _scalar_call):
        call = wrap(target)
        probe = torch.tensor(_PROBE, dtype=torch.float64).requires_grad_()
        try:
            with torch.enable_grad():
                value = call(probe)
        except Exception as error:  # the next way of calling may work; every reason is reported
            reasons.append(f"{type(error).__name__}: {error}")
            continue
        if isinstance(value, Tensor) and value.shape == probe.shape:
            _check_entrywise(f, call, value.detach())
            return _in_float64(call), value.requires_grad
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        reasons.append(f"shape {tuple(probe.shape)} became {shape}")
    raise DomainError(
        f"while reading the activation {_named(f)}: expected a function that acts entry by entry on a tensor, an "
        f"array or a float, got {'; '.join(reasons)}; wrap it in a lambda of one tensor"
    )


def _named(f: object) -> str:
    """What a message calls a function: its name, without the place in memory that its repr has."""
    return getattr(f, "__qualname__", None) or repr(f)


def _check_entrywise(f: Callable[..., object], call: Callable[[Tensor], Tensor], value: Tensor) -> None:
    """A function of one entry gives the same when the other entries change: softmax or dropout does not."""
    other = call(torch.tensor((*_PROBE[:1], 7.0, *_PROBE[2:]), dtype=torch.float64)).detach()
    same = torch.eq(value, other) | (value.isnan() & other.isnan())
    # Vectorised library calls may round the last digit differently from one position to the next.
    close = torch.isclose(value.double(), other.double(), rtol=1e-12, atol=1e-15)
    if not bool((same | close)[[0, 2, 3, 4]].all()):
        raise DomainError(
            f"while reading the activation {_named(f)}: expected a fixed function of each entry, got "
            "values that change with the other entries or from call to call; normalisers, softmax, gates and "
            "random functions are not activations"
        )


def _in_float64(call: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def wrapped(x: Tensor) -> Tensor:
        return call(x).to(torch.float64)

    return wrapped
