"""Send inputs through a chunk of random networks, layer by layer, and gradients back."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.ensemble.samplers import (
    CircularConvolution,
    NormalWeights,
    Positions,
    Sampler,
    sampler_for,
)
from firstlight.ensemble.samplers._homogeneous import slopes, squared_ratio
from firstlight.ensemble.samplers._local import Between
from firstlight.network import RandomNetwork


@dataclass(frozen=True)
class Layer:
    """What one layer of a chunk of networks shows.

    Attributes
    ----------
    index
        Number of the layer, from 1.
    z
        Pre-activations (nets, units, inputs); None where the fast route needed no units. In a convolutional
        network (nets, channels, positions × inputs).
    variance, covariance
        Exact variance (nets, inputs) and covariance (nets, inputs, inputs) of any unit's pre-activations
        given the layer before; None where that law is not a centred Gaussian. In a convolutional network
        (nets, positions × inputs), and the mean over positions.
    """

    index: int
    z: Tensor | None
    variance: Tensor | None
    covariance: Tensor | None = None


@dataclass(frozen=True)
class Gradient:
    """Squared gradients of one layer of a chunk: mean squared ∂L/∂z (nets,) and squared ‖∂L/∂W‖ (nets,)."""

    index: int
    square: Tensor
    weight_square: Tensor


@dataclass
class Passed:
    """What a backward pass needs from a forward pass."""

    z: list[Tensor] = field(default_factory=list)
    masks: list[Tensor | None] = field(default_factory=list)
    memos: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Propagator:
    """The samplers of one network, ready for chunks of any size.

    The conditional law of a layer is Gaussian when its weights are and there is no identity path: then
    ``variance`` and ``covariance`` are exact (Rao–Blackwell), and averaging over them beats counting units.
    """

    net: RandomNetwork
    x: Float[Tensor, "features columns"]
    local: Between
    first: Sampler
    later: Sampler

    @classmethod
    def of(cls, net: RandomNetwork, x: Float[Tensor, "features *space inputs"]) -> Propagator:
        """The engine of a network on inputs along the last axis."""
        local = Between.of(net)
        local.check(x.shape[-1])
        scales = {"sigma_w": net.sigma_w, "sigma_b": net.sigma_b}
        first, later = sampler_for(net.first_layer, **scales), sampler_for(net.weight_law, **scales)
        space = tuple(x.shape[1:-1])
        if net.kernel_size is not None:
            kernel = net.kernel(len(space))
            first = Positions(CircularConvolution(first, kernel), space)
            later = Positions(CircularConvolution(later, kernel), space)
        return cls(net, x.flatten(1), local, first, later)

    def gaussian(self, layer: int) -> bool:
        """Whether a layer's pre-activations are a centred Gaussian given the layer before."""
        sampler = self.first if layer == 1 else self.later
        dense = sampler.convolution.sampler if isinstance(sampler, Positions) else sampler
        return isinstance(dense, NormalWeights) and (layer == 1 or self.net.skip == 0)

    def constant_time(self) -> tuple[float, float] | None:
        """Slopes of φ on both sides of 0 if a χ² law gives the next norm at any width, else None."""
        net = self.net
        plain = net.sigma_b == 0 and net.norm is None and net.dropout == 0 and net.skip == 0
        gaussian = isinstance(self.first, NormalWeights) and isinstance(self.later, NormalWeights)
        if not (plain and gaussian and self.x.shape[1] == 1):
            return None
        return slopes(self.local.phi)

    def forward(
        self,
        nets: int,
        generator: torch.Generator,
        *,
        layers: Collection[int],
        covariance: bool = False,
        units: bool = True,
        trace: Passed | None = None,
    ) -> Iterator[Layer]:
        """The wanted layers of ``nets`` fresh networks, in order.

        ``units`` says that ``Layer.z`` is needed; without it and with one input and a homogeneous φ the
        squared norm alone is followed. ``trace`` collects what ``backward`` needs.
        """
        side = self.constant_time() if trace is None and not units else None
        if side is not None and min(self.net.widths) >= 32:
            yield from self._norms(nets, generator, layers, side)
            return
        last = max(layers) if trace is None else self.net.depth
        net, h = self.net, self.x.expand(nets, -1, -1)
        z: Tensor | None = None
        for index, width in enumerate(net.widths[:last], start=1):
            mask = None
            if z is not None:
                mask = self.local.mask(z, generator)
                unseen = trace is None and net.skip == 0 and index - 1 not in layers
                h = self.local.forward(z, mask, reuse=unseen)
            sampler = self.first if index == 1 else self.later
            variance = product = None
            if index in layers and isinstance(sampler, NormalWeights | Positions) and self.gaussian(index):
                scale = 1.0 if index == 1 else net.branch**2
                one = h[:1] if index == 1 else h
                if covariance:
                    product = sampler.conditional_covariance(one).mul_(scale).expand(nets, -1, -1)
                if product is not None and isinstance(sampler, NormalWeights):
                    variance = product.diagonal(dim1=1, dim2=2)
                else:
                    variance = sampler.conditional_variance(one).mul_(scale).expand(nets, -1)
            fresh, memo = sampler.forward(h, width, generator, keep=trace is not None and index > 1)
            if index > 1 and net.branch != 1:
                fresh = fresh.mul_(net.branch)
            z = fresh if z is None or net.skip == 0 else fresh.add_(z, alpha=net.skip)
            if trace is not None:
                trace.z.append(z)
                trace.masks.append(mask)
                trace.memos.append(memo)
            if index in layers:
                yield Layer(index, z, variance, product)

    def _norms(
        self, nets: int, generator: torch.Generator, layers: Collection[int], side: tuple[float, float]
    ) -> Iterator[Layer]:
        net = self.net
        start = net.sigma_w**2 * float(self.x.double().square().mean())
        variance = torch.full((nets,), start, dtype=torch.float64, device=self.x.device)
        for index, width in enumerate(net.widths, start=1):
            if index in layers:
                yield Layer(index, None, variance[:, None].clone())
            variance = (
                variance * squared_ratio(nets, width, side, generator) * (net.sigma_w * net.branch) ** 2
            )

    def backward(self, trace: Passed, generator: torch.Generator) -> Iterator[Gradient]:
        r"""Gradients of L = Σ ⟨u, Z^L⟩ with independent N(0,1) entries u, from the last layer to the first.

        Weight gradients are by the entries of (σ_w/√n) W in the standard parametrisation, by those of W in
        the NTK one.
        """
        net = self.net
        delta = torch.empty_like(trace.z[-1]).normal_(generator=generator)
        for index in range(net.depth, 0, -1):
            before = trace.z[index - 2] if index > 1 else None
            mask = trace.masks[index - 1]
            h = self.x.expand(len(delta), -1, -1) if before is None else self.local.forward(before, mask)
            sampler = self.first if index == 1 else self.later
            if isinstance(sampler, Positions):
                h = sampler.patches(h)
            scale = 1.0 if index == 1 else net.branch
            if net.parametrisation == "ntk":
                scale *= net.sigma_w / math.sqrt(h.shape[1])
            yield Gradient(
                index,
                delta.double().square().mean(dim=(1, 2)),
                _outer_square(delta, h) * scale**2,
            )
            if before is None:
                return
            grad = self.later.backward(trace.memos[index - 1], delta, generator)
            through = self.local.backward(before, mask, grad * net.branch if net.branch != 1 else grad)
            delta = through if net.skip == 0 else through.add_(delta, alpha=net.skip)


def _outer_square(delta: Tensor, h: Tensor) -> Float[Tensor, " nets"]:
    """Squared Frobenius norm of Δ Hᵀ, through the smaller of the two products."""
    delta, h = delta.double(), h.double()
    if h.shape[2] == 1:
        return delta.square().sum(dim=(1, 2)) * h.square().sum(dim=(1, 2))
    if h.shape[2] <= min(h.shape[1], delta.shape[1]):
        return ((delta.mT @ delta) * (h.mT @ h)).sum(dim=(1, 2)).clamp_min(0)
    return (delta @ h.mT).square().sum(dim=(1, 2))
