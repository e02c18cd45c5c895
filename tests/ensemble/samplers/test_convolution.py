"""Circular convolutions against torch's, with explicit kernels."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from firstlight import RandomNetwork, simulate
from firstlight.ensemble import Plan, run
from firstlight.ensemble._propagate import Passed, Propagator
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


def images(count: int, *shape: int) -> Tensor:
    """Images of unequal size and positive correlation."""
    g = torch.Generator().manual_seed(8)
    common = torch.randn(shape, generator=g)
    return torch.stack([common + (0.5 + i) * torch.randn(shape, generator=g) for i in range(count)])


@pytest.mark.parametrize("law", ["normal", "weibull(3)"])
def test_networks_equal_explicit_ones_in_law(
    law: str, same_law: Callable[[Tensor, Tensor], None], generator: torch.Generator
) -> None:
    """Three layers with a skip, and the gradients of all of them, against torch's convolutions and autograd."""
    nets, width, sigma_w, sigma_b, skip, branch = 6000, 3, 1.3, 0.4, 0.6, 0.8
    net = RandomNetwork(
        depth=3,
        width=width,
        kernel_size=3,
        sigma_w=sigma_w,
        sigma_b=sigma_b,
        skip=skip,
        branch=branch,
        weight_law=law,
    )
    x = images(2, 2, 4).double().movedim(0, -1)
    engine, trace = Propagator.of(net, x), Passed()
    layers = list(engine.forward(nets, generator, layers=[1, 2, 3], trace=trace))
    gradients = list(engine.backward(trace, generator))[::-1]

    z, h, seen, kernels = None, x.expand(nets, -1, -1, -1), [], []
    for index in range(3):
        shape = (nets, width, h.shape[1], 3)
        w = filled(law if index else "normal", shape, generator).requires_grad_()
        b = torch.randn(nets, width, 1, 1, generator=generator, dtype=torch.float64)
        fresh = convolved(h, w) * (sigma_w / math.sqrt(3 * h.shape[1])) + sigma_b * b
        z = fresh if z is None else skip * z + branch * fresh
        z.retain_grad()
        h = torch.tanh(z)
        seen.append(z)
        kernels.append(w)
    assert z is not None
    (z * torch.randn(z.shape, generator=generator, dtype=torch.float64)).sum().backward()
    g = torch.Generator().manual_seed(1)
    total, direct_total = torch.zeros(nets, dtype=torch.float64), torch.zeros(nets, dtype=torch.float64)
    for layer, gradient, direct, w in zip(layers, gradients, seen, kernels, strict=True):
        assert layer.z is not None
        assert direct.grad is not None
        assert w.grad is not None
        p = torch.randn(width, 4, 2, generator=g, dtype=torch.float64)
        total = total + (layer.z.view(nets, width, 4, 2) * p).sum((1, 2, 3))
        direct_total = direct_total + (direct.detach() * p).sum((1, 2, 3))
        same_law(gradient.square.log(), direct.grad.square().mean((1, 2, 3)).log())
        scale = (sigma_w / math.sqrt(3 * w.shape[2])) ** 2
        same_law((gradient.weight_square * scale).log(), w.grad.square().sum((1, 2, 3)).log())
    same_law(total, direct_total)
    same_law(total * gradients[0].square.log(), direct_total * seen[0].grad.square().mean((1, 2, 3)).log())


def filled(law: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Explicit kernels."""
    from firstlight import weights

    return weights.get(law).sample(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_averaged_laws_agree_with_counted_units_and_with_theory(activation: str) -> None:
    net = RandomNetwork(
        depth=4, width=60, kernel_size=(3, 2), activation=activation, sigma_w=1.3, sigma_b=0.2, dropout=0.1
    )
    x = images(3, 2, 3, 3)
    exact, counted = (
        simulate(net, x, nets=300, seed=seed, shards=4, spectra=False, rao_blackwell=bool(seed))
        for seed in (1, 0)
    )
    for name in ("q", "kurtosis", "correlation"):
        # the first layer's law is known, so its averaged estimate has no error
        error = (exact[f"{name}_se"] ** 2 + counted[f"{name}_se"] ** 2) ** 0.5
        assert (abs(exact[name] - counted[name]) < 5 * error + 1e-6).all(), name
    # the mean over networks of q is that of infinite width up to O(1/n), a few standard errors here
    assert (abs(exact["q"] / exact["q_theory"] - 1) < 0.02).all()
    assert (abs(exact["correlation"] - exact["correlation_theory"]) < 0.02).all()
    assert (exact["correlation"] > 0).all()
    assert exact["shape"][0] == "(3, 60, 3, 3)"


def test_one_position_is_a_dense_network() -> None:
    """A kernel of one entry on one position: the same numbers from the same seed."""
    fields = {"depth": 3, "width": 20, "sigma_w": 1.2}
    x = images(3, 5)
    dense = run(Plan(net=RandomNetwork(**fields), nets=40, gradients=True), x)
    point = run(Plan(net=RandomNetwork(**fields, kernel_size=1), nets=40, gradients=True), x[..., None])
    for name in ("q", "correlation", "log_grad", "log_weight_grad", "isometry_gap"):
        assert dense.profile[name].tolist() == pytest.approx(point.profile[name].tolist(), rel=1e-5), name


def test_images_that_do_not_fit() -> None:
    net = RandomNetwork(depth=2, width=4, kernel_size=3)
    for x in (torch.ones(5), torch.ones(2, 3), torch.ones(2, 3, 2), torch.ones(2, 3, 8, 2)):
        with pytest.raises(DomainError, match="kernel_size=3"):
            simulate(net, x, nets=5)
    with pytest.raises(DomainError, match="expected images"):
        simulate(net, nets=5)
    with pytest.raises(DomainError, match="images"):
        simulate(net.with_(kernel_size=(3, 3)), torch.ones(2, 3, 8), nets=5)
    with pytest.raises(DomainError, match="kernel_size"):
        RandomNetwork(depth=2, width=4, kernel_size=(3, 0))
    with pytest.raises(DomainError, match="norm"):
        RandomNetwork(depth=2, width=4, kernel_size=3, norm="layer")
    assert RandomNetwork.from_dict(net.with_(kernel_size=(3, 2)).to_dict()).kernel_size == (3, 2)
