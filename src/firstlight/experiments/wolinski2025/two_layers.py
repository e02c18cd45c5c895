"""Two layers: how far dependence between units moves the law of the next pre-activation, after the authors' data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from firstlight.errors import DomainError
from firstlight.experiments.wolinski2025.one_layer import BLOCK, ks_normal
from firstlight.files import memory
from firstlight.weights import Normal, WeightLaw


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

    Raises
    ------
    DomainError
        No draws, or more than fit into memory.

    References
    ----------
    Wolinski & Arbel (TMLR 2025), the experiment on two layers; figures from the authors' saved data.
    """
    if not 1 <= draws <= memory() / 16:
        raise DomainError(
            f"while drawing two layers: expected between one draw and what fits into memory, got {draws}"
        )
    g = torch.Generator().manual_seed(seed)
    first = Normal()

    def one(hidden: Sequence[int]) -> float:
        out = []
        step = max(1, BLOCK // max(hidden))
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
