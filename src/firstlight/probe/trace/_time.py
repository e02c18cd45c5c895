"""Time: how fast a recurrent layer's output forgets its earlier inputs, from one more pass of that layer alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from firstlight.probe.graph._site import Site

# Samples and last steps that are run again; a rate is known from few steps.
SAMPLES, STEPS = 4, 96
# Fewer steps say nothing of a rate.
SHORT = 5


@dataclass(eq=False, frozen=True)
class Recurrent:
    """A fused recurrent layer that was called, with what it was given."""

    site: Site
    module: nn.RNNBase
    inputs: Tensor

    @property
    def steps(self) -> int:
        """Length of the sequence."""
        return self.inputs.shape[1 if self.module.batch_first else 0]


def recurrent(site: Site | None, module: nn.Module, args: tuple[Any, ...]) -> Recurrent | None:
    """A call that can be run again: a plain sequence through a layer without dropout."""
    if site is None or not isinstance(module, nn.RNNBase) or not args:
        return None
    given = args[0]
    if isinstance(given, PackedSequence):
        padded, lengths = pad_packed_sequence(given, batch_first=module.batch_first)
        longest = (lengths == lengths.max()).nonzero()[:, 0]
        given = padded.index_select(0 if module.batch_first else 1, longest.to(padded.device))
    random = module.dropout > 0 and module.training and module.num_layers > 1
    if random or not isinstance(given, Tensor) or given.dim() != 3 or not given.is_floating_point():
        return None
    return Recurrent(site, module, given.detach())


def measure_time(call: Recurrent, seed: int) -> list[float]:
    """Ln ‖∂(v·h_T)/∂x_t‖ for the last steps t of one call, v a random direction and h_T the last output.

    The loss may read every step, and then ∂L/∂h_t says nothing of memory; a direction in the last output does.
    """
    module, axis = call.module, 1 if call.module.batch_first else 0
    if call.steps < SHORT:
        return []
    x = call.inputs.narrow(axis, max(0, call.steps - STEPS), min(call.steps, STEPS))
    x = x.narrow(1 - axis, 0, min(SAMPLES, x.shape[1 - axis])).clone().requires_grad_()
    with torch.enable_grad():
        output = module.forward(x)[0]
        last = output.select(axis, output.shape[axis] - 1)
        # the backward direction of a bidirectional layer has just begun at the last step
        forward = last[..., : last.shape[-1] // 2] if module.bidirectional else last
        direction = torch.randn(forward.shape, generator=torch.Generator().manual_seed(seed))
        value = (forward * direction.to(forward)).sum()
        (gradient,) = torch.autograd.grad(value, x)
    norms = torch.linalg.vector_norm(gradient.double(), dim=(1 - axis, 2))
    return [float(v) for v in norms.log()]
