"""Random chains of layers on one input, drawn by the exact samplers of ensembles: mean squares network by network."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from firstlight.ensemble.samplers import sampler_for


def chain(
    phi: Callable[[Tensor], Tensor],
    *,
    nets: int,
    width: int,
    depth: int,
    sigma_w: float = 1.0,
    sigma_b: float = 0.0,
    orthogonal: bool = False,
    generator: torch.Generator,
) -> Tensor:
    """Mean of z² over the units of each layer: networks × layers, in float64.

    The first layer has N(0, 1) units; with orthogonal weights their norm is exactly √width, as an orthogonal first
    layer leaves that of its input. Biases are independent of everything else.
    """
    z = torch.randn(nets, width, 1, dtype=torch.float64, generator=generator)
    if orthogonal:
        z = z / z.square().mean(1, keepdim=True).sqrt()
    sampler = sampler_for("orthogonal" if orthogonal else "normal", sigma_w=sigma_w, sigma_b=sigma_b)
    means = [z.square().mean(1)]
    for _ in range(depth - 1):
        z, _ = sampler.forward(phi(z), width, generator)
        means.append(z.square().mean(1))
    return torch.cat(means, 1)


def relative_spread(means: Tensor) -> tuple[Tensor, Tensor]:
    """n·Var(K̂)/K² without n, layer by layer, and its standard error over networks (delta method)."""
    centre = means.mean(0)
    relative = means / centre - 1
    spread = relative.square().mean(0)
    # to first order, the error of the mean K moves (K̂/K − 1)² by −2(K̂/K − 1)·spread
    influence = relative.square() - spread - 2 * spread * relative
    return spread, influence.std(0) / math.sqrt(len(means))
