"""What a training gave: every epoch of every seed, how each seed ended, and the test after the last epoch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from firstlight.files.plain_data import Record
from firstlight.training.seeds.plan import TrainingPlan

End = Literal["cap", "early", "diverged"]


@dataclass(frozen=True)
class SeedEpoch:
    """One epoch of one seed.

    Attributes
    ----------
    epoch
        Its number, from 1.
    loss, accuracy
        Means over the epoch's training samples, each as its step found it.
    validation_loss, validation_accuracy
        After the epoch.
    learning_rate
        That of the epoch.
    seconds
        Wall time of the epoch, of all seeds together.
    """

    epoch: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class SeedRun:
    """One seed.

    Attributes
    ----------
    seed
        The seed.
    epochs
        What was measured.
    end
        ``"early"`` where the validation loss fell no more, ``"cap"`` at the plan's number of epochs, ``"diverged"``
        where the loss or a weight was not finite.
    best_epoch
        The epoch of the lowest validation loss; 0 where no epoch had a finite one.
    test_loss, test_accuracy
        With the weights of the best epoch, on the test part, which is looked at after training only.
    last_test_loss, last_test_accuracy
        With the weights of the last epoch.
    diverged_step
        Step of the last epoch, from 1, whose loss was not finite; 0 where all were.
    """

    seed: int
    epochs: tuple[SeedEpoch, ...]
    end: End
    best_epoch: int
    test_loss: float
    test_accuracy: float
    last_test_loss: float
    last_test_accuracy: float
    diverged_step: int = 0

    @property
    def loss(self) -> float:
        """Mean training loss of the last epoch; NaN for a seed that diverged."""
        return self.epochs[-1].loss if self.epochs and self.end != "diverged" else math.nan


@dataclass(frozen=True)
class TrainingResult:
    """What ``train_seeds`` gives.

    Attributes
    ----------
    plan
        What was trained.
    runs
        One for each seed, in the plan's order.
    resumed_from
        Epoch that was read from the folder; 0 for a fresh run.
    """

    plan: TrainingPlan
    runs: tuple[SeedRun, ...]
    resumed_from: int = 0

    def rows(self) -> list[Record]:
        """One mapping for every epoch of every seed."""
        return [{"seed": run.seed, **asdict(epoch)} for run in self.runs for epoch in run.epochs]

    def mean(self, name: str) -> tuple[float, float]:
        """Mean and standard error over seeds of a number of ``SeedRun``; seeds where the number is NaN are left out.

        One seed has the standard error NaN.
        """
        values = np.array([float(getattr(run, name)) for run in self.runs])
        values = values[np.isfinite(values)]
        if len(values) == 0:
            return math.nan, math.nan
        error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
        return float(values.mean()), error

    @property
    def diverged(self) -> tuple[int, ...]:
        """The seeds that diverged."""
        return tuple(run.seed for run in self.runs if run.end == "diverged")

    def to_dict(self) -> Record:
        """Plain data, for JSON."""
        return {"plan": self.plan.to_dict(), "runs": [asdict(run) for run in self.runs]}

    def __repr__(self) -> str:
        loss, accuracy = self.mean("loss"), self.mean("test_accuracy")
        return (
            f"TrainingResult({self.plan.label}, seeds={len(self.runs)}, loss={loss[0]:.4g}, "
            f"test_accuracy={accuracy[0]:.4g}, diverged={len(self.diverged)})"
        )
