"""Block: one step of a network, known by what it does to second moments and gradients, and as a torch module."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import nn

from firstlight.activations import uniform_quantiser
from firstlight.network import RandomNetwork


class Block(ABC):
    """One step of a network, in wide-layer theory and as a module.

    Second moments are of the entries between blocks, which theory takes for normal with mean zero.
    """

    @abstractmethod
    def second_moment(self, q: float) -> float:
        """Second moment of the outputs for inputs of second moment q."""

    @abstractmethod
    def gradient(self, q: float) -> float:
        """Factor of the mean squared gradient from the outputs to the inputs, at inputs of second moment q."""

    def correlation(self, q: float, c: float) -> float:
        """Correlation of the outputs for two inputs of second moment q and correlation c; NaN where not known."""
        return math.nan

    def rounding(self, q: float, bits: int) -> tuple[float, float]:
        """Factor of the variance of a small error that comes in, and the variance that rounding the inputs adds.

        Both are the gradient's factor to first order: a square Jacobian and its transpose have one Frobenius norm.

        Raises
        ------
        DomainError
            The block has a jump, which a small error crosses as a whole step.
        """
        chi = self.gradient(q)
        return chi, chi * uniform_quantiser(bits).error * q

    @property
    def described(self) -> RandomNetwork | None:
        """The block as a layer of a `RandomNetwork`; None for a block that is none."""
        return None

    @property
    def keeps_width(self) -> bool:
        """Whether the outputs are as many as the inputs; else ``module`` takes ``fan_out`` too."""
        return True

    @abstractmethod
    def module(self, width: int, *, q: float = 1.0, generator: torch.Generator | None = None) -> nn.Module:
        """A fresh torch module of the block; q is the second moment that theory expects of its inputs."""

    @property
    @abstractmethod
    def name(self) -> str:
        """How a profile calls the block."""


class Blocks(tuple[Block, ...]):
    """Several blocks, to be repeated with ``*`` and joined with ``+`` as tuples are.

    Examples
    --------
    >>> from firstlight.builders.blocks import Blocks, Dense, SingleScale
    >>> [block.name for block in Blocks((Dense("relu", sigma_w=2**0.5), SingleScale())) * 2]
    ['dense(relu)', 'rms', 'dense(relu)', 'rms']
    """

    __slots__ = ()

    def __iter__(self) -> Iterator[Block]:
        return super().__iter__()
