"""The MLP builder: shapes, scales, names and what it refuses."""

import math

import pytest
import torch
from torch import nn

from firstlight import RandomNetwork, predict, weights
from firstlight.builders import Pointwise, activation_module, draw, mlp
from firstlight.errors import DomainError
from firstlight.theory import finite_width


@pytest.mark.parametrize("norm", [None, "batch", "layer", "rms"])
def test_modules_and_shapes(norm):
    model = mlp(48, 7, depth=3, width=20, activation="relu", norm=norm)
    hidden = ["fc{0}", "norm{0}", "phi{0}"] if norm else ["fc{0}", "phi{0}"]
    names = [name.format(layer) for layer in (1, 2, 3) for name in hidden]
    assert [name for name, _ in model.named_children()] == ["flatten", *names, "readout"]
    assert model(torch.randn(5, 3, 4, 4)).shape == (5, 7)
    assert len({id(module) for module in model.children()}) == len(model)


def test_no_readout():
    assert mlp(4, None, depth=1, width=6)(torch.randn(2, 4)).shape == (2, 6)


@pytest.mark.parametrize("law", ["normal", "uniform", "weibull(3)", weights.get("rademacher")])
@pytest.mark.parametrize("sigma_w", [0.5, 1.89])
def test_weights_have_the_asked_second_moment(law, sigma_w):
    generator = torch.Generator().manual_seed(3)
    layer = draw(nn.Linear(300, 500), sigma_w=sigma_w, sigma_b=0.3, weight_law=law, generator=generator)
    w = layer.weight.detach().double() * math.sqrt(300) / sigma_w
    second, fourth = weights.get(law).moment(2), weights.get(law).moment(4)
    error = math.sqrt(max(fourth - second**2, 0) / w.numel())
    # 1e-6 for laws without spread, whose entries are exact up to float32
    assert abs(w.square().mean().item() - second) < 5 * error + 1e-6
    b = layer.bias.detach().double() / 0.3
    assert abs(b.square().mean().item() - 1) < 5 * math.sqrt(2 / b.numel())


def test_a_model_is_drawn_anew_by_any_law():
    model = mlp(30, 5, depth=2, width=40, norm="layer")
    drawn = draw(model, sigma_w=2.0, weight_law="rademacher", generator=torch.Generator().manual_seed(0))
    assert drawn is model
    for layer in (model.fc1, model.fc2, model.readout):
        size = 2 / math.sqrt(layer.in_features)
        torch.testing.assert_close(layer.weight.detach().abs(), torch.full_like(layer.weight, size))
        assert not layer.bias.any()
    with pytest.raises(DomainError, match="while looking up a weight law"):
        draw(model, sigma_w=1.0, weight_law="nothing")


def test_hidden_pre_activations_follow_mean_field_theory():
    # q₂ = σ_w² E φ(z₁)² + σ_b² with z₁ ~ N(0, q₁): for relu E φ² = q₁/2, by hand
    generator = torch.Generator().manual_seed(0)
    model = mlp(
        100, None, depth=2, width=2000, activation="relu", sigma_w=1.3, sigma_b=0.4, generator=generator
    )
    x = torch.randn(1, 100, generator=generator)
    q1 = 1.3**2 * x.double().square().mean().item() + 0.4**2
    q2 = 1.3**2 * q1 / 2 + 0.4**2
    z1 = model.fc1(x)
    z2 = model.fc2(model.phi1(z1)).detach().double()
    # relative variances: 5/n of a mean of squared relus of Gaussians, 2/n of the mean square of z2 given it
    assert abs(z2.square().mean().item() / q2 - 1) < 5 * math.sqrt(7 / 2000)


def test_the_same_seed_gives_the_same_network():
    make = lambda seed: mlp(5, 2, depth=2, width=8, generator=torch.Generator().manual_seed(seed))  # noqa: E731
    first, again, other = make(1).state_dict(), make(1).state_dict(), make(2).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["fc1.weight"], other["fc1.weight"])


def test_a_generator_of_its_own_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    mlp(5, 2, depth=2, width=8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("activation", "kind"),
    [
        ("tanh", nn.Tanh),
        ("ReLU", nn.ReLU),
        ("leaky_relu", nn.LeakyReLU),
        ("identity", nn.Identity),
        (nn.Softplus(beta=2), nn.Softplus),
        (torch.sin, Pointwise),
    ],
)
def test_activations_by_name_module_or_callable(activation, kind):
    made = activation_module(activation)
    assert isinstance(made, kind)
    assert made is not activation
    z = torch.linspace(-2, 2, 9)
    expected = activation(z) if callable(activation) else kind()(z)
    assert torch.equal(made(z), expected)


def test_names_beyond_torch_come_from_the_registry():
    made = activation_module("erf")
    z = torch.linspace(-2, 2, 9)
    torch.testing.assert_close(made(z), torch.erf(z))
    assert "erf" in repr(made)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 0}, "depth ≥ 1, got 0"),
        ({"width": -3}, "width ≥ 1, got -3"),
        ({"in_features": 0}, "in_features ≥ 1"),
        ({"out_features": 0}, "out_features ≥ 1"),
        ({"sigma_w": -1.0}, "sigma_w ≥ 0, got -1"),
        ({"sigma_b": math.nan}, "sigma_b ≥ 0, got nan"),
        ({"norm": "group"}, "batch, layer, rms or None, got 'group'"),
        ({"activation": "nothing"}, "nothing"),
    ],
)
def test_what_cannot_be_built_is_a_domain_error(change, message):
    arguments = {"in_features": 4, "out_features": 2, "depth": 1, "width": 3, **change}
    with pytest.raises(DomainError, match=message):
        mlp(arguments.pop("in_features"), arguments.pop("out_features"), **arguments)


def test_orthogonal_start():
    """Every layer is σ_w times a Haar matrix, and the units are as finite-width theory says of such a first layer."""
    model = mlp(16, 24, depth=2, width=16, activation="relu")
    generator = torch.Generator().manual_seed(0)
    x, rows = torch.ones(1, 16), []
    for _ in range(400):
        draw(model, sigma_w=2**0.5, weight_law="orthogonal", generator=generator)
        rows.append([layer.weight.detach().clone() for layer in model if isinstance(layer, nn.Linear)])
    w = rows[-1]
    assert torch.allclose(w[0] @ w[0].T, 2 * torch.eye(16), atol=1e-5)
    assert torch.allclose(w[2].T @ w[2], 2 * 24 / 16 * torch.eye(16), atol=1e-5)
    net = RandomNetwork(
        depth=3,
        width=(16, 16, 24),
        activation="relu",
        sigma_w=2**0.5,
        in_features=16,
        weight_law="orthogonal",
        first_layer="orthogonal",
    )
    theory = finite_width(net, predict(net)["q"]).kurtosis
    hidden = x.double().expand(len(rows), -1)
    for layer in range(3):
        z = torch.einsum("kij,kj->ki", torch.stack([row[layer] for row in rows]).double(), hidden)
        second, fourth = z.square().mean(dim=1), z.pow(4).mean(dim=1)
        q, k4 = second.mean(), fourth.mean()
        error = (fourth / q**2 - 2 * k4 / q**3 * second).std() / math.sqrt(len(rows))
        assert abs(float(k4 / q**2) - 3 - theory[layer]) < 5 * float(error), layer
        hidden = z.relu()
