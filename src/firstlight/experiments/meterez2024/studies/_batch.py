"""The batch that the studies of this paper send through their networks, and slopes of what comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def input_level(features: int, width: int, *, weights: str = "orthogonal") -> float:
    """What a first layer of n₀ inputs adds to log ‖∇W₁‖, beside one of as many inputs as units d.

    The norm after the first layer divides the gradient by the scale of W₁x, and ∇W₁ takes the scale of x from its
    inputs: what is left is ‖x‖ over the scale of W₁x. Orthonormal rows give ½ log(n₀/d), Xavier's
    ½ log((n₀ + d)/2d), whatever the scale and the mean of x.

    Examples
    --------
    >>> from firstlight.experiments.meterez2024.studies._batch import input_level
    >>> round(input_level(3072, 100), 3), input_level(100, 100)
    (1.712, 0.0)
    """
    ratio = features / width if weights == "orthogonal" else (features + width) / (2 * width)
    return 0.5 * math.log(ratio)


def beside_paper(row: Mapping[str, Any]) -> float:
    """log ‖∇W₁‖ less what the number of inputs adds: the paper's batches have as many features as units."""
    return float(row["log_grad"]) - float(row["input_level"])


def slope(depths: list[float], values: list[float]) -> tuple[float, float]:
    """Least-squares slope of values against depth, with its standard error from the residuals.

    Both are NaN for one depth; the error is NaN for two values, which leave no residual.
    """
    if len(set(depths)) < 2:
        return math.nan, math.nan
    x, y = np.array(depths), np.array(values)
    centred = x - x.mean()
    spread = float((centred**2).sum())
    found = float((centred * y).sum() / spread)
    left = y - y.mean() - found * centred
    error = math.sqrt(float((left**2).sum()) / (len(x) - 2) / spread) if len(x) > 2 else math.nan
    return found, error
