"""The activations of torch.nn and other fixed or parametric ones, with their slopes in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from firstlight.activations.activation import Activation

_SQRT_2PI = math.sqrt(2 * math.pi)


def _pdf(x: Tensor) -> Tensor:
    return torch.exp(-0.5 * x * x) / _SQRT_2PI


def _one(x: Tensor) -> Tensor:
    return torch.ones_like(x)


def _identity(x: Tensor) -> Tensor:
    return x


def _step(x: Tensor) -> Tensor:
    return (x > 0).to(x.dtype)


def _sech2(x: Tensor) -> Tensor:
    t = torch.tanh(x)
    return 1 - t * t


def _d_sigmoid(x: Tensor) -> Tensor:
    return torch.sigmoid(x) * torch.sigmoid(-x)


def _d_gelu(x: Tensor) -> Tensor:
    return torch.special.ndtr(x) + x * _pdf(x)


def _d_silu(x: Tensor) -> Tensor:
    s = torch.sigmoid(x)
    return s * (1 + x * torch.sigmoid(-x))


def _d_mish(x: Tensor) -> Tensor:
    t = torch.tanh(F.softplus(x))
    return t + x * (1 - t * t) * torch.sigmoid(x)


def _gaussian(x: Tensor) -> Tensor:
    return torch.exp(-0.5 * x * x)


def _relu_squared(x: Tensor) -> Tensor:
    return torch.relu(x) ** 2


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def _softplus(x: Tensor) -> Tensor:
    # torch's own switches to the identity at 20, a jump of 2e-9.
    return torch.logaddexp(x, torch.zeros_like(x))


# z − tanh z = z³/3 − 2z⁵/15 + …
_SHRINK = (
    1 / 3, -2 / 15, 17 / 315, -62 / 2835, 1382 / 155925, -21844 / 6081075, 929569 / 638512875,
    -6404582 / 10854718875, 443861162 / 1856156927625, -18888466084 / 194896477400625,
)  # fmt: skip


def _tanhshrink(x: Tensor) -> Tensor:
    """z − tanh z, without the cancellation that leaves nothing of it near zero."""
    square = x * x
    series = torch.full_like(x, _SHRINK[-1])
    for c in reversed(_SHRINK[:-1]):
        series = series * square + c
    return torch.where(x.abs() < 0.25, series * square * x, x - torch.tanh(x))


FIXED: dict[str, Activation] = {
    a.name: a
    for a in (
        Activation("linear", _identity, _one, parity="odd", degree=1.0),
        Activation("relu", torch.relu, _step, kinks=(0.0,), degree=1.0),
        Activation("relu6", F.relu6, lambda x: ((x > 0) & (x < 6)).to(x.dtype), kinks=(0.0, 6.0)),
        Activation("relu_squared", _relu_squared, lambda x: 2 * torch.relu(x), kinks=(0.0,), degree=2.0),
        Activation("abs", torch.abs, torch.sign, kinks=(0.0,), parity="even", degree=1.0),
        Activation("square", torch.square, lambda x: 2 * x, parity="even", degree=2.0),
        Activation("cube", lambda x: x**3, lambda x: 3 * x * x, parity="odd", degree=3.0),
        Activation("sign", torch.sign, torch.zeros_like, (0.0,), (0.0,), parity="odd", degree=0.0),
        Activation("step", _step, torch.zeros_like, (0.0,), (0.0,), degree=0.0, differentiable=False),
        Activation("tanh", torch.tanh, _sech2, parity="odd"),
        Activation("erf", torch.erf, lambda x: 2 / math.sqrt(math.pi) * torch.exp(-x * x), parity="odd"),
        Activation("sin", torch.sin, torch.cos, parity="odd"),
        Activation("cos", torch.cos, lambda x: -torch.sin(x), parity="even"),
        Activation("exp", torch.exp, torch.exp),
        Activation("gaussian", _gaussian, lambda x: -x * _gaussian(x), parity="even"),
        Activation("arctan", torch.arctan, lambda x: 1 / (1 + x * x), parity="odd"),
        Activation("sigmoid", torch.sigmoid, _d_sigmoid),
        Activation("gelu", F.gelu, _d_gelu),
        Activation("gelu_tanh", _gelu_tanh),
        Activation("quick_gelu", _quick_gelu),
        Activation("silu", F.silu, _d_silu),
        Activation("mish", F.mish, _d_mish),
        Activation("softplus", _softplus, torch.sigmoid),
        Activation("softsign", F.softsign, lambda x: 1 / (1 + x.abs()) ** 2, kinks=(0.0,), parity="odd"),
        Activation("selu", F.selu, kinks=(0.0,)),
        Activation("hardsigmoid", F.hardsigmoid, kinks=(-3.0, 3.0)),
        Activation("hardswish", F.hardswish, kinks=(-3.0, 3.0)),
        Activation("logsigmoid", F.logsigmoid, lambda x: torch.sigmoid(-x)),
        Activation("tanhshrink", _tanhshrink, lambda x: torch.tanh(x) ** 2, parity="odd"),
    )
}

ALIASES = {
    "identity": "linear",
    "swish": "silu",
    "sine": "sin",
    "heaviside": "step",
    "normal_cdf_gate": "gelu",
    "leakyrelu": "leaky_relu",
    "logistic": "sigmoid",
    "squared_relu": "relu_squared",
    "atan": "arctan",
}

Family = Callable[..., Activation]


def named(name: str, **parameters: float) -> tuple[str, dict[str, float]]:
    values = {key: float(value) for key, value in parameters.items()}
    texts = (f"{v:g}" if float(f"{v:g}") == v else repr(v) for v in values.values())
    return f"{name}({', '.join(texts)})", values


def leaky_relu(slope: float = 0.01) -> Activation:
    """max(z, 0) + slope·min(z, 0)."""
    name, parameters = named("leaky_relu", slope=slope)
    if slope == 0:
        return FIXED["relu"]
    return Activation(
        name,
        lambda x: F.leaky_relu(x, slope),
        lambda x: torch.where(x > 0, torch.ones_like(x), torch.full_like(x, slope)),
        kinks=() if slope == 1 else (0.0,),
        parity="odd" if slope == 1 else "even" if slope == -1 else None,
        degree=1.0,
        parameters=parameters,
    )


def elu(alpha: float = 1.0) -> Activation:
    """Z for z > 0, alpha·(e^z − 1) below."""
    name, parameters = named("elu", alpha=alpha)
    return Activation(
        name,
        lambda x: torch.where(x > 0, x, alpha * torch.expm1(torch.clamp(x, max=0.0))),
        lambda x: torch.where(x > 0, torch.ones_like(x), alpha * torch.exp(torch.clamp(x, max=0.0))),
        kinks=(0.0,),
        parameters=parameters,
    )


def celu(alpha: float = 1.0) -> Activation:
    """max(z, 0) + min(0, alpha·(e^{z/alpha} − 1))."""
    name, parameters = named("celu", alpha=alpha)
    return Activation(name, lambda x: F.celu(x, alpha), kinks=(0.0,), parameters=parameters)


def hardtanh(low: float = -1.0, high: float = 1.0) -> Activation:
    """Z clipped to [low, high]."""
    name, parameters = named("hardtanh", low=low, high=high)
    return Activation(
        name,
        lambda x: torch.clamp(x, low, high),
        lambda x: ((x > low) & (x < high)).to(x.dtype),
        kinks=(low, high),
        parity="odd" if low == -high else None,
        parameters=parameters,
    )


def hardshrink(threshold: float = 0.5) -> Activation:
    """Z where |z| > threshold, else 0."""
    name, parameters = named("hardshrink", threshold=threshold)
    edges = (-threshold, threshold)
    return Activation(
        name, lambda x: F.hardshrink(x, threshold), None, edges, edges, "odd", parameters=parameters
    )


def softshrink(threshold: float = 0.5) -> Activation:
    """sign(z)·max(|z| − threshold, 0)."""
    name, parameters = named("softshrink", threshold=threshold)
    edges = (-threshold, threshold)
    return Activation(
        name,
        lambda x: F.softshrink(x, threshold),
        lambda x: (x.abs() > threshold).to(x.dtype),
        kinks=edges,
        parity="odd",
        parameters=parameters,
    )


def threshold(threshold: float, value: float) -> Activation:
    """Z where z > threshold, else value."""
    name, parameters = named("threshold", threshold=threshold, value=value)
    jumps = () if threshold == value else (threshold,)
    return Activation(
        name,
        lambda x: F.threshold(x, threshold, value),
        lambda x: (x > threshold).to(x.dtype),
        (threshold,),
        jumps,
        parameters=parameters,
    )


def scaled_softplus(beta: float = 1.0) -> Activation:
    """log(1 + e^{beta·z})/beta."""
    name, parameters = named("softplus", beta=beta)
    return Activation(
        name, lambda x: _softplus(beta * x) / beta, lambda x: torch.sigmoid(beta * x), parameters=parameters
    )


def sine(frequency: float = 30.0) -> Activation:
    """sin(frequency·z), the activation of SIREN."""
    name, parameters = named("sin", frequency=frequency)
    return Activation(
        name,
        lambda x: torch.sin(frequency * x),
        lambda x: frequency * torch.cos(frequency * x),
        parity="odd",
        parameters=parameters,
    )


FAMILIES: dict[str, Family] = {
    "leaky_relu": leaky_relu,
    "elu": elu,
    "celu": celu,
    "hardtanh": hardtanh,
    "hardshrink": hardshrink,
    "softshrink": softshrink,
    "threshold": threshold,
    "softplus": scaled_softplus,
    "sin": sine,
}
