"""Blocks whose activation is no function of one number: gates of two inputs, and the largest entries of a layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from firstlight import activations
from firstlight.activations.modules import TopK, top_k_moments
from firstlight.builders.blocks.description import Block
from firstlight.builders.dense import draw
from firstlight.errors import DomainError


class _Gated(nn.Module):
    def __init__(self, gate: activations.Gate, left: nn.Linear, right: nn.Linear, out: nn.Linear) -> None:
        super().__init__()
        self.gate, self.left, self.right, self.out = gate, left, right, out

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.out(self.gate(self.left(x), self.right(x)))
        return result


@dataclass(frozen=True)
class Gated(Block):
    r"""W (left(Ux)·right(Vx)) with independent normal U, V of scale σ_w and W of scale σ_out.

    .. math:: q' = σ_{out}^2\, E l^2 E r^2, \qquad χ = σ_{out}^2 σ_w^2 (E l'^2 E r^2 + E l^2 E r'^2)

    at arguments of variance σ_w² q.

    Attributes
    ----------
    gate
        Name of the gate: glu, swiglu, geglu, reglu, bilinear or drelu.
    sigma_w, sigma_out
        The scales.

    Examples
    --------
    >>> from firstlight.builders.blocks import Gated
    >>> round(Gated("bilinear").second_moment(2.0), 9), round(Gated("bilinear").gradient(2.0), 9)  # q², 2q
    (4.0, 4.0)
    """

    gate: str = "swiglu"
    sigma_w: float = 1.0
    sigma_out: float = 1.0

    def second_moment(self, q: float) -> float:
        """σ_out² E h²."""
        return self.sigma_out**2 * activations.gate(self.gate).moments(self.sigma_w**2 * q).second

    def gradient(self, q: float) -> float:
        """σ_out² σ_w² times the slope of the gate."""
        slope = activations.gate(self.gate).moments(self.sigma_w**2 * q).slope
        return self.sigma_out**2 * self.sigma_w**2 * slope

    def correlation(self, q: float, c: float) -> float:
        """E h h'/E h²."""
        gate, inner = activations.gate(self.gate), self.sigma_w**2 * q
        return gate.dual(inner, c) / gate.moments(inner).second

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
        """Three linear layers and the gate, of as many units as there are inputs."""
        layers = [nn.Linear(width, size, bias=False) for size in (width, width, fan_out or width)]
        for layer, scale in zip(layers, (self.sigma_w, self.sigma_w, self.sigma_out)):
            draw(layer, sigma_w=scale, generator=generator)
        return _Gated(activations.gate(self.gate), *layers)

    @property
    def name(self) -> str:
        """The gate's name."""
        return self.gate


@dataclass(frozen=True)
class KSparse(Block):
    """W h where h keeps the share of the largest entries (or sizes) of its input, in wide layers.

    Attributes
    ----------
    share
        k/width in (0, 1].
    sigma_w
        Scale of the weights; None for the one that keeps gradients, 1/√share.
    by_size
        Whether the largest |entries| stay.

    Examples
    --------
    >>> from firstlight.builders.blocks import KSparse
    >>> round(KSparse(0.5).second_moment(3.0), 9), KSparse(0.5).gradient(3.0)  # as ReLU with He's weights
    (3.0, 1.0)
    """

    share: float = 0.5
    sigma_w: float | None = None
    by_size: bool = False

    @property
    def _square(self) -> float:
        return 1 / self.share if self.sigma_w is None else self.sigma_w**2

    def second_moment(self, q: float) -> float:
        """σ_w² E h²."""
        return self._square * top_k_moments(self.share, q=q, by_size=self.by_size).second

    def gradient(self, q: float) -> float:
        """σ_w² times the share."""
        return self._square * self.share

    def correlation(self, q: float, c: float) -> float:
        """That of a threshold: in a wide layer the k-th largest entry is no random number."""
        kept = top_k_moments(self.share, q=q, by_size=self.by_size)
        at = kept.threshold
        if not math.isfinite(at):
            return c
        size = torch.abs if self.by_size else torch.positive
        phi = activations.from_callable(lambda z: z * (size(z) > at).to(z.dtype), name=f"top({self.share:g})")
        return float(activations.dual(phi, q, q, c)) / kept.second

    def rounding(self, q: float, bits: int) -> tuple[float, float]:
        """Refused: an entry that rounding moves across the threshold appears or vanishes as a whole.

        Raises
        ------
        DomainError
            Always.
        """
        raise DomainError(
            f"while predicting the noise of rounding: expected blocks without jumps, got {self.name!r}; an entry that "
            "rounding moves across its threshold appears or vanishes as a whole"
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
        """Top-k and a linear layer."""
        linear = draw(
            nn.Linear(width, fan_out or width, bias=False),
            sigma_w=math.sqrt(self._square),
            generator=generator,
        )
        return nn.Sequential(TopK(max(1, round(self.share * width)), by_size=self.by_size), linear)

    @property
    def name(self) -> str:
        """The share."""
        return f"top({self.share:g})"
