"""The fast path of a deep batch-normalised network: features stored by rows, one fused kernel per norm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules import module as _module

from firstlight.builders.batch_norm import BatchNorm, take_in_all
from firstlight.builders.linear_stack import LinearStack, Trace, linear_statistics, normalise_rows
from firstlight.builders.shaping import FeatureMajorLinear, ShapedActivation

Layer = tuple[FeatureMajorLinear, BatchNorm, ShapedActivation | None]


class FeatureMajorSequential(nn.Sequential):
    """A sequential network that runs its batch-normalised layers on transposed features, where that is the same.

    Batch norm without affine parameters is layer norm of the transpose, so a stack of (linear, batch norm,
    activation) needs no transposition, no module call and, if it is linear, one node in the autograd graph.
    Where the difference could be seen, the modules are called one by one as usual: hooks, tracing and
    function transforms, recorded or used statistics, affine or unit-norm layers.

    Attributes
    ----------
    fused
        Set it to False to always call the modules.

    Examples
    --------
    >>> import torch
    >>> from firstlight.builders import isometric_mlp
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

    def run(self, input: Float[Tensor, n * sample], *, trace: Trace | None = None) -> Tensor:
        """Run the layers in order; ``trace`` is filled where the fused path is taken."""
        exact = input.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled(
            input.device.type
        )
        if not (self.fused and exact and input.ndim >= 2 and len(input) > 1 and _unwatched()):
            return super().forward(input)
        layers = list(self._modules.values())
        stack = _stack(layers)
        if not stack or _hooked(self) or any(map(_hooked, layers)):
            return super().forward(input)
        x: Tensor = input.flatten(1)
        first = next(iter(stack))
        if x.shape[1] != first[0].in_features:
            return super().forward(input)
        h = self._run_stack(x.t(), stack, trace)
        y = h.t()
        for layer in layers[1 + sum(2 + (phi is not None) for _, _, phi in stack) :]:
            y = layer(y)
        return y

    def _run_stack(self, h: Tensor, stack: list[Layer], trace: Trace | None) -> Tensor:
        norms = [norm for _, norm, _ in stack]
        tracked = norms[0].training and any(norm.track_running_stats for norm in norms)
        one_kind = len({(norm.eps, norm.centred) for norm in norms}) == 1
        if one_kind and all(phi is None for _, _, phi in stack):
            seen = Trace() if tracked and trace is None else trace
            mean = h.detach().mean(dim=1) if tracked else h
            out: Tensor = LinearStack.apply(
                h, norms[0].eps, norms[0].centred, seen, *[fc.weight for fc, _, _ in stack]
            )
            if tracked and seen is not None:
                _track(
                    norms, *linear_statistics(seen, mean, h.shape[1], centred=norms[0].centred), h.shape[1]
                )
            return out
        means, factors = [], []
        for fc, norm, phi in stack:
            h, mean, factor = normalise_rows(torch.mm(fc.weight, h), norm.eps, centred=norm.centred)
            means.append(mean)
            factors.append(factor)
            if trace is not None:
                trace.features.append(h.detach())
            h = h if phi is None else phi(h)
        if tracked:
            eps = h.new_tensor([norm.eps for norm in norms]).unsqueeze(1)
            squares = (torch.stack(factors).flatten(1).square().reciprocal() - eps).clamp_(min=0)
            _track(norms, [mean.flatten() for mean in means], list(squares.unbind()), h.shape[1])
        return h


def _unwatched() -> bool:
    """Whether neither a tracer nor a function transform nor a global hook follows what modules do."""
    return not (
        torch._C._len_torch_function_stack() > 0
        or torch.compiler.is_compiling()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or _module._has_any_global_hook()
    )


def _hooked(m: Any) -> bool:
    return bool(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks)


def _stack(layers: Sequence[nn.Module | None]) -> list[Layer]:
    """The leading (linear, norm, activation) layers that may run feature-major; empty if any may not."""
    if not layers or not isinstance(layers[0], nn.Flatten):
        return []
    found: list[Layer] = []
    rest: Iterator[nn.Module | None] = iter(layers[1:])
    module: Any = next(rest, None)
    while type(module) is FeatureMajorLinear:
        norm: Any = next(rest, None)
        # a look at _parameters, since the attribute of a parameter that is None is found last
        if module._parameters["bias"] is not None or type(norm) is not BatchNorm or not _plain(norm):
            return []
        linear, module, phi = module, next(rest, None), None
        if type(module) is ShapedActivation:
            if any(map(_hooked, module.modules())):
                return []
            phi, module = module, next(rest, None)
        found.append((linear, norm, phi))
    return found


def _plain(norm: BatchNorm) -> bool:
    """Whether a norm only normalises its batch, and perhaps keeps running averages."""
    idle = norm.weight is None and norm.scale == "sqrt_n" and not norm._recording
    return idle and (norm.training or norm.holds == "nothing")


def _track(norms: list[BatchNorm], means: list[Tensor], squares: list[Tensor], count: int) -> None:
    kept = [(n, m, s) for n, m, s in zip(norms, means, squares, strict=True) if n.track_running_stats]
    take_in_all([n for n, _, _ in kept], [m for _, m, _ in kept], [s for _, _, s in kept], count)
