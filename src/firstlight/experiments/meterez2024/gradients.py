"""Isometry gap and gradients of fresh batch-normalised networks against depth: figures 1 and 2 in our sizes."""

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


def figure_1(*, width: int = 32, depth: int = 300, draws: int = 2) -> tuple[Figure, Figure]:
    """Isometry gap against depth, and gradient of the first layer against depth: orthogonal and Gaussian weights.

    The paper: width = batch = 100, depth 1000.

    Examples
    --------
    >>> from firstlight.experiments import meterez2024
    >>> gap, gradient = meterez2024.figure_1(width=8, depth=20, draws=1)
    >>> sorted(gap.lines()), len(gradient.rows)
    (['normal', 'orthogonal'], 6)
    """
    gaps: list[Row] = []
    grads: list[Row] = []
    for weights in ("orthogonal", "normal"):
        for draw in range(draws):
            x = gaussian_batch(width, width, seed=draw)
            generator = torch.Generator().manual_seed(draw)
            chain = batchnorm.gap_chain(x.T, depth, weights=weights, draws=1, generator=generator)[0]
            gaps += [
                {"weights": weights, "draw": draw, "layer": layer, "isometry gap": float(gap)}
                for layer, gap in enumerate(chain.tolist())
            ]
            for deep in depths(depth):
                found = gradients_at_start(x, depth=deep, width=width, seed=draw, weights=weights)
                value = float(found.log_norms[0])
                grads.append({"weights": weights, "draw": draw, "depth": deep, "log ‖∇W₁‖": value})
    facts = {"width": width, "batch": width, "draws": draws}
    return (
        Figure("Figure 1a", "The gap decays with orthogonal weights and diverges with Gaussian ones.",
               tuple(gaps), "layer", "isometry gap", "weights", ("linear", "log"), facts),
        Figure("Figure 1b", "The gradient of the first layer is bounded with orthogonal weights only.",
               tuple(grads), "depth", "log ‖∇W₁‖", "weights", facts=facts),
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


def depths(depth: int) -> list[int]:
    """A few depths up to the largest."""
    return sorted({max(depth // 4, 1), max(depth // 2, 1), depth})
