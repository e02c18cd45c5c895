"""Circular convolutions by the same samplers: a convolution is a matrix acting on patches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.ensemble.samplers.base import Sampler
from firstlight.ensemble.samplers.normal import NormalWeights
from firstlight.errors import DomainError


@dataclass(frozen=True)
class CircularConvolution:
    r"""A random convolution with circular padding, in one or two (or more) dimensions.

    .. math:: Z_c(p) = \tfrac{\sigma_w}{\sqrt{n K}} \sum_{c', o} W_{c, c', o} H_{c'}(p + o) + \sigma_b B_c

    with n input channels and K offsets o centred on 0. The columns of the dense samplers are the pairs of a
    position and an input, the rows of their H the pairs of a channel and an offset; so Gaussian weights need a QR of
    the patches and no kernel if positions × inputs < n K, and one kernel otherwise.

    Parameters
    ----------
    sampler
        Of the matrix (channels_out, channels_in · K); its scales are σ_w and σ_b.
    kernel
        Size per dimension, such as ``(3,)`` or ``(3, 3)``.

    Examples
    --------
    >>> import torch
    >>> from firstlight.ensemble.samplers import CircularConvolution, NormalWeights
    >>> convolution = CircularConvolution(NormalWeights(2**0.5), (3, 3))
    >>> h = torch.ones(5, 4, 8, 8, 2)
    >>> z, _ = convolution.forward(h, 6, torch.Generator().manual_seed(0))
    >>> z.shape
    torch.Size([5, 6, 8, 8, 2])
    """

    sampler: Sampler
    kernel: Sequence[int]

    def forward(
        self,
        h: Float[Tensor, "nets channels *space inputs"],
        channels_out: int,
        generator: torch.Generator,
        *,
        keep: bool = False,
    ) -> tuple[Float[Tensor, "nets channels_out *space inputs"], Any]:
        """Pre-activations, and what ``backward`` needs (None unless ``keep``).

        Raises
        ------
        DomainError
            The kernel has another number of dimensions than the activations, or is larger than they are.
        """
        nets, _, *space, inputs = h.shape
        if len(space) != len(self.kernel) or any(
            not 1 <= size <= side for size, side in zip(self.kernel, space, strict=False)
        ):
            raise DomainError(
                f"while convolving: expected activations with {len(self.kernel)} dimensions, each at least as "
                f"large as the kernel {tuple(self.kernel)}, got {tuple(space)}; shape is (nets, channels, "
                "*space, inputs)"
            )
        z, memo = self.sampler.forward(self.patches(h), channels_out, generator, keep=keep)
        return z.view(nets, channels_out, *space, inputs), (memo, h.shape) if keep else None

    def backward(
        self,
        memo: Any,
        delta: Float[Tensor, "nets channels_out *space inputs"],
        generator: torch.Generator,
    ) -> Float[Tensor, "nets channels *space inputs"]:
        """Gradients by ``h`` from gradients by the pre-activations; call once per ``memo``."""
        inner, shape = memo
        flat = delta.reshape(delta.shape[0], delta.shape[1], -1)
        patches = self.sampler.backward(inner, flat, generator)
        patches = patches.view(shape[0], shape[1], math.prod(self.kernel), *shape[2:])
        moved = [
            self._moved(patches[:, :, i], tuple(-o for o in offset))
            for i, offset in enumerate(self._offsets())
        ]
        return torch.stack(moved).sum(dim=0)

    def patches(
        self, h: Float[Tensor, "nets channels *space inputs"]
    ) -> Float[Tensor, "nets patch_entries positions_inputs"]:
        """What the kernel sees, one column for each position of each input: what the dense sampler acts on."""
        nets = h.shape[0]
        if nets > 1 and h.stride(0) == 0:  # one image for all networks: the raw inputs
            return self.patches(h[:1]).expand(nets, -1, -1)
        moved = torch.stack([self._moved(h, offset) for offset in self._offsets()], dim=2)
        return moved.reshape(nets, h.shape[1] * math.prod(self.kernel), math.prod(h.shape[2:]))

    def _offsets(self) -> list[tuple[int, ...]]:
        return list(itertools.product(*(range(-((size - 1) // 2), size // 2 + 1) for size in self.kernel)))

    def _moved(self, h: Tensor, offset: Sequence[int]) -> Tensor:
        """The value at p + offset, at every p."""
        return torch.roll(h, [-o for o in offset], dims=list(range(2, 2 + len(offset))))


@dataclass(frozen=True)
class Positions(Sampler):
    """A circular convolution as a sampler of matrices: the columns are the pairs of a position and an input.

    Attributes
    ----------
    convolution
        The convolution.
    space
        Size of the images in each dimension.
    """

    convolution: CircularConvolution
    space: tuple[int, ...]

    def forward(
        self,
        h: Float[Tensor, "nets fan_in inputs"],
        fan_out: int,
        generator: torch.Generator,
        *,
        keep: bool = False,
    ) -> tuple[Float[Tensor, "nets fan_out inputs"], Any]:
        """Pre-activations, and what ``backward`` needs (None unless ``keep``)."""
        z, memo = self.convolution.forward(self._images(h), fan_out, generator, keep=keep)
        return z.flatten(2), memo

    def backward(
        self, memo: object, delta: Float[Tensor, "nets fan_out inputs"], generator: torch.Generator
    ) -> Float[Tensor, "nets fan_in inputs"]:
        """Gradients by ``h`` from gradients by the pre-activations; call once per ``memo``."""
        return self.convolution.backward(memo, self._images(delta), generator).flatten(2)

    def patches(self, h: Float[Tensor, "nets n columns"]) -> Float[Tensor, "nets entries columns"]:
        """What one entry of Z depends on, in the place of ``h``."""
        return self.convolution.patches(self._images(h))

    def conditional_variance(self, h: Float[Tensor, "nets n columns"]) -> Float[Tensor, "nets columns"]:
        """Variance of the next pre-activations given ``h``, position by position; Gaussian weights only."""
        assert isinstance(self.convolution.sampler, NormalWeights)
        square = self._images(h).square().mean(dim=1, keepdim=True)
        mean = self.convolution.patches(square).mean(dim=1)
        return mean * self.convolution.sampler.sigma_w**2 + self.convolution.sampler.sigma_b**2

    def conditional_covariance(
        self, h: Float[Tensor, "nets n columns"]
    ) -> Float[Tensor, "nets inputs inputs"]:
        """Covariance between inputs at one position, averaged over positions, which all patches cover alike."""
        assert isinstance(self.convolution.sampler, NormalWeights)
        features = self._images(h).flatten(1, -2)
        return self.convolution.sampler.conditional_covariance(features)

    def _images(self, h: Tensor) -> Tensor:
        return h.unflatten(2, (*self.space, h.shape[2] // math.prod(self.space)))
