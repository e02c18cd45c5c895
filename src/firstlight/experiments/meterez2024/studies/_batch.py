"""The batch that the studies of this paper send through their networks, and slopes of what comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from firstlight.experiments.meterez2024.gradients import gaussian_batch
from firstlight.experiments.study import Settings

NOISE = "noise"


def image_batch(settings: Settings, samples: int, *, width: int) -> tuple[str, Tensor]:
    """A batch of CIFAR-10, of another image set, or of independent N(0, 1) for ``--data noise``; (name, batch)."""
    name = settings.data or "cifar10"
    if name == NOISE:
        return name, gaussian_batch(samples, width, seed=settings.seed)
    from firstlight import data

    place = None if settings.directory is None else Path(settings.directory)
    return name, data.load(name, directory=place, count=samples, seed=settings.seed).inputs.flatten(
        1
    ).double()


def slope(depths: list[float], values: list[float]) -> tuple[float, float]:
    """Least-squares slope of values against depth, with its standard error from the residuals."""
    x, y = np.array(depths), np.array(values)
    centred = x - x.mean()
    spread = float((centred**2).sum())
    found = float((centred * y).sum() / spread)
    left = y - y.mean() - found * centred
    return found, float(np.sqrt((left**2).sum() / max(len(x) - 2, 1) / spread))
