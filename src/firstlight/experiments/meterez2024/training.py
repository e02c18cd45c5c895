"""Training of deep batch-normalised networks: accuracy and orthogonality by epoch, figures 4 and 6 of the paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from firstlight.builders import NormOptions, isometric_mlp
from firstlight.data import Dataset, load
from firstlight.errors import DomainError
from firstlight.experiments.meterez2024.figure import Figure, Row
from firstlight.files import named_inside, own_folder
from firstlight.training import Epoch, TrainingRun, train


@dataclass(frozen=True)
class Setting:
    """One network of figures 5 and 6."""

    activation: str = "linear"
    weights: str = "orthogonal"
    gain_exponent: float = 0.0
    learning_rate: float = 0.001
    depth: int = 100
    width: int = 100
    batch: int = 100

    @property
    def label(self) -> str:
        """How it is called in a legend."""
        return f"{self.activation}, {self.weights}, depth {self.depth}"


SETTINGS: tuple[Setting, ...] = (
    Setting("linear"),
    Setting("sin", gain_exponent=0.4, learning_rate=0.01),
    Setting("tanh", gain_exponent=0.4, learning_rate=0.01),
    Setting("sin", "normal", gain_exponent=0.4, learning_rate=0.01),
)


def splits(data: str = "digits", *, directory: str | None = None, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Training and test samples: the official parts; for digits, which have none, 1400 and 397 at random.

    Raises
    ------
    DomainError
        If the data have no classes.
    """
    parts = [load(data, directory=directory, train=part, normalise="unit") for part in (True, False)]
    if any(part.targets is None for part in parts):
        raise DomainError(
            f"while choosing what to train on: expected data with classes, got {data!r}, which has none; name an image "
            "set such as digits, or a file with targets"
        )
    if data != "digits":
        mean, std = parts[0].inputs.mean(), parts[0].inputs.std()
        first, second = (replace(part, inputs=(part.inputs - mean) / std) for part in parts)
        return first, second
    inputs = torch.cat([part.inputs for part in parts])
    labels = torch.cat([part.targets for part in parts if part.targets is not None])
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
    scaled = (inputs - inputs.mean()) / inputs.std()
    train_rows, test_rows = order[:1400], order[1400:]
    return (
        replace(parts[0], inputs=scaled[train_rows], targets=labels[train_rows]),
        replace(parts[0], inputs=scaled[test_rows], targets=labels[test_rows]),
    )


def train_setting(
    setting: Setting,
    data: Dataset,
    test: Dataset,
    *,
    epochs: int,
    seed: int = 0,
    checkpoints: str | Path | None = None,
    on_epoch: Callable[[Epoch], object] | None = None,
) -> TrainingRun:
    """Train one network by the paper's protocol; with a folder for checkpoints it resumes where it stopped."""
    model = isometric_mlp(
        data.inputs[0].numel(), data.classes or 10, depth=setting.depth, width=setting.width,
        activation=setting.activation, gain_exponent=setting.gain_exponent,
        weights=setting.weights,  # type: ignore[arg-type]
        norm=NormOptions(track_running_stats=True), generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    sizes = (setting.width, setting.batch)
    name = f"{data.name}-{setting.label}-{seed}{'' if sizes == (100, 100) else f'-{sizes[0]}-{sizes[1]}'}"
    return train(
        model, data, test, epochs=epochs, learning_rate=setting.learning_rate, batch=setting.batch, seed=seed,
        on_epoch=on_epoch,
        checkpoint=None if checkpoints is None else named_inside(own_folder(checkpoints), name, ".pt"),
    )  # fmt: skip


def figures_4_and_6(
    settings: Sequence[Setting] = SETTINGS,
    *,
    data: str = "digits",
    directory: str | None = None,
    epochs: int = 5,
    seed: int = 0,
    checkpoints: str | Path | None = None,
) -> tuple[Figure, Figure]:
    """Training accuracy by epoch (4), and isometry gap of the weights of the middle layers by epoch (6).

    The paper trains depths 100, 500 and 1000 for about 1000 epochs on CIFAR-10 and MNIST: pass ``data`` and a
    folder for ``checkpoints``, and call again to continue.

    Examples
    --------
    >>> from firstlight.experiments import meterez2024
    >>> setting = meterez2024.Setting(depth=5, width=20, learning_rate=0.05)
    >>> accuracy, gap = meterez2024.figures_4_and_6([setting], epochs=1)
    >>> len(accuracy.rows), len(gap.rows)
    (4, 2)
    """
    first, second = splits(data, directory=directory, seed=seed)
    accuracy: list[Row] = []
    gaps: list[Row] = []
    for setting in settings:
        run = train_setting(setting, first, second, epochs=epochs, seed=seed, checkpoints=checkpoints)
        for epoch in run.history:
            for part in ("train", "test"):
                value = getattr(epoch, f"{part}_accuracy")
                accuracy.append(
                    {"network": f"{setting.label}, {part}", "epoch": epoch.epoch, "accuracy": value}
                )
            gaps.append(
                {"network": setting.label, "epoch": epoch.epoch, "weight gap": epoch.weight_gap_middle}
            )
    facts = {"data": data, "epochs": epochs, "seed": seed}
    return (
        Figure("Figure 4", "Accuracy on recalibrated statistics.", tuple(accuracy), "epoch", "accuracy", "network",
               facts=facts),
        Figure("Figure 6", "Isometry gap of the weights of the middle layers: they stay near orthogonal.",
               tuple(gaps), "epoch", "weight gap", "network", facts=facts),
    )  # fmt: skip


def figure_4(settings: Sequence[Setting] = SETTINGS, **options: Any) -> Figure:
    """Accuracy by epoch; see `figures_4_and_6`."""
    return figures_4_and_6(settings, **options)[0]


def figure_6(settings: Sequence[Setting] = SETTINGS, **options: Any) -> Figure:
    """Isometry gap of the middle weights by epoch; see `figures_4_and_6`."""
    return figures_4_and_6(settings, **options)[1]
