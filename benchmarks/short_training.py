"""A short training of a classifier on drawn batches, and the loss that it ends with."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def last_loss(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    data: tuple[Tensor, Tensor],
    judged: tuple[Tensor, Tensor],
    *,
    steps: int,
    batch: int,
    seed: int,
) -> float:
    """Cross-entropy on the judged samples after the steps; infinite where training diverged."""
    g = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(data[0]), (batch,), generator=g)
        loss = functional.cross_entropy(model(data[0][rows]), data[1][rows])
        if not math.isfinite(float(loss.detach())):
            return math.inf
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        last = float(functional.cross_entropy(model(judged[0]), judged[1]))
    return last if math.isfinite(last) else math.inf
