"""Rounding: the noise that few bits put into signals and gradients, carried through the layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from firstlight.activations import uniform_quantiser
from firstlight.errors import DomainError
from firstlight.theory.maps.layer import LayerMap

# Widest panel of the integral over one cell of the quantiser, in deviations, and where the last one ends.
_PANEL, _END = 0.25, 9.0


def rounding_noise(
    q: Sequence[float], steps: Sequence[tuple[float, float]], bits: int
) -> tuple[np.ndarray, np.ndarray]:
    r"""Noise over signal of rows and of their gradients, behind the rounding of each row.

    .. math:: N_{l+1} = χ_l N_l + R_l, \qquad \text{forward: } (N_l + ε q_l)/q_l, \qquad
              \text{backward: } (L - l + 1)\, ε

    ε is the error of the best even quantiser of a normal entry; χ and R are the pairs of ``steps``
    (`rounded_layer`): a small error that comes in grows as a squared gradient does. A gradient is linear in the one
    behind it, so its noise grows as itself and errors add.

    Parameters
    ----------
    q
        Second moment of every row.
    steps
        For every row but the last: χ, and the variance R that rounding this row adds to the next.
    bits
        From 1 to 12.

    Raises
    ------
    DomainError
        Bits outside this range.
    """
    error = uniform_quantiser(bits).error
    noise = np.empty(len(q))
    carried = 0.0
    for i, size in enumerate(q):
        noise[i] = (carried + error * size) / size if size > 0 else math.nan
        if i < len(steps):
            chi, fresh = steps[i]
            carried = chi * carried + fresh
    return noise, error * np.arange(len(q), 0, -1.0)


def rounded_layer(layer: LayerMap, q: float, bits: int) -> tuple[float, float]:
    r"""The factor χ of a small error of z, and the variance that rounding z adds behind the layer.

    .. math:: R = s^2 ε q + a^2 \frac{σ_w^2}{1 - p} E\big(φ(\sqrt{\hat q} G) - φ(\sqrt{\hat q}\, Q(G))\big)^2

    The error of one rounding is not small in the clipped tails, where a saturated φ does not feel it.

    Raises
    ------
    DomainError
        φ has a jump, which a small error crosses as a whole step, or bits outside 1 to 12.
    """
    if layer.phi.jumps:
        raise DomainError(
            f"while predicting the noise of rounding: expected a continuous activation, got jumps of "
            f"{layer.phi.name!r} at {layer.phi.jumps[:4]}; a small error crosses a jump as a whole step"
        )
    error = uniform_quantiser(bits).error
    g, rounded, weight = _cells(bits)
    seen = 1.0 if layer.norm else math.sqrt(q)
    change = (layer.phi(seen * g) - layer.phi(seen * rounded)).square()
    inner = layer.branch**2 * layer.sigma_w2 / (1 - layer.dropout)
    true = layer if layer.phi.backward is None else layer.with_(phi=replace(layer.phi, backward=None))
    return float(true.chi(q)), layer.skip**2 * error * q + inner * float((weight * change).sum())


@lru_cache(maxsize=16)
def _cells(bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes g, the levels Q(g) and the weights of an integral over N(0, 1) that is smooth in every cell."""
    step, half = uniform_quantiser(bits).step, 2 ** (bits - 1)
    ends = [(k * step, (k + 1) * step if k < half - 1 else max(_END, k * step + 1), k) for k in range(half)]
    panels = [
        (low + (high - low) * i / count, low + (high - low) * (i + 1) / count, (k + 0.5) * step)
        for low, high, k in ends
        for count in [math.ceil((high - low) / _PANEL)]
        for i in range(count)
    ]
    low, high, level = (
        torch.tensor(side, dtype=torch.float64)[:, None] for side in zip(*panels, strict=True)
    )
    node, share = (torch.tensor(part, dtype=torch.float64) for part in np.polynomial.legendre.leggauss(8))
    g = (low + (high - low) * (node + 1) / 2).flatten()
    weight = ((high - low) / 2 * share).flatten() * torch.exp(-g.square() / 2) / math.sqrt(2 * math.pi)
    rounded = level.expand(-1, len(node)).flatten()
    return torch.cat([g, -g]), torch.cat([rounded, -rounded]), torch.cat([weight, weight])
