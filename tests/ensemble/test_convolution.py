"""Circular convolutions against torch's, with explicit kernels."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from firstlight.ensemble.samplers import CircularConvolution, NormalWeights, StreamedWeights
from firstlight.errors import DomainError
from firstlight.weights import weibull

NETS = 20_000


def convolved(h: Tensor, w: Tensor) -> Tensor:
    """torch's convolution with circular padding, every network with its own kernel (grouped)."""
    nets, channels, *space, inputs = h.shape
    x = h.movedim(-1, 0).reshape(inputs, nets * channels, *space)
    pads = [p for k in reversed(w.shape[3:]) for p in ((k - 1) // 2, k // 2)]
    conv = functional.conv1d if len(space) == 1 else functional.conv2d
    z = conv(functional.pad(x, pads, mode="circular"), w.flatten(0, 1), groups=nets)
    return z.view(inputs, nets, w.shape[1], *space).movedim(0, -1)


@pytest.mark.parametrize(
    ("space", "kernel", "channels", "inputs", "route"),
    [
        ((3,), (3,), 2, 1, "qr"),
        ((3,), (2,), 4, 2, "qr"),
        ((5,), (3,), 2, 2, "direct"),
        ((3, 4), (3, 2), 2, 1, "qr"),
        ((3, 3), (3, 3), 2, 1, "direct"),
    ],
)
def test_same_law_as_torch(
    space: tuple[int, ...],
    kernel: tuple[int, ...],
    channels: int,
    inputs: int,
    route: str,
    same_law: Callable[[Tensor, Tensor], None],
    generator: torch.Generator,
) -> None:
    out, sigma_w = 3, 1.3
    h = torch.randn(1, channels, *space, inputs, generator=generator, dtype=torch.float64)
    h = h.repeat(NETS, *[1] * (h.ndim - 1))
    sampler = CircularConvolution(NormalWeights(sigma_w, 0.0, route), kernel)  # type: ignore[arg-type]
    z, memo = sampler.forward(h, out, generator, keep=True)
    grad = sampler.backward(memo, torch.sin(z) + 0.5, generator)

    shape = (NETS, out, channels, *kernel)
    w = torch.randn(shape, generator=generator, dtype=torch.float64)
    leaf = h.clone().requires_grad_()
    direct = convolved(leaf, w * sigma_w / math.sqrt(channels * math.prod(kernel)))
    (grad_direct,) = torch.autograd.grad(direct, leaf, torch.sin(direct.detach()) + 0.5)
    direct = direct.detach()
    dims = tuple(range(1, z.ndim))
    for _ in range(2):
        p = torch.randn(z.shape[1:], generator=generator, dtype=torch.float64)
        q = torch.randn(h.shape[1:], generator=generator, dtype=torch.float64)
        same_law((z * p).sum(dims), (direct * p).sum(dims))
        same_law((grad * q).sum(dims), (grad_direct * q).sum(dims))
        same_law(
            (z * p).sum(dims) * (grad * q).sum(dims), (direct * p).sum(dims) * (grad_direct * q).sum(dims)
        )


def test_positions_share_their_kernel(generator: torch.Generator) -> None:
    """Moving the input around the circle moves the output: for every law, exactly."""
    h = torch.randn(10, 2, 6, 1, generator=generator)
    both = torch.cat([h, h.roll(2, dims=2)], dim=-1)
    for inner in (NormalWeights(1.0, 0.5), StreamedWeights(weibull(3.0))):
        z, _ = CircularConvolution(inner, (3,)).forward(both, 4, generator)
        torch.testing.assert_close(z[..., 0].roll(2, dims=2), z[..., 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", [(3,), (5, 5), (0, 1)])
def test_kernels_that_do_not_fit(kernel: tuple[int, ...]) -> None:
    convolution = CircularConvolution(NormalWeights(), kernel)
    with pytest.raises(DomainError, match="while convolving"):
        convolution.forward(torch.ones(1, 1, 4, 4, 1), 2, torch.Generator())
