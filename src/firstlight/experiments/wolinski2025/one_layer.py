"""A pair in one layer: the distance of W·φ(X) to N(0, 1), the same in depth, and the pair's functions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from firstlight.errors import DomainError
from firstlight.files import memory
from firstlight.pairs import Pair
from firstlight.profile import Profile

BLOCK = 1 << 18


def product_ks(
    pair: Pair, *, samples: int = 10_000_000, seed: int = 0, on_samples: Callable[[int], object] | None = None
) -> dict[str, float]:
    """KS distance of W·φ(X) from N(0,1) over independent samples, with its 5 % line.

    Parameters
    ----------
    pair
        Its activation module is used in float32, as in a network.
    samples
        Independent draws.
    seed
        Of W and X.
    on_samples
        Called with the number of draws of each finished block, for a progress bar.

    Returns
    -------
    dict
        ``ks``, ``ks_critical`` (1.358/√samples) and ``samples``.

    Raises
    ------
    DomainError
        No samples, or more than fit into memory.

    Examples
    --------
    >>> from firstlight import pairs
    >>> from firstlight.experiments.wolinski2025 import product_ks
    >>> result = product_ks(pairs.weibull(3.0), samples=20_000)
    >>> result["ks"] < 2 * result["ks_critical"]
    True
    """
    if not 1 <= samples <= memory() / 16:
        raise DomainError(
            f"while sampling W·φ(X): expected between one sample and what fits into memory, got {samples}"
        )
    g = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, samples, BLOCK):
        n = min(BLOCK, samples - start)
        x = torch.randn(n, generator=g, dtype=torch.float64).float()
        with torch.no_grad():
            parts.append(pair.weights.sample((n,), generator=g) * pair.activation(x))
        if on_samples is not None:
            on_samples(n)
    return {
        "ks": ks_normal(torch.cat(parts)),
        "ks_critical": 1.3581 / math.sqrt(samples),
        "samples": float(samples),
    }


def ks_normal(values: Tensor) -> float:
    """The exact Kolmogorov–Smirnov distance of a sample to N(0,1)."""
    cdf = torch.special.ndtr(torch.sort(values.double().flatten()).values)
    n = cdf.numel()
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    return float(torch.maximum(steps[1:] - cdf, cdf - steps[:-1]).max())


def pair_ks(
    pair: Pair, *, width: int, depth: int = 100, nets: int = 2000, seed: int = 0, gradients: bool = False
) -> Profile:
    """KS distance to N(0,1) against depth for a pair, raw and standardised, by the ensemble room.

    Parameters
    ----------
    pair
        Its activation and weights, with scale 1 and no bias.
    width, depth, nets, seed
        The networks.
    gradients
        Also send gradients back.
    """
    from firstlight.ensemble import simulate
    from firstlight.network import RandomNetwork

    net = RandomNetwork(
        depth=depth,
        width=width,
        activation=pair.activation,
        weight_law=pair.weights,
        sigma_w=1.0,
        in_features=width,
    )
    marks = sorted({1, 2, 3, 5, 10, 20, 30, 50, 70, depth} & set(range(1, depth + 1)))
    return simulate(net, nets=nets, layers=marks, seed=seed, gradients=gradients)


def drawn(pair: Pair, points: int = 241) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, φ(x) and φ'(x) on [−4, 4], for the figure of the pair's functions."""
    x = np.linspace(-4, 4, points)
    return x, pair.exact(x), pair.exact.derivative(x)
