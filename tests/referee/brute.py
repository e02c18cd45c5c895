"""Brute force: Gaussian means by strata, networks by their matrices, units that are independent by definition."""

from __future__ import annotations

import math

import numpy as np
import torch

from firstlight import RandomNetwork, weights

REPLICATES, STRATA = 24, 8192


def normals(seed: int, shuffled: bool = False) -> torch.Tensor:
    """(replicates, strata) standard normal values, one in each stratum of equal probability."""
    g = torch.Generator().manual_seed(seed)
    u = (
        torch.arange(STRATA, dtype=torch.float64)
        + torch.rand(REPLICATES, STRATA, generator=g, dtype=torch.float64)
    ) / STRATA
    z = torch.special.ndtri(u.clamp(1e-300, 1 - 1e-16))
    if shuffled:
        order = torch.rand(z.shape, generator=g).argsort(dim=1)
        z = z.gather(1, order)
    return z


def mean(values: torch.Tensor) -> tuple[float, float]:
    """Mean over all, and its standard error from the replicates.

    A jump changes one stratum, which may fall on the same side in every replicate: that much stays unknown.
    """
    parts = values.mean(dim=1)
    unseen = float(values.max() - values.min()) / STRATA / 2
    return float(parts.mean()), max(float(parts.std()), unseen) / math.sqrt(len(parts))


def layers(net: RandomNetwork, q0: float, *, nets: int, seed: int) -> list[torch.Tensor]:
    """Pre-activations (nets, units) of each layer, for an input of equal entries."""
    g = torch.Generator().manual_seed(seed)
    kind = {"generator": g, "dtype": torch.float64}
    h = torch.full((nets, net.in_features or 64), math.sqrt(q0), dtype=torch.float64)
    found: list[torch.Tensor] = []
    for index, width in enumerate(net.widths):
        law = net.law if index else net.first_law
        fan_in = h.shape[1]
        if not law.independent:
            size = max(width, fan_in)
            q, r = torch.linalg.qr(torch.randn(nets, size, size, **kind))
            matrix = (q * torch.diagonal(r, dim1=1, dim2=2).sign()[:, None])[:, :width, :fan_in] * size**0.5
            z = torch.einsum("kij,kj->ki", matrix, h)
        elif isinstance(law, weights.Normal):
            z = h.norm(dim=1, keepdim=True) * torch.randn(nets, width, **kind)
        else:
            z = torch.einsum("kij,kj->ki", law.sample((nets, width, fan_in), **kind), h)
        z = net.sigma_w / math.sqrt(fan_in) * z + net.sigma_b * torch.randn(nets, width, **kind)
        z = (
            net.branch * z + net.skip * found[-1]
            if index and net.skip
            else z * (net.branch if index else 1.0)
        )
        found.append(z)
        seen = z - z.mean(dim=1, keepdim=True) if net.norm == "layer" else z
        h = net.phi(
            seen / seen.square().mean(dim=1, keepdim=True).sqrt() if net.norm in ("layer", "rms") else seen
        )
        if net.dropout:
            h = h * (torch.rand(h.shape, **kind) >= net.dropout) / (1 - net.dropout)
    return found


def independent(net: RandomNetwork, q1: float, *, count: int, seed: int) -> list[torch.Tensor]:
    """Samples of one unit of layers 1, 2 and 3, each from a tree of its own: nothing is shared."""
    g = torch.Generator().manual_seed(seed)
    n = net.widths[0]
    found = []
    for layer in range(3):
        z = math.sqrt(q1) * torch.randn(count, n**layer, generator=g, dtype=torch.float64)
        for _ in range(layer):
            terms = net.law.sample(z.shape, generator=g, dtype=torch.float64) * net.phi(z)
            z = terms.view(count, -1, n).sum(dim=2) * net.sigma_w / math.sqrt(n)
            z = z + net.sigma_b * torch.randn(z.shape, generator=g, dtype=torch.float64)
        found.append(z[:, 0])
    return found


def batch_growth(net: RandomNetwork, batch: int, *, width: int, nets: int, seed: int) -> tuple[float, float]:
    """Growth per layer of the squared gradient through batch norm without ε, in the middle of 12 layers."""
    g = torch.Generator().manual_seed(seed)
    logs = []
    for _ in range(nets):
        h = torch.randn(batch, width, generator=g, dtype=torch.float64).requires_grad_()
        kept = []
        for _ in range(12):
            w = torch.randn(width, width, generator=g, dtype=torch.float64) / math.sqrt(width)
            z = net.sigma_w * h @ w.T
            z.retain_grad()
            kept.append(z)
            centred = z - z.mean(dim=0)
            h = net.phi(centred / centred.square().mean(dim=0).sqrt())
        grad = torch.randn(h.shape, generator=g, dtype=torch.float64)
        h.backward(grad - grad.mean(dim=0))
        squares = [float(z.grad.square().sum()) for z in kept]
        logs.append(math.log(squares[3] / squares[9]) / 6)
    return float(np.exp(np.mean(logs))), float(np.exp(np.mean(logs)) * np.std(logs, ddof=1) / math.sqrt(nets))
