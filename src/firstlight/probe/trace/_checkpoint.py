"""Reentrant gradient checkpoints, run as plain calls while a model is traced."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils import checkpoint


@contextmanager
def unrolled() -> Iterator[None]:
    """Let reentrant checkpoints of this thread call their function once, with its gradient.

    A reentrant checkpoint runs its part without gradient, and again inside the backward, out of reach of
    ``torch.autograd.grad``. The numbers are the same without the checkpoint; only memory is not saved.
    Checkpoints of other threads work as ever.
    """
    before, mine = checkpoint.CheckpointFunction, threading.get_ident()

    class Plain:
        @staticmethod
        def apply(function: Any, preserve: bool, *args: Any) -> Any:
            if threading.get_ident() != mine:
                return before.apply(function, preserve, *args)
            return function(*args)

    checkpoint.CheckpointFunction = Plain  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        checkpoint.CheckpointFunction = before  # type: ignore[misc]
