"""Normalisers as blocks: single-scale RMSNorm and generalised divisive normalisation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from firstlight.builders.blocks.description import Block
from firstlight.errors import DomainError


class SingleScaleRMSNorm(nn.Module):
    r"""g·z/rms(z) with *one* learnt scale g for all units.

    A gain per unit gives some units larger entries than others; one scale keeps the units exchangeable, which keeps the
    excess kurtosis of the stream down.

    Parameters
    ----------
    gain
        Where g starts.
    eps
        Added to the mean square.

    Examples
    --------
    >>> import torch
    >>> from firstlight.builders.blocks import SingleScaleRMSNorm
    >>> SingleScaleRMSNorm(2.0)(torch.tensor([[3.0, -3.0]])).tolist()
    [[2.0, -2.0]]
    """

    def __init__(self, gain: float = 1.0, *, eps: float = 1e-12) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(float(gain)))
        self.eps = eps

    def forward(self, z: Float[Tensor, "*batch units"]) -> Float[Tensor, "*batch units"]:
        """The normalised units."""
        return self.weight * z * torch.rsqrt(z.square().mean(-1, keepdim=True) + self.eps)

    def extra_repr(self) -> str:
        """The scale."""
        return f"gain={self.weight.item():g}"


class GDN(nn.Module):
    r"""Generalised divisive normalisation z_i/(β_i + Σ_j γ_ij |z_j|^α)^ε with learnt β and γ.

    Parameters
    ----------
    units
        Units, on the last axis.
    beta, gamma
        Where β starts, and where the *sum* of γ over its inputs starts, spread evenly.
    alpha, epsilon
        The exponents; 2 and ½ make it an RMS norm with β for ε.

    Raises
    ------
    DomainError
        A parameter that is not positive (γ may be 0).

    Notes
    -----
    Ballé, Laparra and Simoncelli (2016), *Density modeling of images using a generalized normalization
    transformation*.

    Examples
    --------
    >>> import torch
    >>> from firstlight.builders.blocks import GDN
    >>> GDN(2, beta=1.0, gamma=2.0)(torch.tensor([[1.0, 2.0]])).mul(6**0.5).round(decimals=5)
    tensor([[1., 2.]], grad_fn=<RoundBackward1>)
    """

    def __init__(
        self, units: int, *, beta: float = 1.0, gamma: float = 1.0, alpha: float = 2.0, epsilon: float = 0.5
    ) -> None:
        super().__init__()
        if min(beta, alpha, epsilon) <= 0 or gamma < 0 or units < 1:
            raise DomainError(
                f"while making a GDN: expected positive parameters, got units={units}, beta={beta}, gamma={gamma}, "
                f"alpha={alpha}, epsilon={epsilon}"
            )
        self.alpha, self.epsilon = alpha, epsilon
        self.beta = nn.Parameter(torch.full((units,), float(beta)))
        self.gamma = nn.Parameter(torch.full((units, units), gamma / units))

    def forward(self, z: Float[Tensor, "*batch units"]) -> Float[Tensor, "*batch units"]:
        """The divided units; β and γ are held at 0 or above."""
        pool = z.abs().pow(self.alpha) @ self.gamma.clamp_min(0.0).T + self.beta.clamp_min(1e-6)
        return z / pool.pow(self.epsilon)


@dataclass(frozen=True)
class SingleScale(Block):
    """`SingleScaleRMSNorm` as a block: second moment gain², gradient gain²/q.

    Attributes
    ----------
    gain
        g.
    """

    gain: float = 1.0

    def second_moment(self, q: float) -> float:
        """gain², whatever q."""
        return self.gain**2

    def gradient(self, q: float) -> float:
        """gain²/q."""
        return self.gain**2 / q

    def correlation(self, q: float, c: float) -> float:
        """That of the inputs: all units are divided by one number."""
        return c

    def module(self, width: int, *, q: float = 1.0, generator: torch.Generator | None = None) -> nn.Module:
        """The normaliser."""
        return SingleScaleRMSNorm(self.gain)

    @property
    def name(self) -> str:
        """Its short name."""
        return "rms"


@dataclass(frozen=True)
class Divisive(Block):
    r"""`GDN` as a block: every unit is divided by the same (β + γ E|z|^α)^ε in a wide layer.

    Attributes
    ----------
    beta, gamma, alpha, epsilon
        As of the module.

    Examples
    --------
    >>> from firstlight.builders.blocks import Divisive
    >>> Divisive(beta=1.0, gamma=1.0).second_moment(3.0)  # q/(1 + q)
    0.75
    """

    beta: float = 1.0
    gamma: float = 1.0
    alpha: float = 2.0
    epsilon: float = 0.5

    def _square(self, q: float) -> float:
        # E |√q G|^α
        size = (
            q ** (self.alpha / 2)
            * 2 ** (self.alpha / 2)
            * math.gamma((self.alpha + 1) / 2)
            / math.sqrt(math.pi)
        )
        return (self.beta + self.gamma * size) ** (-2 * self.epsilon)

    def second_moment(self, q: float) -> float:
        """q/(β + γ E|z|^α)^{2ε}."""
        return q * self._square(q)

    def gradient(self, q: float) -> float:
        """1/(β + γ E|z|^α)^{2ε}; what flows through the pool is of the order of 1/width."""
        return self._square(q)

    def correlation(self, q: float, c: float) -> float:
        """That of the inputs: in a wide layer all units are divided by one number."""
        return c

    def module(self, width: int, *, q: float = 1.0, generator: torch.Generator | None = None) -> nn.Module:
        """The normaliser."""
        return GDN(width, beta=self.beta, gamma=self.gamma, alpha=self.alpha, epsilon=self.epsilon)

    @property
    def name(self) -> str:
        """Its short name."""
        return "gdn"
