"""The images of a plan: training and validation by the seed, the official test part, and their fingerprint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from firstlight.data import Dataset, load
from firstlight.errors import DomainError
from firstlight.training.seeds.plan import TrainingPlan

# samples of the training part that are set aside to validate: 60k = 50k + 10k and 50k = 42k + 8k
_VALIDATION = {"mnist": 10_000, "fashion-mnist": 10_000, "cifar10": 8_000}
_SIDE = 32


@dataclass(frozen=True)
class Part:
    """Images with their classes."""

    images: Float[Tensor, n * shape]
    classes: Int64[Tensor, " n"]


@dataclass(frozen=True)
class Images:
    """What a plan trains on, validates with and tests on.

    Attributes
    ----------
    known, test
        The official training part, of which each seed makes its own split, and the official test part.
    count
        Number of classes.
    """

    known: Part
    test: Part
    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return tuple(self.known.images.shape[1:])


def load_images(plan: TrainingPlan, *, directory: str | Path | None, download: bool) -> Images:
    """The images of a plan, standardised per channel; for a LeNet padded to 32×32.

    Raises
    ------
    LoadError
        The data is missing or damaged; the message says what to fetch.
    DomainError
        Data without classes, or images that a LeNet cannot take.
    """
    parts = [
        load(plan.data, directory=directory, train=train, download=download, normalise="standardise")
        for train in (True, False)
    ]
    known, test = (_part(plan, part) for part in parts)
    count = parts[0].classes or int(known.classes.max()) + 1
    return Images(known, test, count)


def _part(plan: TrainingPlan, data: Dataset) -> Part:
    if data.targets is None or data.targets.is_floating_point() or not isinstance(data.inputs, Tensor):
        raise DomainError(
            f"while loading {plan.data} to train on: expected images with classes, got none; choose another set"
        )
    images = data.inputs.float()
    if plan.model == "lenet":
        return Part(_padded(images, data), data.targets)
    return Part(images.flatten(1), data.targets)


def _padded(images: Tensor, data: Dataset) -> Tensor:
    """The images in the middle of 32×32, black around."""
    if images.ndim != 4 or max(images.shape[2:]) > _SIDE:
        raise DomainError(
            f"while loading {data.name} for a LeNet: expected images of at most {_SIDE}×{_SIDE}, got samples of shape "
            f"{tuple(images.shape[1:])}; choose another set, or an mlp"
        )
    black = torch.tensor([-m / s for m, s in zip(data.mean, data.std, strict=True)]).view(1, -1, 1, 1)
    high, wide = (_SIDE - side for side in images.shape[2:])
    frame = (wide // 2, wide - wide // 2, high // 2, high - high // 2)
    return functional.pad(images - black, frame).add_(black)


def split(plan: TrainingPlan, samples: int, seed: int) -> tuple[Int64[Tensor, " n"], Int64[Tensor, " m"]]:
    """Numbers of the samples that a seed trains on, and of those that it validates with.

    MNIST gives 50 000 and 10 000, CIFAR-10 42 000 and 8 000, another set five sixths and one sixth; of each the
    plan's fraction.

    Raises
    ------
    DomainError
        Too few samples for one of the two.

    Examples
    --------
    >>> from firstlight.training import TrainingPlan
    >>> from firstlight.training.seeds.images import split
    >>> [len(part) for part in split(TrainingPlan(data="mnist"), 60_000, seed=0)]
    [50000, 10000]
    """
    aside = _VALIDATION.get(plan.data, samples // 6)
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed))
    kept = [round(plan.fraction * n) for n in (samples - aside, aside)]
    if kept[0] < 1 or kept[1] < 1:
        raise DomainError(
            f"while splitting {plan.data}: expected at least one image to train on and one to validate with, got "
            f"{kept[0]} and {kept[1]} of {samples}; raise the fraction"
        )
    return order[: kept[0]], order[samples - aside : samples - aside + kept[1]]
