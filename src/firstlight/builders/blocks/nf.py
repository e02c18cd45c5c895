"""Residual blocks without normalisers: scaled weight standardisation and a known variance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from firstlight import activations
from firstlight.activations import uniform_quantiser
from firstlight.builders.blocks.description import Block
from firstlight.builders.dense import activation_module
from firstlight.theory import LayerMap
from firstlight.theory.designs.rounding import rounded_layer


class ScaledLinear(nn.Linear):
    r"""A linear layer with scaled weight standardisation, Ŵ = γ (W − mean)/(√n · deviation), row by row.

    Rows sum to zero, so a common mean of the inputs is not passed on, and γ = 1/√Var φ keeps a unit variance.

    Parameters
    ----------
    in_features, out_features
        As of ``nn.Linear``.
    gain
        γ; ``activations.gain(φ, centred=True)`` is the one of an activation: 1.71286 for ReLU.

    Examples
    --------
    >>> import torch
    >>> from firstlight.builders.blocks import ScaledLinear
    >>> weight = ScaledLinear(16, 4, gain=1.5).standardised()
    >>> weight.square().sum(1).detach().round(decimals=4).tolist(), bool(weight.sum(1).abs().max() < 1e-5)
    ([2.25, 2.25, 2.25, 2.25], True)
    """

    def __init__(self, in_features: int, out_features: int, *, gain: float = 1.0, bias: bool = False) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self.gain = nn.Parameter(torch.full((out_features, 1), float(gain)))

    def standardised(self) -> Tensor:
        """The weight that is used."""
        centred = self.weight - self.weight.mean(1, keepdim=True)
        deviation = centred.square().mean(1, keepdim=True).clamp_min(1e-12).sqrt()
        return self.gain * centred / (math.sqrt(self.in_features) * deviation)

    def forward(self, input: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """The standardised weight times the inputs."""
        return F.linear(input, self.standardised(), self.bias)


class _Residual(nn.Module):
    def __init__(self, branch: nn.Module, *, alpha: float, beta: float) -> None:
        super().__init__()
        self.branch, self.alpha, self.beta = branch, alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.alpha * self.branch(x / self.beta)
        return result


@dataclass(frozen=True)
class NFBlock(Block):
    r"""x + α f(x/β), with β² the second moment that is expected of x and f = Ŵ φ of unit variance.

    .. math:: q' = q + α^2 \frac{\mathrm{Var}\, φ(\sqrt q\, G/β)}{\mathrm{Var}\, φ(G)}

    With the β that the chain expects, q' = q + α²: known without a normaliser.

    Attributes
    ----------
    activation
        φ.
    alpha
        α.
    expected
        β²; None for the second moment itself.

    Notes
    -----
    Brock, De and Smith (2021), *Characterizing signal propagation to close the performance gap in unnormalized
    ResNets*, section 3.

    Examples
    --------
    >>> from firstlight.builders.blocks import NFBlock
    >>> round(NFBlock("relu").second_moment(5.0), 9)
    6.0
    """

    activation: Any = "relu"
    alpha: float = 1.0
    expected: float | None = None

    def _branch(self, q: float) -> tuple[float, float]:
        """Variance of the branch, and its squared slope by x, both without α²."""
        phi = activations.get(self.activation)
        beta2 = q if self.expected is None else self.expected
        unit, m = activations.moments(phi, 1.0), activations.moments(phi, q / beta2)
        gain2 = 1 / float(unit.second - unit.mean**2)
        return gain2 * float(m.second - m.mean**2), gain2 * float(m.slope) / beta2

    def second_moment(self, q: float) -> float:
        """The stream's plus α² times the branch's."""
        return q + self.alpha**2 * self._branch(q)[0]

    def gradient(self, q: float) -> float:
        """One plus α² times the branch's squared slope."""
        return 1 + self.alpha**2 * self._branch(q)[1]

    def rounding(self, q: float, bits: int) -> tuple[float, float]:
        """Both on the identity path, and on the branch what a layer of its activation says."""
        phi = activations.get(self.activation)
        beta2 = q if self.expected is None else self.expected
        m = activations.moments(phi, 1.0)
        layer = LayerMap.of(phi, sigma_w=self.alpha / math.sqrt(float(m.second - m.mean**2)))
        chi, fresh = rounded_layer(layer, q / beta2, bits)
        return 1 + chi / beta2, fresh + uniform_quantiser(bits).error * q

    def correlation(self, q: float, c: float) -> float:
        """Both covariances over the second moment; standardised weights take the mean out of the branch's."""
        phi = activations.get(self.activation)
        inner = q / (q if self.expected is None else self.expected)
        unit, m = activations.moments(phi, 1.0), activations.moments(phi, inner)
        across = float(activations.dual(phi, inner, inner, c)) - float(m.mean) ** 2
        branch = across / float(unit.second - unit.mean**2)
        return (q * c + self.alpha**2 * branch) / self.second_moment(q)

    def module(self, width: int, *, q: float = 1.0, generator: torch.Generator | None = None) -> nn.Module:
        """The residual block."""
        gain = activations.gain(self.activation, centred=True)
        linear = ScaledLinear(width, width, gain=gain)
        nn.init.normal_(linear.weight, generator=generator)
        beta = math.sqrt(q if self.expected is None else self.expected)
        branch = nn.Sequential(activation_module(self.activation), linear)
        return _Residual(branch, alpha=self.alpha, beta=beta)

    @property
    def name(self) -> str:
        """The block with its activation."""
        return f"nf({activations.get(self.activation).name})"
