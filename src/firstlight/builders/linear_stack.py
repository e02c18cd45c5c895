"""Many layers of h ← norm(W h) as one node of the autograd graph, with as few passes over the features as there can be.

Three facts make it fast. The scale of one layer's features is undone by the next norm, so inside the stack every
row has length 1. Centring commutes with W, so features that are centred once stay centred but for rounding, which
is taken off every few layers. And what the backward pass needs of a norm is its output and the row lengths alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from firstlight.builders.batch_norm import _RootMeanSquare

# Rounding leaves means of 1e-7; a deep network multiplies them as it does gradients, at worst by e^0.5 a layer.
_CENTRE_EVERY = 16


@dataclass
class Trace:
    """What a forward pass leaves behind for measurements; nothing of it belongs to the graph.

    Attributes
    ----------
    features
        Output of every norm, features × samples, up to one factor for all of a layer.
    lengths
        Of a linear stack only: what each row was divided by, features × 1, rows of the layer before having
        length 1.
    weights
        Of a linear stack only: the weight of every layer.
    eps
        ε of its norms.
    """

    features: list[Tensor] = field(default_factory=list)
    lengths: list[Tensor] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    eps: float = 0.0


class LinearStack(torch.autograd.Function):
    """Rows of the last layer, of length √n; second derivatives are taken by running the layers one by one."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, eps: float, centred: bool, trace: Trace | None, *weights: Tensor
    ) -> Tensor:
        """Run all layers; ``x`` is features × samples."""
        count = x.shape[1]
        first = x - x.mean(dim=1, keepdim=True) if centred else x
        h, kept, lengths = _run(first, weights, 0.0, centred)
        if eps and not _negligible(eps, lengths, count):
            h, kept, lengths = _run(first, weights, eps, centred)
        if trace is not None:
            trace.features += [*kept[1:], h]
            trace.lengths += lengths
            trace.weights += [w.detach() for w in weights]
            trace.eps = eps
        # all lengths as one tensor, since every saved one costs as much as a small operation
        ctx.save_for_backward(x, h, torch.cat(lengths), *weights, *kept)
        ctx.layers, ctx.centred, ctx.eps = len(weights), centred, eps
        return h * math.sqrt(count)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the input and of every weight."""
        x, y, together, *saved = ctx.saved_tensors
        layers = ctx.layers
        weights, kept = saved[:layers], saved[layers:]
        lengths = together.split([len(w) for w in weights])
        if torch.is_grad_enabled():
            return _differentiably(ctx, grad, x, weights)
        grads: list[Tensor | None] = [None] * layers
        g = (grad * math.sqrt(x.shape[1])).contiguous()
        # two buffers take turns: fresh memory for every layer's gradient would cost a seventh of the pass
        spare = torch.empty_like(g)
        for index in range(layers - 1, -1, -1):
            g.addcmul_(y, torch.linalg.vecdot(g, y).unsqueeze_(1), value=-1).div_(lengths[index])
            if ctx.centred and index and index % _CENTRE_EVERY == 0:
                g.sub_(g.mean(dim=1, keepdim=True))
            y = kept[index]
            if ctx.needs_input_grad[4 + index]:
                grads[index] = torch.mm(g, y.t())
            if index or ctx.needs_input_grad[0]:
                w = weights[index]
                spare = spare if len(spare) == w.shape[1] else g.new_empty(w.shape[1], g.shape[1])
                g, spare = torch.mm(w.t(), g, out=spare), g
        if ctx.centred:
            g = g - g.mean(dim=1, keepdim=True)
        return (g if ctx.needs_input_grad[0] else None, None, None, None, *grads)


def _run(
    h: Tensor, weights: Sequence[Tensor], eps: float, centred: bool
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Features of the last layer, those before every layer, and the row lengths; ``h`` has mean 0 if centred."""
    first, rest = (h.new_tensor(value) for value in (math.sqrt(h.shape[1] * eps), math.sqrt(eps)))
    kept: list[Tensor] = []
    lengths: list[Tensor] = []
    for index, w in enumerate(weights):
        kept.append(h)
        h = torch.mm(w, h)
        if centred and index and index % _CENTRE_EVERY == 0:
            h.sub_(h.mean(dim=1, keepdim=True))
        length = torch.linalg.vector_norm(h, dim=1, keepdim=True)
        if eps:
            length.hypot_(rest if index else first)
        h.div_(length)
        lengths.append(length)
    return h, kept, lengths


def _negligible(eps: float, lengths: list[Tensor], count: int) -> bool:
    """Whether ε would have changed no length by more than its rounding."""
    rounding = torch.finfo(lengths[0].dtype).eps / 2
    first = float(lengths[0].min()) ** 2 / count
    rest = float(torch.cat(lengths[1:]).min()) ** 2 if len(lengths) > 1 else first
    return min(first, rest) * rounding > eps


def linear_statistics(
    trace: Trace, inputs: Tensor, count: int, *, centred: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """Mean and mean square of every layer before its norm, from a run whose inputs had these means.

    Features that were centred once keep mean 0, so only the first layer has another.
    """
    lengths = torch.stack(trace.lengths).squeeze(-1)
    squares = (lengths.square() - trace.eps).clamp_(min=0)
    squares[0] = (lengths[0].square() / count - trace.eps).clamp_(min=0)
    means = list(torch.zeros_like(squares).unbind())
    if centred:
        means[0] = trace.weights[0] @ inputs
    return means, list(squares.unbind())


def normalise_rows(z: Tensor, eps: float, *, centred: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Each row with mean square 1, and mean 0 if it is to be centred; the means taken off, and the factors."""
    if centred:
        rows, mean, factor = torch.native_layer_norm(z, [z.shape[1]], None, None, eps)
        return rows, mean.detach(), factor.detach()
    rows, factor = _RootMeanSquare.apply(z, eps)
    return rows, torch.zeros_like(factor), factor


def _differentiably(ctx: Any, grad: Tensor, x: Tensor, weights: list[Tensor]) -> tuple[Tensor | None, ...]:
    """The same gradients as a graph, for second derivatives."""
    h = x
    for w in weights:
        h, _, _ = normalise_rows(torch.mm(w, h), ctx.eps, centred=ctx.centred)
    needs = [ctx.needs_input_grad[0], *ctx.needs_input_grad[4:]]
    wanted = [one for one, need in zip([x, *weights], needs, strict=True) if need]
    found = iter(torch.autograd.grad(h, wanted, grad, create_graph=True))
    first, *rest = [next(found) if need else None for need in needs]
    return (first, None, None, None, *rest)
