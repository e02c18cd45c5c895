"""A copy of a model to run and to change, for recipes that measure or learn."""

from __future__ import annotations

import copy

import torch
from torch import nn

from firstlight.clean_room import outside
from firstlight.errors import AuditError, in_one_line, user_code
from firstlight.probe.guard import fresh
from firstlight.probe.trace.calling import call


def copy_of(model: nn.Module) -> nn.Module:
    """A deep copy.

    Raises
    ------
    AuditError
        If the model cannot be copied.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:
        # whatever a user's module raises, what matters is that it cannot be copied
        raise AuditError(
            f"while copying {type(model).__name__}: expected a model that copy.deepcopy can copy, got "
            f"{in_one_line(error)}; detach what it caches, or use the model before its first use"
        ) from error


def run_forward(model: nn.Module, batch: object) -> None:
    """Run a copy of a model on the batch, without gradients; the callers' generators are not moved.

    Raises
    ------
    AuditError
        If the model raises.
    """
    what = f"running the forward of a copy of {type(model).__name__}"
    with (
        outside(),
        torch.no_grad(),
        torch.random.fork_rng(devices=[]),
        user_code(what, "call the model on the batch alone to see where"),
    ):
        call(model, fresh(batch))
