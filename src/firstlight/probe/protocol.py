"""Protocol: how a model is looked at, as one object that passes through every hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from firstlight.errors import AuditError, DomainError, did_you_mean
from firstlight.measure import chosen_measures
from firstlight.probe.read.reader import Budget
from firstlight.probe.trace.calling import Loss, scalar_loss


@dataclass(frozen=True, eq=False)
class Protocol:
    """What is differentiated, in which mode, from which seed, and how much of each tensor is read.

    Attributes
    ----------
    targets, loss
        What is differentiated: ``loss(output, targets)``; targets alone mean cross-entropy (integers) or squared
        error (reals); with neither, the output times a fixed normal tensor.
    training
        The mode to look in; None keeps the mode that each module is in.
    seed
        Seeds dropout and the random direction.
    budget
        How many entries, samples and units are read of each tensor; None for the default.
    optimiser
        Whom the verdicts are for: ``"sgd"``, ``"adam"``, or None for both.
    note
        What a reader of the result should know of the batch.
    measures
        Measures of the representations to add, by their names in ``measure.REPRESENTATION_MEASURES``.

    Examples
    --------
    >>> import torch
    >>> from firstlight.probe import Protocol
    >>> value, what = Protocol(targets=torch.tensor([0, 1])).objective(torch.zeros(2, 2))
    >>> round(float(value), 4), what
    (0.6931, 'cross-entropy')

    Raises
    ------
    AuditError
        If a value is none that the field takes; the message says what to pass.
    """

    targets: Any = None
    loss: Loss | str | None = None
    training: bool | None = True
    seed: int = 0
    budget: Budget | None = None
    optimiser: str | None = None
    note: str = ""
    measures: tuple[str, ...] | str = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "measures", _measures(self.measures))
        _check("training", self.training, (bool, type(None)), "True, False or None", _MODES)
        _check("budget", self.budget, (Budget, type(None)), "a firstlight.probe.Budget or None", _BUDGET)
        _check("seed", self.seed, (int,), "a whole number", "pass seed=0")
        if not -(2**63) <= self.seed < 2**64:
            raise AuditError(
                f"while setting up an audit: expected seed to be a number of 64 bits, got {self.seed:.3e}; pass seed=0"
            )
        if isinstance(self.loss, str):
            targets, loss = named_loss(self.loss, self.targets)
            object.__setattr__(self, "targets", targets)
            object.__setattr__(self, "loss", loss)
        elif self.loss is not None and (isinstance(self.loss, type) or not callable(self.loss)):
            got = self.loss.__name__ if isinstance(self.loss, type) else type(self.loss).__name__
            raise AuditError(
                f"while setting up an audit: expected loss to be a function of output and targets, a name or None, "
                f"got {got}; pass for example loss={got}() or loss='cross-entropy'"
            )

    def objective(self, output: object) -> tuple[Tensor, str]:
        """The number that is differentiated at an output of the model, and its name.

        Raises
        ------
        AuditError
            If the output holds no floating tensor, or does not fit the targets or the loss.
        """
        loss = None if isinstance(self.loss, str) else self.loss
        return scalar_loss(output, self.targets, loss, torch.Generator().manual_seed(self.seed))


def _measures(names: object) -> tuple[str, ...]:
    """The names of measures, each once."""
    if not isinstance(names, (str, tuple, list)):
        raise AuditError(
            f"while setting up an audit: expected measures to be names, got {names!r:.60} "
            f"({type(names).__name__}); pass for example measures=('vne', 'zeros')"
        )
    try:
        return tuple(m.name for m in chosen_measures(names, "setting up an audit"))
    except DomainError as error:
        raise AuditError(str(error)) from error


LOSSES: dict[str, Loss | None] = {
    "auto": None,
    "none": None,
    "cross-entropy": F.cross_entropy,
    "mse": F.mse_loss,
}
_MODES = "pass training=True to audit as an optimiser sees the model, training=False for evaluation"
_BUDGET = "pass for example budget=Budget(entries=1000)"


def named_loss(name: str, targets: object) -> tuple[Any, Loss | None]:
    """Targets and loss by a name that the command line takes; both None for a random direction of the output.

    Raises
    ------
    AuditError
        If no loss has this name, or the loss needs targets and there are none.

    Examples
    --------
    >>> from firstlight.probe.protocol import named_loss
    >>> named_loss("none", targets=[1, 2])
    (None, None)
    """
    if name not in LOSSES:
        raise AuditError(
            f"while setting up an audit: expected a loss that is a function or one of {', '.join(LOSSES)}, "
            f"got {name!r}{did_you_mean(name, LOSSES)}"
        )
    loss = LOSSES[name]
    if loss is not None and targets is None:
        raise AuditError(
            f"while setting up an audit: expected targets for the loss {name}, got none; pass targets=…, or "
            "loss='none' for a random direction of the output"
        )
    return (None if name == "none" else targets), loss


def _check(name: str, value: object, kinds: tuple[type, ...], expected: str, todo: str) -> None:
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise AuditError(
            f"while setting up an audit: expected {name} to be {expected}, got {value!r:.60} "
            f"({type(value).__name__}); {todo}"
        )
