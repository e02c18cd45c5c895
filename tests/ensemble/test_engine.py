"""Whole networks: the engine against explicit matrices and autograd, for every norm, path and dropout."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from firstlight.ensemble._propagate import Passed, Propagator
from firstlight.ensemble.samplers._local import normalise
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork

NETS = 20_000


def reference(
    net: RandomNetwork, x: Tensor, explicit: Callable[..., Tensor], generator: torch.Generator
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Pre-activations of all layers, gradients by the first, and ‖∂L/∂W²‖², by autograd in float64."""
    phi = {"tanh": torch.tanh, "relu": torch.relu}[str(net.activation)]
    z: list[Tensor] = []
    w2 = None
    h = x.expand(NETS, -1, -1)
    for index, width in enumerate(net.widths):
        law = net.first_layer if index == 0 else net.weight_law
        w = explicit(law, (NETS, width, h.shape[1]), generator) * (net.sigma_w / math.sqrt(h.shape[1]))
        if index == 1:
            w2 = w.requires_grad_()
        b = torch.randn(NETS, width, 1, generator=generator, dtype=torch.float64) * net.sigma_b
        fresh = w @ h + b
        if index == 0:
            z.append(fresh.requires_grad_())
        else:
            z.append(net.skip * z[-1] + net.branch * fresh if net.skip else net.branch * fresh)
        n = z[-1]
        dim = 2 if (net.norm or "").startswith("batch") else 1
        if net.norm in ("batch", "layer"):
            n = n - n.mean(dim=dim, keepdim=True)
        if net.norm is not None:
            n = n / n.square().mean(dim=dim, keepdim=True).sqrt()
        h = phi(n)
        if net.dropout:
            h = h * torch.bernoulli(torch.full_like(h, 1 - net.dropout), generator=generator)
            h = h / (1 - net.dropout)
    u = torch.randn(z[-1].shape, generator=generator, dtype=torch.float64)
    first, second = torch.autograd.grad((u * z[-1]).sum(), [z[0], w2])
    return [v.detach() for v in z], first, second.square().sum(dim=(1, 2))


