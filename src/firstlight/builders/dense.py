"""Multilayer perceptrons with the scales of mean-field theory, as ordinary torch modules."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from firstlight import weights
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.files import memory

M = TypeVar("M", bound=nn.Module)

_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
    "rms": nn.RMSNorm,
}
# names whose lower-case torch class is not the name itself
_ALIASES: dict[str, type[nn.Module]] = {"linear": nn.Identity, "identity": nn.Identity, "swish": nn.SiLU}
_MODULES: dict[str, type[nn.Module]] = _ALIASES | {
    name.lower(): getattr(nn, name)
    for name in (
        *("Tanh", "ReLU", "Sigmoid", "GELU", "SiLU", "ELU", "SELU", "CELU", "LeakyReLU", "Softplus"),
        *("Softsign", "Mish", "Hardtanh", "Hardswish", "Hardsigmoid", "ReLU6", "LogSigmoid", "Tanhshrink"),
    )
}


class Pointwise(nn.Module):
    """An activation given as any callable of one tensor, as a module.

    Examples
    --------
    >>> import torch
    >>> from firstlight.builders import Pointwise
    >>> Pointwise(torch.sin)(torch.zeros(2))
    tensor([0., 0.])
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """φ(z), entry by entry."""
        return self.function(z)

    def extra_repr(self) -> str:
        """The name of the function."""
        return str(getattr(self.function, "name", getattr(self.function, "__name__", self.function)))


def activation_module(activation: str | nn.Module | Callable[[Tensor], Tensor]) -> nn.Module:
    """A fresh module that applies an activation.

    Parameters
    ----------
    activation
        A name (torch's own class where there is one, else the registry ``firstlight.activations``), a module
        (copied, so that no two layers share it), or any callable of one tensor.

    Raises
    ------
    DomainError
        If no activation has this name.

    Examples
    --------
    >>> from firstlight.builders import activation_module
    >>> activation_module("tanh")
    Tanh()
    """
    if isinstance(activation, nn.Module):
        return copy.deepcopy(activation)
    if isinstance(activation, str):
        known = _MODULES.get(activation.lower().replace("_", ""))
        return known() if known is not None else Pointwise(_registered(activation))
    return Pointwise(activation)


def _registered(name: str) -> Callable[[Tensor], Tensor]:
    from firstlight import activations

    return activations.get(name)


