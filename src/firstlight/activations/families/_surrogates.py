"""Activations whose backward pass is not their derivative."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from firstlight.activations.activation import Activation
from firstlight.activations.families._library import named
from firstlight.errors import DomainError


def _step(x: Tensor) -> Tensor:
    return (x > 0).to(x.dtype)


def helu(alpha: float = 0.05) -> Activation:
    """max(0, z), with the backward 1[z > −alpha]: hysteresis lets gradients of units just below zero pass.

    Its gradients grow by 2Φ(alpha/√q) a layer with He's weights. The same as in the code of Kimhi et al. (2024).
    """
    name, parameters = named("helu", alpha=alpha)
    return Activation(
        name, torch.relu, _step, (0.0,), parameters=parameters, backward=lambda x: (x > -alpha).to(x.dtype)
    )


def spike(beta: float = 10.0, threshold: float = 0.0) -> Activation:
    """1[z > threshold], with the backward 1/(1 + beta·|z − threshold|)² of a fast sigmoid."""
    name, parameters = named("spike", beta=beta, threshold=threshold)
    return Activation(
        name,
        lambda x: (x > threshold).to(x.dtype),
        torch.zeros_like,
        (threshold,),
        (threshold,),
        differentiable=False,
        parameters=parameters,
        backward=lambda x: 1 / (1 + beta * (x - threshold).abs()) ** 2,
    )


def sign_ste(width: float = 1.0) -> Activation:
    """sign(z), with the backward 1[|z| ≤ width]: the straight-through estimator of binary networks."""
    name, parameters = named("sign_ste", width=width)
    return Activation(
        name,
        torch.sign,
        torch.zeros_like,
        (0.0,),
        (0.0,),
        "odd",
        parameters=parameters,
        backward=lambda x: (x.abs() <= width).to(x.dtype),
    )


def quantise(bits: float = 2, width: float = 2.0) -> Activation:
    """z rounded to the nearest of 2^bits even levels within ±width, with the backward 1[|z| ≤ width].

    The levels are (k + ½)·step with step = 2·width/2^bits.

    Raises
    ------
    DomainError
        A parameter outside its range.
    """
    count = 2 ** int(bits)
    if bits != int(bits) or not 1 <= bits <= 10 or width <= 0:
        raise DomainError(
            f"while making quantise: expected whole bits from 1 to 10 and width > 0, got {bits} and {width}"
        )
    name, parameters = named("quantise", bits=bits, width=width)
    step = 2 * width / count
    jumps = tuple(0.0 if 2 * k == count else -width + step * k for k in range(1, count))

    def function(x: Tensor) -> Tensor:
        return (torch.ceil(x / step).clamp(1 - count // 2, count // 2) - 0.5) * step

    return Activation(
        name,
        function,
        torch.zeros_like,
        jumps,
        jumps,
        "odd",
        parameters=parameters,
        backward=lambda x: (x.abs() <= width).to(x.dtype),
    )


SURROGATES: dict[str, Callable[..., Activation]] = {
    "helu": helu,
    "spike": spike,
    "sign_ste": sign_ste,
    "quantise": quantise,
}
