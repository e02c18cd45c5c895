"""The plain block: an activation, then random weights."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from firstlight import activations
from firstlight.builders.blocks.description import Block
from firstlight.builders.dense import activation_module, draw
from firstlight.network import RandomNetwork
from firstlight.theory import LayerMap
from firstlight.theory.designs.rounding import rounded_layer


class MappedBlock(Block):
    """A block whose moments, slope and correlation are those of a mean-field map."""

    @property
    @abstractmethod
    def layer(self) -> LayerMap:
        """The mean-field map."""

    def second_moment(self, q: float) -> float:
        """V(q) of the layer's map."""
        return float(self.layer.variance(q))

    def gradient(self, q: float) -> float:
        """χ₁(q)."""
        return float(self.layer.chi(q))

    def correlation(self, q: float, c: float) -> float:
        """C(c) of the layer's map."""
        return float(self.layer.correlation(q, c))

    def rounding(self, q: float, bits: int) -> tuple[float, float]:
        """χ₁ of the true slope, and the error of one rounding behind φ."""
        return rounded_layer(self.layer, q, bits)


@dataclass(frozen=True)
class Dense(MappedBlock):
    """W φ(z) + b, with weights of scale σ_w/√n and biases of deviation σ_b.

    Attributes
    ----------
    activation
        A name, or anything that ``activations.get`` takes.
    sigma_w, sigma_b
        The scales.

    Examples
    --------
    >>> from firstlight.builders.blocks import Dense
    >>> block = Dense("relu", sigma_w=2**0.5)
    >>> round(block.second_moment(3.0), 6), round(block.gradient(3.0), 6)
    (3.0, 1.0)
    """

    activation: Any = "relu"
    sigma_w: float = math.sqrt(2)
    sigma_b: float = 0.0

    @property
    def layer(self) -> LayerMap:
        """The mean-field map."""
        return LayerMap.of(self.activation, sigma_w=self.sigma_w, sigma_b=self.sigma_b)

    @property
    def described(self) -> RandomNetwork:
        """A layer with this activation and these scales."""
        return RandomNetwork(
            depth=2, width=1, activation=self.activation, sigma_w=self.sigma_w, sigma_b=self.sigma_b
        )

    @property
    def keeps_width(self) -> bool:
        """False."""
        return False

    def module(
        self,
        width: int,
        *,
        fan_out: int | None = None,
        q: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> nn.Module:
        """The activation and a linear layer."""
        linear = nn.Linear(width, fan_out or width, bias=self.sigma_b > 0)
        draw(linear, sigma_w=self.sigma_w, sigma_b=self.sigma_b, generator=generator)
        return nn.Sequential(activation_module(self.activation), linear)

    @property
    def name(self) -> str:
        """The block with its activation."""
        return f"dense({activations.get(self.activation).name})"
