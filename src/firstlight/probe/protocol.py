"""Protocol: how a model is looked at, as one object that passes through every hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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

    Examples
    --------
    >>> import torch
    >>> from firstlight.probe import Protocol
    >>> value, what = Protocol(targets=torch.tensor([0, 1])).objective(torch.zeros(2, 2))
    >>> round(float(value), 4), what
    (0.6931, 'cross-entropy')
    """

    targets: Any = None
    loss: Loss | None = None
    training: bool | None = True
    seed: int = 0
    budget: Budget | None = None
    optimiser: str | None = None

    def objective(self, output: Any) -> tuple[Tensor, str]:
        """The number that is differentiated at an output of the model, and its name.

        Raises
        ------
        AuditError
            If the output holds no floating tensor, or does not fit the targets or the loss.
        """
        return scalar_loss(output, self.targets, self.loss, torch.Generator().manual_seed(self.seed))
