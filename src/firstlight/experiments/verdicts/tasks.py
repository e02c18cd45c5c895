"""The data of the study: digits, MNIST, Fashion-MNIST, and sequences of tokens that name their class at first."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from firstlight.data import load
from firstlight.experiments.verdicts.networks import TOKENS
from firstlight.experiments.verdicts.starts import Architecture

COUNT = 1024
_TOLD = 0.7  # share of the first quarter's tokens that are the class
_LENGTH = 16


class Tasks:
    """Training samples for every architecture; sets are read once.

    Parameters
    ----------
    directory
        Where MNIST and Fashion-MNIST lie; the variable ``FIRSTLIGHT_DATA`` by default.
    """

    def __init__(self, directory: str | None = None) -> None:
        self.directory = directory
        self._images: dict[str, tuple[Tensor, Tensor]] = {}

    def samples(self, one: Architecture) -> tuple[Tensor, Tensor, int, int]:
        """Inputs, classes, features (0 for tokens), and places (1 where there is no sequence)."""
        if one.data == "tokens":
            length = one.depth if one.family == "recurrent" else _LENGTH
            tokens, targets = tokens_told_first(COUNT, length)
            if one.family in ("transformer", "recurrent"):
                return tokens, targets, 0, length
            flat = functional.one_hot(tokens, TOKENS).float().flatten(1)
            return (flat - flat.mean()) / flat.std(), targets, flat.shape[1], 1
        images, targets = self._set(one.data)
        side = images.shape[-1]
        if one.images:
            return images.unsqueeze(1), targets, 1, 1
        if one.family in ("transformer", "recurrent"):
            return images, targets, side, side
        return images.flatten(1), targets, side * side, 1

    def _set(self, name: str) -> tuple[Tensor, Tensor]:
        """Standardised square images and classes; those of 28×28 at half their resolution."""
        if name not in self._images:
            data = load(name, directory=self.directory, count=COUNT, seed=0, normalise="unit")
            assert data.targets is not None
            x = data.inputs.float()
            side = round((x[0].numel()) ** 0.5)
            x = x.reshape(len(x), 1, side, side)
            x = functional.avg_pool2d(x, 2) if side == 28 else x
            self._images[name] = ((x - x.mean()) / x.std()).squeeze(1), data.targets
        return self._images[name]


def tokens_told_first(count: int, length: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random tokens, and the class that most tokens of the first quarter name."""
    g = torch.Generator().manual_seed(seed + length)
    targets = torch.randint(TOKENS, (count,), generator=g)
    tokens = torch.randint(TOKENS, (count, length), generator=g)
    first = max(length // 4, 2)
    told = torch.rand(count, first, generator=g) < _TOLD
    tokens[:, :first] = torch.where(told, targets.unsqueeze(1), tokens[:, :first])
    return tokens, targets
