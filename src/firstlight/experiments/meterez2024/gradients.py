"""Isometry gap and gradients of fresh batch-normalised networks against depth: figures 1 to 3 in our sizes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from firstlight.builders import LogGradients, NormOptions, isometric_mlp, log_gradients
from firstlight.errors import PropagationWarning
from firstlight.experiments.meterez2024.figure import Figure, Row
from firstlight.theory import batchnorm

UNCENTRED = NormOptions(centred=False, eps=0.0)


def gaussian_batch(samples: int, width: int, *, seed: int = 0, duplicates: int = 0) -> Tensor:
    """Independent N(0, 1) samples, the last few of them copies of the first few."""
    x = torch.randn(samples, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if duplicates:
        x[samples - duplicates :] = x[:duplicates].clone()
    return x


def gradients_at_start(
    x: Tensor, *, depth: int, width: int, seed: int = 0, norm: NormOptions = UNCENTRED, **options: Any
) -> LogGradients:
    """Log gradient norms of a fresh network on a batch, cross-entropy with ten random labels, in float64."""
    generator = torch.Generator().manual_seed(seed)
    with warnings.catch_warnings():
        # that some of these explode is what the figures are about
        warnings.simplefilter("ignore", PropagationWarning)
        model = isometric_mlp(
            x[0].numel(), 10, depth=depth, width=width, norm=norm, generator=generator, **options
        ).double()
    labels = torch.randint(0, 10, (len(x),), generator=generator)
    return log_gradients(model, x.double(), lambda y: functional.cross_entropy(y, labels))


def figure_1(*, width: int = 32, depth: int = 300, draws: int = 2) -> Figure:
    """Isometry gap against depth: orthogonal and Gaussian weights, on Gaussian inputs.

    The paper: width = batch of 50 and 100, depth 100, a batch next to the identity, orthogonal weights.

    Examples
    --------
    >>> from firstlight.experiments import meterez2024
    >>> sorted(meterez2024.figure_1(width=8, depth=20, draws=1).lines())
    ['normal', 'orthogonal']
    """
    rows: list[Row] = []
    for weights in ("orthogonal", "normal"):
        for draw in range(draws):
            x = gaussian_batch(width, width, seed=draw)
            generator = torch.Generator().manual_seed(draw)
            chain = batchnorm.gap_chain(x.T, depth, weights=weights, draws=1, generator=generator)[0]
            rows += [
                {"weights": weights, "draw": draw, "layer": layer, "isometry gap": float(gap)}
                for layer, gap in enumerate(chain.tolist())
            ]
    return Figure(
        "Figure 1", "The gap decays with orthogonal weights and diverges with Gaussian ones.", tuple(rows), "layer",
        "isometry gap", "weights", ("linear", "log"), {"width": width, "batch": width, "draws": draws},
    )  # fmt: skip


def figure_2(*, width: int = 32, depth: int = 300, duplicates: Sequence[int] = (0, 4, 8, 16)) -> Figure:
    """Gradient of the first layer against depth for batches with repeated samples: they explode.

    Examples
    --------
    >>> from firstlight.experiments import meterez2024
    >>> len(meterez2024.figure_2(width=8, depth=20, duplicates=(0, 4)).lines())
    2
    """
    rows = []
    for count in duplicates:
        x = gaussian_batch(width, width, duplicates=count)
        for deep in depths(depth):
            found = gradients_at_start(x, depth=deep, width=width)
            rows.append({"repeated": count, "depth": deep, "log ‖∇W₁‖": float(found.log_norms[0])})
    return Figure(
        "Figure 2", "Repeated samples make the batch degenerate, and the gradient explodes with depth.",
        tuple(rows), "depth", "log ‖∇W₁‖", "repeated", facts={"width": width, "batch": width},
    )  # fmt: skip


def figure_3(*, width: int = 32, depth: int = 300, draws: int = 2) -> Figure:
    """Gradient of the first layer against depth: orthogonal and Gaussian weights, on Gaussian inputs.

    The paper: width = batch = 100, images of CIFAR-10, depths to 1000.

    Examples
    --------
    >>> from firstlight.experiments import meterez2024
    >>> len(meterez2024.figure_3(width=8, depth=20, draws=1).rows)
    6
    """
    rows: list[Row] = []
    for weights in ("orthogonal", "normal"):
        for draw in range(draws):
            x = gaussian_batch(width, width, seed=draw)
            for deep in depths(depth):
                found = gradients_at_start(x, depth=deep, width=width, seed=draw, weights=weights)
                value = float(found.log_norms[0])
                rows.append({"weights": weights, "draw": draw, "depth": deep, "log ‖∇W₁‖": value})
    return Figure(
        "Figure 3", "The gradient of the first layer is bounded with orthogonal weights only.", tuple(rows), "depth",
        "log ‖∇W₁‖", "weights", facts={"width": width, "batch": width, "draws": draws},
    )  # fmt: skip


def depths(depth: int) -> list[int]:
    """A few depths up to the largest."""
    return sorted({max(depth // 4, 1), max(depth // 2, 1), depth})
