"""One third-party architecture: how to build it small and offline, and a batch of the shape it really takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

SAMPLES = 8


@dataclass(frozen=True)
class Case:
    """An architecture of the compatibility table.

    ``build`` draws random weights from torch's global generator; nothing is fetched. ``batch`` is called after.
    """

    name: str
    library: str
    build: Callable[[], nn.Module]
    batch: Callable[[], Any]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tokens(vocabulary: int, length: int = 16, samples: int = SAMPLES) -> Tensor:
    # the first numbers are often reserved for padding and the like
    return torch.randint(5, vocabulary, (samples, length), generator=seeded())


def images(size: int = 32, channels: int = 3, samples: int = SAMPLES) -> Tensor:
    return torch.randn(samples, channels, size, size, generator=seeded())


def series(length: int = 16, features: int = 8, samples: int = SAMPLES) -> Tensor:
    return torch.randn(samples, length, features, generator=seeded())
