"""Dataset: inputs and targets in memory, and how they were scaled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from firstlight.data._limits import leaves, mapped
from firstlight.data._scaling import Normalise
from firstlight.errors import LoadError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples to feed to a model, all in memory.

    Attributes
    ----------
    inputs
        A tensor ``(samples, ...)``; from a function of the user, also what the model takes: a tuple or a dict.
    targets
        A tensor ``(samples, ...)``, class numbers for the image sets; None if there are none.
    name
        What it was loaded from.
    classes
        Number of classes, None where targets are no classes.
    normalise
        ``"standardise"``, ``"unit"`` or ``"raw"``: what was done to the inputs, see ``load``.
    mean, std
        What was subtracted and divided by, one number per channel; empty for raw inputs.

    Examples
    --------
    >>> from firstlight import data
    >>> noise = data.load("3x8x8", count=4, seed=0)
    >>> noise.inputs.shape, noise.targets, len(noise)
    (torch.Size([4, 3, 8, 8]), None, 4)
    """

    inputs: Any
    targets: Tensor | None = None
    name: str = ""
    classes: int | None = None
    normalise: Normalise = "raw"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __len__(self) -> int:
        """Number of samples: the length of the first tensor in the inputs."""
        return first_tensor(self.inputs, self.name).shape[0]

    def take(self, count: int | None, *, seed: int = 0) -> Dataset:
        """So many samples drawn without replacement, the same for the same seed; all, in order, for None.

        Raises
        ------
        LoadError
            If there are not so many samples, or the count is not positive.
        """
        if count is None:
            return self
        rows = choose(len(self), count, seed=seed, name=self.name)
        targets = None if self.targets is None else self.targets[rows]
        return replace(self, inputs=_rows(self.inputs, rows, len(self)), targets=targets)


def choose(available: int, count: int | None, *, seed: int, name: str) -> Tensor:
    """Numbers of the samples to take: all in order, or ``count`` drawn without replacement."""
    if count is None:
        return torch.arange(available)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise LoadError(
            f"while taking samples of {name}: expected a count ≥ 1, got {count!r}; ask for at least one"
        )
    if count > available:
        raise LoadError(
            f"while taking samples of {name}: expected at most {available}, which is all there are, got "
            f"{count}; "
            "ask for fewer"
        )
    return torch.randperm(available, generator=torch.Generator().manual_seed(seed))[:count]


def first_tensor(inputs: object, name: str) -> Tensor:
    """The first tensor with a sample dimension in nested tuples, lists and dicts.

    Raises
    ------
    LoadError
        If there is no such tensor.
    """
    for leaf in leaves(inputs, name):
        if isinstance(leaf, Tensor) and leaf.ndim > 0:
            return leaf
    raise LoadError(
        f"while reading {name or 'a data set'}: expected a tensor of samples, got {type(inputs).__name__} "
        "without one; "
        "give a tensor, or a tuple or dict of tensors whose first dimension counts the samples"
    )


def _rows(value: Any, rows: Tensor, samples: int) -> Any:
    """The chosen rows of every tensor that has one row per sample; anything else is left as it is."""

    def chosen(leaf: Any) -> Any:
        fits = isinstance(leaf, Tensor) and leaf.ndim > 0 and leaf.shape[0] == samples
        return leaf[rows] if fits else leaf

    return mapped(value, chosen)
