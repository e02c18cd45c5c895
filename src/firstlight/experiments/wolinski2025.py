"""Wolinski & Arbel, Gaussian Pre-Activations in Neural Networks: Myth or Reality? (TMLR 2025): the pair experiments.

``product_ks`` is the one-layer statement, ``two_layer_ks`` the authors' two-layer experiment (their saved
data: 200 000 draws, input 1, first layer normal), ``pair_ks`` the distance against depth. The large ensembles
of the paper's other figures are runs of ``firstlight simulate``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from firstlight.pairs import Pair
from firstlight.profile import Profile
from firstlight.weights import Normal, WeightLaw

THETAS = (2.05, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0)
_BLOCK = 1 << 18


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

    Examples
    --------
    >>> from firstlight import pairs
    >>> from firstlight.experiments.wolinski2025 import product_ks
    >>> result = product_ks(pairs.weibull(3.0), samples=20_000)
    >>> result["ks"] < 2 * result["ks_critical"]
    True
    """
    g = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, samples, _BLOCK):
        n = min(_BLOCK, samples - start)
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


@dataclass(frozen=True)
class TwoLayer:
    """KS distances of the two-layer experiment, one per panel and width.

    Attributes
    ----------
    panels
        Panel name to the distances for ``widths``.
    widths
        n of the panels.
    draws
        Networks per point; the 5 % line is 1.358/√draws.
    """

    panels: dict[str, tuple[float, ...]]
    widths: tuple[int, ...]
    draws: int


def two_layer_ks(
    activation: Callable[[Tensor], Tensor],
    law: WeightLaw,
    *,
    sigma_w: float = 1.0,
    sigma_b: float = 0.0,
    widths: Sequence[int] = (1, 2, 3, 5, 10),
    draws: int = 200_000,
    seed: int = 0,
) -> TwoLayer:
    """The authors' two-layer experiment: panels [n₀, n₁, 1] = [1,n,1], [n,2,1] and [n,n,1], input 1.

    The n₀ first pre-activations are exactly N(0, σ_w² + σ_b²), from normal weights; two layers with weights of
    ``law`` and scale sigma_w/√fan-in follow. The n₁ units share their n₀ inputs, so they are dependent, and the
    last pre-activation is not exactly Gaussian even for an exact pair unless n₁ = 1.

    References
    ----------
    Wolinski & Arbel (TMLR 2025), the experiment on two layers; figures from the authors' saved data.
    """
    g = torch.Generator().manual_seed(seed)
    first = Normal()

    def one(hidden: Sequence[int]) -> float:
        out = []
        step = max(1, _BLOCK // max(hidden))
        for start in range(0, draws, step):
            n = min(step, draws - start)
            z = math.hypot(sigma_w, sigma_b) * first.sample((n, hidden[0]), generator=g)
            for fan_out in (*hidden[1:], 1):
                fan_in = z.shape[1]
                with torch.no_grad():
                    h = activation(z)
                w = law.sample((n, fan_out, fan_in), generator=g, fan_in=fan_in, sigma_w=sigma_w)
                z = torch.einsum("boi,bi->bo", w, h)
                if sigma_b:
                    z = z + sigma_b * first.sample(tuple(z.shape), generator=g)
            out.append(z.flatten())
        return ks_normal(torch.cat(out))

    panels = {
        "[1,n,1]": tuple(one((1, n)) for n in widths),
        "[n,2,1]": tuple(one((n, 2)) for n in widths),
        "[n,n,1]": tuple(one((n, n)) for n in widths),
    }
    return TwoLayer(panels, tuple(widths), draws)


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
