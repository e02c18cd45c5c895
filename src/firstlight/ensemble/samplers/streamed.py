"""Any law of independent weights, in blocks of rows: a whole network is never held."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.ensemble.samplers._draws import fill_normal, fill_signed_uniform
from firstlight.ensemble.samplers.base import Sampler, normals
from firstlight.weights import SymmetricWeibull, WeightLaw

BLOCK = 1 << 18  # weights drawn at once: 1 MB of float32 stays in the second-level cache


@dataclass(frozen=True)
class StreamedWeights(Sampler):
    """Weights drawn from ``law`` (None: N(0,1)) block by block; biases are N(0,1).

    Forward and backward see the same matrix: the backward pass winds a generator back and draws it again.
    """

    law: WeightLaw | None
    sigma_w: float = 1.0
    sigma_b: float = 0.0

    def forward(
        self,
        h: Float[Tensor, "nets fan_in inputs"],
        fan_out: int,
        generator: torch.Generator,
        *,
        keep: bool = False,
    ) -> tuple[Float[Tensor, "nets fan_out inputs"], Any]:
        """Pre-activations, and what ``backward`` needs (None unless ``keep``)."""
        nets, fan_in, inputs = h.shape
        z = h.new_empty(nets, fan_out, inputs)
        if self.sigma_b != 0:
            bias = normals((nets, fan_out, 1), h, generator).mul_(self.sigma_b)
        state = generator.get_state() if keep else None
        for some, rows, w in self._blocks(h, fan_out, generator):
            torch.bmm(w, h[some], out=z[some, rows])
        z.mul_(self.sigma_w / math.sqrt(fan_in))
        if self.sigma_b != 0:
            z.add_(bias)
        return z, (state, h.shape) if keep else None

    def backward(
        self, memo: Any, delta: Float[Tensor, "nets fan_out inputs"], generator: torch.Generator
    ) -> Float[Tensor, "nets fan_in inputs"]:
        """Gradients by ``h`` from gradients by the pre-activations; call once per ``memo``."""
        state, shape = memo
        again = torch.Generator(device=generator.device)
        again.set_state(state)
        grad = delta.new_zeros(shape)
        for some, rows, w in self._blocks(grad, delta.shape[1], again):
            grad[some] += w.mT @ delta[some, rows]
        return grad.mul_(self.sigma_w / math.sqrt(shape[1]))

    def _blocks(
        self, h: Tensor, fan_out: int, generator: torch.Generator
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """Slices of networks and of rows, and those rows of those networks' weights (one buffer, reused)."""
        nets, fan_in, _ = h.shape
        group = max(1, min(nets, BLOCK // (fan_in * fan_out)))
        height = fan_out if group > 1 else max(1, min(fan_out, BLOCK // fan_in))
        buffer = h.new_empty(group * height * fan_in)
        fill = filler(self.law)
        for first in range(0, nets, group):
            some = slice(first, min(first + group, nets))
            for top in range(0, fan_out, height):
                rows = slice(top, min(top + height, fan_out))
                shape = (some.stop - some.start, rows.stop - rows.start, fan_in)
                flat = buffer[: math.prod(shape)]
                fill(flat, generator)
                yield some, rows, flat.view(shape)


def filler(law: WeightLaw | None) -> Callable[[Tensor, torch.Generator], object]:
    """A function that fills a flat tensor in place with independent draws of the law."""
    if law is None:
        return fill_normal
    if isinstance(law, SymmetricWeibull) and math.isfinite(law.theta):
        theta = float(law.theta)
        return lambda out, generator: _fill_weibull(out, theta, generator)
    return lambda out, generator: out.copy_(
        law.sample((out.numel(),), generator=generator, dtype=out.dtype, device=out.device)
    )


def _fill_weibull(out: Tensor, theta: float, generator: torch.Generator) -> None:
    """Signed Weibull draws ±(−log V)^{1/θ}, V uniform, by vectorised logs and exponentials."""
    fill_signed_uniform(out, generator)
    # exp(log(·)/θ) is twice as fast as a power
    magnitude = out.abs().log_().neg_().log_().mul_(1 / theta).exp_()
    torch.copysign(magnitude, out, out=out)
