"""Fractal blocks: two paths of different depth that are joined by a mean, with a gain that keeps the variance."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from firstlight import activations
from firstlight.activations import uniform_quantiser
from firstlight.builders.blocks.dense import Dense
from firstlight.builders.blocks.description import Block
from firstlight.errors import DomainError
from firstlight.theory.designs.rounding import rounded_layer


class FractalJoin(nn.Module):
    """gain·(long(x) + short(x))/2.

    Parameters
    ----------
    long, short
        The two paths.
    gain
        1 for a plain mean, √2 to keep the variance of two independent paths.
    """

    def __init__(self, long: nn.Module, short: nn.Module, *, gain: float = math.sqrt(2)) -> None:
        super().__init__()
        self.long, self.short, self.gain = long, short, gain

    def forward(self, x: Tensor) -> Tensor:
        """The joined paths."""
        result: Tensor = (self.long(x) + self.short(x)) * (0.5 * self.gain)
        return result


@dataclass(frozen=True)
class Fractal(Block):
    r"""The fractal of C columns: f₁ = layer, f_{C+1} = join(f_C ∘ f_C, layer).

    .. math:: q_{C+1}(q) = \tfrac{g^2}{4}\big(q_C(q_C(q)) + V(q)\big)

    With a plain mean (g = 1) of layers that keep the second moment, q_C = 1, ½, .31, .27, .27 for C = 1 … 5: a chain of
    such blocks loses its signal. g = √2 keeps it.

    Attributes
    ----------
    columns
        C.
    layer
        The layer on every path.
    gain
        g.

    Notes
    -----
    Larsson, Maire and Shakhnarovich (2017), *FractalNet*, with joins of two paths.

    Examples
    --------
    >>> from firstlight.builders.blocks import Fractal
    >>> [round(Fractal(c, gain=1.0).second_moment(1.0), 2) for c in range(1, 6)]
    [1.0, 0.5, 0.31, 0.27, 0.27]
    """

    columns: int = 3
    layer: Dense = field(default_factory=Dense)
    gain: float = math.sqrt(2)

    def __post_init__(self) -> None:
        if not 1 <= self.columns <= 8:
            raise DomainError(
                f"while describing a Fractal: expected 1 to 8 columns, got {self.columns}; "
                "C columns have 2^C − 1 layers"
            )

    def second_moment(self, q: float) -> float:
        """Both paths, a quarter of the squared gain each."""
        return self._maps(self.columns, q)[0]

    def gradient(self, q: float) -> float:
        """The same for the squared slopes."""
        return self._maps(self.columns, q)[1]

    def _maps(self, columns: int, q: float) -> tuple[float, float]:
        short = self.layer.second_moment(q), self.layer.gradient(q)
        if columns == 1:
            return short
        first = self._maps(columns - 1, q)
        second = self._maps(columns - 1, first[0])
        share = 0.25 * self.gain**2
        return share * (second[0] + short[0]), share * (first[1] * second[1] + short[1])

    def rounding(self, q: float, bits: int) -> tuple[float, float]:
        """To first order, by the true slope of the layer's activation."""
        rounded_layer(self.layer.layer, q, bits)  # refuses jumps
        true = replace(self.layer, activation=replace(activations.get(self.layer.activation), backward=None))
        chi = replace(self, layer=true).gradient(q)
        return chi, chi * uniform_quantiser(bits).error * q

    def correlation(self, q: float, c: float) -> float:
        """Covariances of both paths over their second moments."""
        return self._covariance(self.columns, q, c) / self._maps(self.columns, q)[0]

    def _covariance(self, columns: int, q: float, c: float) -> float:
        short = self.layer.correlation(q, c) * self.layer.second_moment(q)
        if columns == 1:
            return short
        middle = self._maps(columns - 1, q)[0]
        long = self._covariance(columns - 1, middle, self._covariance(columns - 1, q, c) / middle)
        return 0.25 * self.gain**2 * (long + short)

    def module(self, width: int, *, q: float = 1.0, generator: torch.Generator | None = None) -> nn.Module:
        """The fractal, with fresh weights in each of its 2^C − 1 layers."""
        return self._build(self.columns, width, generator)

    def _build(self, columns: int, width: int, generator: torch.Generator | None) -> nn.Module:
        short = self.layer.module(width, generator=generator)
        if columns == 1:
            return short
        halves = [self._build(columns - 1, width, generator) for _ in range(2)]
        return FractalJoin(nn.Sequential(*halves), short, gain=self.gain)

    @property
    def name(self) -> str:
        """The block with its columns."""
        return f"fractal({self.columns})"
