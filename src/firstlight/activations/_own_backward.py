"""Functions whose backward pass is not their derivative: surrogate slopes and straight-through steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]

# Where a backward is compared with differences, and the step of the finer of two.
_REACH, _PLACES, _STEP = 6.0, 1201, 1e-4
# Differences of two steps that are this close know the slope; a backward this far from them is another one.
_KNOWN, _ANOTHER = 1e-4, 1e-2


class _WithSlope(torch.autograd.Function):
    """A function forward, a slope of one's own backward."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, function: Function, slope: Function) -> Tensor:
        return function(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.slope = inputs[2]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return grad * ctx.slope(x), None, None


def with_slope(x: Tensor, function: Function, slope: Function) -> Tensor:
    """``function(x)``, whose backward multiplies by ``slope(x)``."""
    result: Tensor = _WithSlope.apply(x, function, slope)
    return result


def autograd_slope(function: Function, x: Tensor) -> Tensor:
    """What autograd multiplies a gradient with on its way back through an entry-by-entry function."""
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        y = function(leaf)
        if not y.requires_grad:
            return torch.zeros_like(x)
        (grad,) = torch.autograd.grad(y.sum(), leaf)
    return grad


def own_backward(function: Function, kinks: Sequence[float]) -> Function | None:
    """The slope of the backward pass, where it is not the derivative of the function; None where it is.

    Autograd is compared with differences of two steps at 1201 places away from the kinks. Where the differences of
    the two steps do not agree, the function is too rough for them to say anything.

    Examples
    --------
    >>> import torch
    >>> slope = own_backward(lambda x: x + (torch.sign(x) - x).detach(), (0.0,))
    >>> slope(torch.tensor([-2.0, 3.0])), own_backward(torch.tanh, ())
    (tensor([1., 1.]), None)
    """
    x = torch.linspace(-_REACH, _REACH, _PLACES, dtype=torch.float64) + 0.00137
    for kink in kinks:
        x = x[(x - kink).abs() > 4 * _STEP]
    if len(x) == 0:
        return None
    with torch.no_grad():
        fine, coarse = ((function(x + h) - function(x - h)) / (2 * h) for h in (_STEP, 2 * _STEP))
    slope = autograd_slope(function, x)
    size = 1 + fine.abs()
    known = (fine - coarse).abs() < _KNOWN * size
    other = (slope - fine).abs() > _ANOTHER * size
    if int((known & other & torch.isfinite(slope)).sum()) < 2:
        return None
    return lambda t: autograd_slope(function, t)
