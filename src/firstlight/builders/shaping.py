"""Activation shaping: a gain before the activation that falls with depth, and feature-major linear layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from firstlight.doors import checked
from firstlight.errors import DomainError

Gains = Sequence[float] | Callable[[int], float]


@checked
def power_gains(depth: int, exponent: float) -> list[float]:
    r"""Gains :math:`α_ℓ = ℓ^{-γ}` of layers ℓ = 1 … depth.

    Raises
    ------
    DomainError
        If the depth is below 1 or the exponent is negative or not finite.

    References
    ----------
    Meterez et al., ICLR 2024, section 5.

    Examples
    --------
    >>> from firstlight.builders import power_gains
    >>> power_gains(3, 1.0)
    [1.0, 0.5, 0.3333333333333333]
    """
    if depth < 1 or not (math.isfinite(exponent) and exponent >= 0):
        raise DomainError(
            f"while making gains: expected depth ≥ 1 and a finite exponent ≥ 0, got {depth} and {exponent}; "
            "the paper uses 0.4"
        )
    return [float(layer) ** -exponent for layer in range(1, depth + 1)]


def check_gains(gains: Gains, depth: int) -> list[float]:
    """The gains of every layer from a list or from a function of the layer number 1 … depth.

    Raises
    ------
    DomainError
        If their number is not the depth, or one is not a positive finite number.
    """
    values = [float(gains(layer)) for layer in range(1, depth + 1)] if callable(gains) else list(gains)
    if len(values) != depth or not all(math.isfinite(g) and g > 0 for g in values):
        raise DomainError(
            f"while making gains: expected {depth} positive finite numbers, got {len(values)}"
            f"{'' if len(values) != depth else f', the smallest {min(values)}'}; give one per layer"
        )
    return values


class ShapedActivation(nn.Module):
    """φ(α z) with a gain α, fixed or learnable.

    Parameters
    ----------
    activation
        φ: a module or any callable of one tensor.
    gain
        α.
    learnable
        Whether α is a parameter.

    Examples
    --------
    >>> import torch
    >>> from firstlight.builders import ShapedActivation
    >>> ShapedActivation(torch.sin, 0.5)(torch.tensor([torch.pi]))
    tensor([1.])
    """

    @checked
    def __init__(
        self, activation: Callable[[Tensor], Tensor], gain: float, *, learnable: bool = False
    ) -> None:
        super().__init__()
        self.activation = activation
        self.gain: Any = nn.Parameter(torch.tensor(float(gain))) if learnable else float(gain)

    def forward(self, z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """φ(α z), entry by entry."""
        return self.activation(z if isinstance(self.gain, float) and self.gain == 1.0 else self.gain * z)

    def extra_repr(self) -> str:
        """The gain, and the activation where it is no module."""
        named = "" if isinstance(self.activation, nn.Module) else f"{_name(self.activation)}, "
        return f"{named}gain={float(self.gain):.4g}"


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "name", getattr(function, "__name__", function)))


class FeatureMajorLinear(nn.Linear):
    """A linear layer that leaves its output stored by features, as batch norm over the batch reads it.

    Same numbers and shapes as ``nn.Linear``; only the strides of the output differ. With `BatchNorm` after it
    the batch norm runs as one fused layer norm over contiguous memory.

    Examples
    --------
    >>> import torch
    >>> from firstlight.builders import FeatureMajorLinear
    >>> FeatureMajorLinear(3, 5, bias=False)(torch.ones(2, 3)).stride()
    (1, 2)
    """

    def forward(self, input: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:
        """``input @ weight.T + bias``."""
        if torch._C._len_torch_function_stack() > 0 or torch.compiler.is_compiling():
            return functional.linear(input, self.weight, self.bias)
        z = torch.mm(self.weight, input.t()).t()
        return z if self.bias is None else z + self.bias
