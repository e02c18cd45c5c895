"""Where a training stands between two epochs: tensors with a row for each seed, and what is known of each seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from firstlight.files.plain_data import Record
from firstlight.training.seeds.plan import TrainingPlan
from firstlight.training.seeds.result import SeedEpoch
from firstlight.training.seeds.rules import TrainingRules, Watch


@dataclass
class Standing:
    """What is known of one seed.

    Attributes
    ----------
    seed, rate, steps
        The seed, its learning rate, and the steps it has made.
    plateau, stop
        The counts of epochs without gain.
    epochs
        What was measured.
    best_epoch, best_loss
        The epoch of the lowest validation loss.
    end
        ``""`` while it trains, ``"early"`` or ``"diverged"``.
    diverged_step
        As in ``SeedRun``.
    """

    seed: int
    rate: float
    plateau: Watch
    stop: Watch
    steps: int = 0
    epochs: list[SeedEpoch] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf
    end: str = ""
    diverged_step: int = 0

    def to_dict(self) -> Record:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Standing:
        """What ``to_dict`` wrote."""
        epochs = [SeedEpoch(**row) for row in data["epochs"]]
        watches = {name: Watch(**data[name]) for name in ("plateau", "stop")}
        return cls(**{**data, "epochs": epochs, **watches})

    def see(self, epoch: SeedEpoch, rules: TrainingRules) -> None:
        """Take in an epoch with finite losses: note it, lower the rate on a plateau, stop where nothing is gained."""
        self.epochs.append(epoch)
        self.plateau = self.plateau.after(epoch.loss)
        if self.plateau.waited >= rules.plateau_epochs:
            self.rate *= rules.rate_factor
            self.plateau = self.plateau.rested()
        self.stop = self.stop.after(epoch.validation_loss)
        if self.stop.waited >= rules.stop_epochs:
            self.end = "early"


@dataclass
class State:
    """All that the next epoch depends on.

    Attributes
    ----------
    weights, mean, square, best
        ``(seeds, parameters)`` each: the parameters, Adam's two averages, the parameters of the best epoch.
    seeds
        What is known of each seed.
    epoch
        Epochs done.
    """

    weights: Tensor
    mean: Tensor
    square: Tensor
    best: Tensor
    seeds: list[Standing]
    epoch: int = 0

    @classmethod
    def fresh(cls, plan: TrainingPlan, start: Tensor) -> State:
        """The state before the first epoch."""
        rules = plan.rules
        seeds = [
            Standing(seed, rules.learning_rate, Watch(rules.plateau_gain), Watch(rules.stop_gain))
            for seed in plan.seeds
        ]
        zeros = torch.zeros_like(start)
        return cls(start.clone(), zeros, zeros.clone(), start.clone(), seeds)

    @property
    def active(self) -> list[int]:
        """Places of the seeds that still train."""
        return [i for i, one in enumerate(self.seeds) if not one.end]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return {name: getattr(self, name) for name in ("weights", "mean", "square", "best")}
