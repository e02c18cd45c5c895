"""The fast path of a deep batch-normalised network: features stored by rows, one fused kernel per norm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules import module as _module

from firstlight.networks.batch_norm import BatchNorm, _RootMeanSquare
from firstlight.networks.shaping import FeatureMajorLinear, ShapedActivation


class FeatureMajorSequential(nn.Sequential):
    """A sequential network that runs its batch-normalised layers on transposed features, where that is the same.

    Batch norm without affine parameters is layer norm of the transpose, so a stack of (linear, batch norm,
    activation) needs no transposition, no module call and, if it is linear, one node in the autograd graph.
    Wherever the difference could be seen, the modules are called one by one as usual: hooks, tracing and
    function transforms, statistics being tracked, recorded or used, affine or unit-norm layers.

    Attributes
    ----------
    fused
        Set it to False to always call the modules; needed for second derivatives of a linear network.

    Examples
    --------
    >>> import torch
    >>> from firstlight.networks import isometric_mlp
    >>> model = isometric_mlp(8, 3, depth=4, width=8)
    >>> x = torch.randn(12, 8)
    >>> fast = model(x)
    >>> model.fused = False
    >>> torch.allclose(model(x), fast, atol=1e-5)
    True
    """

    fused: bool = True

    def forward(self, input: Float[Tensor, n * sample]) -> Float[Tensor, n * out]:
        """Run the layers in order."""
        return self.run(input)

    def run(self, input: Float[Tensor, n * sample], *, tap: list[Tensor] | None = None) -> Tensor:
        """Run the layers in order; ``tap`` receives the output of every norm, where the fused path is taken."""
        if not (self.fused and input.ndim >= 2 and len(input) > 1 and self._unwatched()):
            return super().forward(input)
        layers = list(self.children())
        stack = _stack(layers)
        if not stack:
            return super().forward(input)
        x: Tensor = input.flatten(1)
        first = next(iter(stack))
        if x.shape[1] != first[0].in_features:
            return super().forward(input)
        h = x.t()
        eps = {norm.eps for _, norm, _ in stack}
        centred = {norm.centred for _, norm, _ in stack}
        if len(eps) == len(centred) == 1 and all(phi is None for _, _, phi in stack):
            weights = [fc.weight for fc, _, _ in stack]
            h = _LinearStack.apply(h, eps.pop(), centred.pop(), tap, *weights)
        else:
            for fc, norm, phi in stack:
                h = _normalise(torch.mm(fc.weight, h), norm)
                if tap is not None:
                    tap.append(h.detach().t())
                h = h if phi is None else phi(h)
        y = h.t()
        for layer in layers[1 + sum(2 + (phi is not None) for _, _, phi in stack) :]:
            y = layer(y)
        return y

    def _unwatched(self) -> bool:
        if (
            torch._C._len_torch_function_stack() > 0
            or torch.compiler.is_compiling()
            or torch._C._functorch.peek_interpreter_stack() is not None
            or _module._has_any_global_hook()
        ):
            return False
        return not any(
            m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks
            for m in self.modules()
        )


Layer = tuple[FeatureMajorLinear, BatchNorm, ShapedActivation | None]


def _stack(layers: list[nn.Module]) -> list[Layer]:
    """The leading (linear, norm, activation) layers that may run feature-major; empty if any may not."""
    if not layers or not isinstance(layers[0], nn.Flatten):
        return []
    found: list[Layer] = []
    rest: Iterator[nn.Module] = iter(layers[1:])
    module: Any = next(rest, None)
    while type(module) is FeatureMajorLinear:
        norm: Any = next(rest, None)
        if module.bias is not None or type(norm) is not BatchNorm or not _plain(norm):
            return []
        linear, module, phi = module, next(rest, None), None
        if type(module) is ShapedActivation:
            phi, module = module, next(rest, None)
        found.append((linear, norm, phi))
    return found


def _plain(norm: BatchNorm) -> bool:
    """Whether a norm does nothing but normalise the batch at hand."""
    idle = norm.weight is None and norm.scale == "sqrt_n" and not norm._recording
    return idle and (not norm.track_running_stats if norm.training else norm.holds == "nothing")


def _normalise(z: Tensor, norm: BatchNorm) -> Tensor:
    if norm.centred:
        return functional.layer_norm(z, (z.shape[1],), None, None, norm.eps)
    return _RootMeanSquare.apply(z, norm.eps)


class _LinearStack(torch.autograd.Function):
    """h ← norm(W h) for every W, as one node: the backward pass is written out, layer by layer."""

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, h: Tensor, eps: float, centred: bool, tap: list[Tensor] | None, *weights: Tensor
    ) -> Tensor:
        count = h.shape[1]
        kept: list[Tensor] = []
        for w in weights:
            z = torch.mm(w, h)
            if centred:
                y, mean, factor = torch.native_layer_norm(z, [count], None, None, eps)
                kept += [h, z, mean, factor]
            else:
                factor = (torch.linalg.vecdot(z, z).unsqueeze(1) / count).add_(eps).rsqrt_()
                y = z.mul_(factor)
                kept += [h, factor]
            h = y
            if tap is not None:
                tap.append(y.t())
        ctx.save_for_backward(h, *weights, *kept)
        ctx.layers, ctx.centred = len(weights), centred
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
        y, *saved = ctx.saved_tensors
        layers, centred = ctx.layers, ctx.centred
        weights, kept = saved[:layers], saved[layers:]
        count = y.shape[1]
        grads: list[Tensor | None] = [None] * layers
        grad = grad.contiguous()
        for index in range(layers - 1, -1, -1):
            if centred:
                h, z, mean, factor = kept[4 * index : 4 * index + 4]
                g, _, _ = torch.ops.aten.native_layer_norm_backward(
                    grad, z, [count], mean, factor, None, None, [True, False, False]
                )
            else:
                h, factor = kept[2 * index : 2 * index + 2]
                along = torch.linalg.vecdot(grad, y).unsqueeze_(1).div_(-count)
                g = torch.addcmul(grad, y, along).mul_(factor)
            if ctx.needs_input_grad[4 + index]:
                grads[index] = torch.mm(g, h.t())
            if index or ctx.needs_input_grad[0]:
                grad = torch.mm(weights[index].t(), g)
            y = h
        return (grad if ctx.needs_input_grad[0] else None, None, None, None, *grads)