@checked
def mlp(
    in_features: int,
    out_features: int | None,
    *,
    depth: int,
    width: int,
    activation: str | nn.Module | Callable[[Tensor], Tensor] = "tanh",
    sigma_w: float = 1.0,
    sigma_b: float = 0.0,
    norm: str | None = None,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    r"""A multilayer perceptron drawn as mean-field theory describes it.

    .. math::
        z^l = W^l φ(z^{l-1}) + b^l, \quad \sqrt{n_{l-1}}\, W_{ij} / σ_w \sim N(0, 1), \quad b_i \sim N(0, σ_b²)

    with a normaliser, if any, between z and φ; `draw` draws the weights anew by another law. The modules are
    named ``fc1, norm1, phi1, …, readout``; the first one flattens an input of any shape.

    Parameters
    ----------
    in_features
        Number of entries of one sample.
    out_features
        Number of outputs of the linear readout after the last hidden layer; None for no readout.
    depth
        Number of hidden layers, each a linear map and an activation; at least 1.
    width
        Units of each hidden layer.
    activation
        Anything ``activation_module`` takes.
    sigma_w, sigma_b
        Scales of weights (per square root of the fan-in) and biases; not negative.
    norm
        ``"batch"``, ``"layer"`` or ``"rms"`` between each linear map and its activation.
    generator
        Where the random numbers come from; torch's global one by default.

    Returns
    -------
    nn.Sequential
        Takes ``(samples, ...)`` with ``in_features`` entries per sample, gives ``(samples, out_features)``.

    Raises
    ------
    DomainError
        If a size is not positive, a scale is negative, or a name is unknown.

    References
    ----------
    Poole et al., "Exponential expressivity in deep neural networks through transient chaos", NeurIPS 2016,
    eq. 1.

    Examples
    --------
    >>> import torch
    >>> from firstlight.builders import mlp
    >>> model = mlp(64, 10, depth=2, width=32, activation="tanh", sigma_w=1.5)
    >>> [name for name, _ in model.named_children()]
    ['flatten', 'fc1', 'phi1', 'fc2', 'phi2', 'readout']
    >>> model(torch.zeros(3, 8, 8)).shape
    torch.Size([3, 10])
    """
    _check(in_features, out_features, depth=depth, width=width, norm=norm)
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    fan_in = in_features
    for index in range(1, depth + 1):
        layers[f"fc{index}"] = _linear(fan_in, width)
        if norm is not None:
            layers[f"norm{index}"] = _NORMS[norm](width)
        layers[f"phi{index}"] = activation_module(activation)
        fan_in = width
    if out_features is not None:
        layers["readout"] = _linear(fan_in, out_features)
    return draw(nn.Sequential(layers), sigma_w=sigma_w, sigma_b=sigma_b, generator=generator)


def _linear(fan_in: int, width: int) -> nn.Linear:
    """A linear layer whose own initialisation, soon overwritten, does not move the global generator.

    (``nn.utils.skip_init`` would do without it, and import sympy for that.)
    """
    with torch.random.fork_rng(devices=[]):
        return nn.Linear(fan_in, width)


@checked
@torch.no_grad()
def draw(
    target: M,
    *,
    sigma_w: float,
    sigma_b: float = 0.0,
    weight_law: Any = "normal",
    generator: torch.Generator | None = None,
) -> M:
    """Draw a linear layer, or all those of a model, anew, in place: weights σ_w/√fan-in times P, biases N(0, σ_b²).

    Parameters
    ----------
    target
        The layer or model to write into; it is returned.
    sigma_w, sigma_b
        The two scales; not negative and finite.
    weight_law
        P: ``"normal"``, another name that ``firstlight.weights.get`` knows, such as ``"weibull(3)"``, or a
        law object. The law is not normalised: a law whose E W² is not 1 multiplies σ_w².
    generator
        Where the random numbers come from.

    Raises
    ------
    DomainError
        If a scale is negative or not finite, or the law is unknown.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from firstlight.builders import draw
    >>> layer = draw(nn.Linear(1000, 1000), sigma_w=2.0, generator=torch.Generator().manual_seed(0))
    >>> round(layer.weight.std().item() * 1000**0.5, 2)
    2.0
    """
    for name, value in (("sigma_w", sigma_w), ("sigma_b", sigma_b)):
        if not (math.isfinite(value) and value >= 0):
            raise DomainError(
                f"while drawing a layer: expected a finite {name} ≥ 0, got {value}; "
                "a scale is a standard deviation"
            )
    law = weights.get(weight_law)
    for layer in target.modules():
        if not isinstance(layer, nn.Linear):
            continue
        shape, fan_in = layer.weight.shape, layer.in_features
        layer.weight.copy_(law.sample(shape, generator=generator, fan_in=fan_in, sigma_w=sigma_w))
        if layer.bias is not None:
            layer.bias.normal_(generator=generator).mul_(sigma_b)
    return target


def check_fits(in_features: int, out_features: int | None, *, depth: int, width: int) -> None:
    """Refuse a network whose weights do not fit into memory, with a ``DomainError``."""
    held = width * (in_features + (depth - 1) * width + (out_features or 0))
    # 4 bytes a weight; torch and its modules need some kilobytes a layer
    if 4 * held + 8192 * depth > memory():
        raise DomainError(
            f"while building an MLP: expected weights that fit into memory, got {held:.3g} of them in "
            f"{depth:.3g} layers; take a smaller network"
        )


def _check(in_features: int, out_features: int | None, *, depth: int, width: int, norm: str | None) -> None:
    sizes = {"in_features": in_features, "depth": depth, "width": width}
    if out_features is not None:
        sizes["out_features"] = out_features
    for name, value in sizes.items():
        if value < 1:
            raise DomainError(
                f"while building an MLP: expected {name} ≥ 1, got {value}; give a positive whole number"
            )
    check_fits(in_features, out_features, depth=depth, width=width)
    if norm is not None and norm not in _NORMS:
        raise DomainError(
            f"while building an MLP: expected norm to be one of {', '.join(_NORMS)} or None, got {norm!r}"
        )