NETWORKS = {
    "tanh": RandomNetwork(depth=3, width=5, sigma_w=1.4, sigma_b=0.3),
    "relu widths": RandomNetwork(depth=3, width=(4, 6, 3), activation="relu", sigma_w=1.4),
    "orthogonal": RandomNetwork(depth=3, width=4, sigma_w=1.4, weight_law="orthogonal"),
    "weibull": RandomNetwork(depth=3, width=4, sigma_w=1.2, sigma_b=0.1, weight_law="weibull(3)"),
    "batch": RandomNetwork(depth=3, width=4, norm="batch", activation="relu", sigma_b=0.2),
    "batch-uncentred": RandomNetwork(depth=3, width=4, norm="batch-uncentred", weight_law="orthogonal"),
    "layer": RandomNetwork(depth=3, width=5, norm="layer", sigma_w=1.5),
    "rms": RandomNetwork(depth=3, width=5, norm="rms", sigma_w=1.5),
    "residual": RandomNetwork(depth=3, width=4, skip=0.8, branch=0.6, activation="relu", sigma_w=1.4),
    "dropout": RandomNetwork(depth=3, width=5, dropout=0.3, sigma_w=1.4, sigma_b=0.2),
    "all": RandomNetwork(depth=3, width=4, norm="layer", skip=1.0, branch=0.5, dropout=0.2, sigma_b=0.1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_engine_has_the_law_of_explicit_networks(
    name: str,
    explicit: Callable[..., Tensor],
    same_law: Callable[[Tensor, Tensor], None],
    generator: torch.Generator,
) -> None:
    net = NETWORKS[name]
    x = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    engine = Propagator.of(net, x)
    trace = Passed()
    layers = list(engine.forward(NETS, generator, layers=range(1, 4), covariance=True, trace=trace))
    gradients = {g.index: g for g in engine.backward(trace, generator)}
    z, first, weight = reference(net, x, explicit, generator)

    g = torch.Generator().manual_seed(1)
    parts, others = 0.0, 0.0
    for layer, other in zip(layers, z, strict=True):
        assert layer.z is not None
        p = torch.randn(other.shape[1:], generator=g, dtype=torch.float64)
        parts, others = parts + (layer.z * p).sum((1, 2)), others + (other * p).sum((1, 2))
        # consecutive layers together: a product would show a wrong dependence
        same_law(parts, others)
    same_law((layers[0].z * layers[2].z[:, :1]).sum((1, 2)), (z[0] * z[2][:, :1]).sum((1, 2)))
    same_law(gradients[1].square.sqrt(), first.square().mean((1, 2)).sqrt())
    same_law(gradients[2].weight_square.sqrt(), weight.sqrt())
    # gradient and activation of one network belong together
    same_law(
        gradients[1].square.sqrt() * layers[2].z.square().sum((1, 2)).sqrt(),
        first.square().mean((1, 2)).sqrt() * z[2].square().sum((1, 2)).sqrt(),
    )


@pytest.mark.parametrize("name", ["tanh", "relu widths", "batch", "layer", "dropout"])
def test_conditional_covariances_are_those_of_the_units(name: str, generator: torch.Generator) -> None:
    """E z_a z_b given the layer before averages to the sample's second moments: z-scored over networks."""
    engine = Propagator.of(NETWORKS[name], torch.randn(6, 3, generator=generator, dtype=torch.float64))
    for layer in engine.forward(NETS, generator, layers=[1, 2, 3], covariance=True):
        assert layer.covariance is not None
        assert layer.variance is not None
        sample = (layer.z.mT @ layer.z) / layer.z.shape[1]
        gap = (sample - layer.covariance).mean(dim=0)
        error = (sample - layer.covariance).std(dim=0) / math.sqrt(NETS)
        assert float((gap / error).abs().max()) < 5
        torch.testing.assert_close(layer.variance, layer.covariance.diagonal(dim1=1, dim2=2))


def test_the_constant_time_route_has_the_same_law(
    same_law: Callable[[Tensor, Tensor], None], generator: torch.Generator
) -> None:
    net = RandomNetwork(depth=4, width=40, activation="relu", sigma_w=2**0.5)
    engine = Propagator.of(net, torch.ones(7, 1, dtype=torch.float64))
    assert engine.constant_time() == (1.0, 0.0)
    short = list(engine.forward(NETS, generator, layers=[2, 4], units=False))
    long = list(engine.forward(NETS, generator, layers=[2, 4], units=True))
    assert all(layer.z is None for layer in short)
    for a, b in zip(short, long, strict=True):
        same_law(a.variance.log(), b.variance.log())


def test_networks_without_gaussian_layers_say_so() -> None:
    x = torch.ones(4, 2, dtype=torch.float64)
    assert Propagator.of(NETWORKS["weibull"], x).gaussian(1)
    assert not Propagator.of(NETWORKS["weibull"], x).gaussian(2)
    assert not Propagator.of(NETWORKS["residual"], x).gaussian(2)


def test_batch_norm_needs_a_batch() -> None:
    with pytest.raises(DomainError, match="at least 2 inputs"):
        Propagator.of(NETWORKS["batch"], torch.ones(4, 1))


@pytest.mark.parametrize("norm", ["batch", "batch-uncentred", "layer", "rms"])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_normalise_at_any_scale(norm: str, scale: float, generator: torch.Generator) -> None:
    z = scale * torch.randn(3, 5, 7, generator=generator)
    n = normalise(z, norm)
    dim = 2 if norm.startswith("batch") else 1
    torch.testing.assert_close(n.square().mean(dim=dim), torch.ones_like(n.square().mean(dim=dim)))
    if norm in ("batch", "layer"):
        assert float(n.mean(dim=dim).abs().max()) < 1e-6
    assert bool((normalise(torch.zeros(1, 2, 3), norm) == 0).all())
