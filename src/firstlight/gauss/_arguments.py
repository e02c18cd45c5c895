"""What an integral is given, looked at before the work: a function, and numbers as float64 tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from firstlight.errors import ArgumentError


def numbers(doing: str, **values: object) -> tuple[Tensor, ...]:
    """Each value as a float64 tensor.

    Raises
    ------
    ArgumentError
        Something that is neither a number nor a tensor of numbers.
    """
    found = []
    for name, value in values.items():
        try:
            found.append(torch.as_tensor(value, dtype=torch.float64))
        except (TypeError, ValueError, RuntimeError):
            raise ArgumentError(
                f"while {doing}: expected {name} to be a number or a tensor of numbers, got a {type(value).__name__}"
            ) from None
    return tuple(found)


def expect_function(doing: str, *functions: object) -> None:
    """Refuse what cannot be called, with an ``ArgumentError``."""
    for f in functions:
        if not callable(f):
            raise ArgumentError(f"while {doing}: expected a function of one tensor, got a {type(f).__name__}")
