"""The figures that the catalogue quotes, by the recipes themselves and by second ways to the same numbers."""

import math

import pytest
import torch
from tests.recipes.networks import chain, seeded
from torch import nn

import firstlight
from firstlight import builders, recipes
from firstlight.errors import DomainError


class Sine(nn.Module):
    def forward(self, x):
        return torch.sin(30.0 * x)


class Bell(nn.Module):
    def forward(self, x):
        return torch.exp(-(x**2) / 2)


@pytest.mark.parametrize(
    ("phi", "gain"),
    [("relu", 1.71286), ("silu", 1.7872), ("gelu", 1.7009), ("tanh", 1.5925), ("mish", 1.5920)],
)
def test_gains_of_scaled_weight_standardisation(phi, gain):
    net = chain(lambda: builders.activation_module(phi))
    firstlight.initialise_(net, "normaliser-free", generator=seeded())
    rows = net[2].weight.detach().double()
    # every unit: mean 0, and norm exactly the gain that the paper prints (to its last digit)
    assert float(rows.mean(1).abs().max()) < 1e-7
    assert rows.norm(dim=1).tolist() == pytest.approx([gain] * 256, abs=6e-5)


@pytest.mark.parametrize("s", [0.05, 1.0, 3.0])
def test_stationary_deviation_of_a_bell(s):
    found = recipes.stationary_deviation(lambda x: torch.exp(-(x**2) / (2 * s**2)))
    assert found == pytest.approx(s * math.sqrt(1 + math.sqrt(2)), rel=1e-8)


def test_vi3nr_keeps_its_deviation_and_its_gradient():
    """σ_p in every layer, and σ_p² Eφ'² = Eφ²: the backward factor is 1 by plain sums."""
    net, x = chain(Bell, width=512, depth=8), 3.0 * torch.randn(256, 64, generator=seeded(1)) + 1.0
    firstlight.initialise_(net, "vi3nr", x, generator=seeded())
    target = math.sqrt(1 + math.sqrt(2))
    rows = firstlight.audit(net, x).profile.select("weight")
    # each q has a standard error of about √(2/512) = 6 % over the units of one draw
    assert [float(q) for q in rows["q"]] == pytest.approx([target**2] * 8, rel=0.3)
    z = target * torch.randn(1_000_000, generator=seeded(2), dtype=torch.float64)
    phi = torch.exp(-(z**2) / 2)
    difference = target**2 * (z * phi) ** 2 - phi**2
    assert abs(float(difference.mean() / (difference.std() / 1000))) < 5


def test_siren_has_the_fixed_point_and_the_gain_of_its_map():
    """q = 1 − e^{−2q} at .7968 and χ₁ = 1 + e^{−2q} = 1.203, measured in a wide network."""
    net = chain(Sine, inputs=2, width=512, depth=12, outputs=512)
    x = torch.rand(512, 2, generator=seeded(1)) * 2 - 1
    firstlight.initialise_(net, "siren", x, generator=seeded())
    profile = firstlight.audit(net, x).profile.select("weight")
    arguments = [900 * float(q) for q in profile["q"][3:-1]]
    # 512 units: 2 √(2/512)/√8 = 4 % for the mean over eight layers
    assert sum(arguments) / len(arguments) == pytest.approx(0.7968, rel=0.1)
    chi = [float(c) for c in profile["chi"][3:-1]]
    assert sum(chi) / len(chi) == pytest.approx(1.203, rel=0.05)
    assert float(net[2].weight.detach().abs().max()) <= math.sqrt(6 / 512) / 30 * (1 + 1e-6)
    with pytest.raises(DomainError, match="without a sine"):
        firstlight.initialise_(chain(nn.ReLU), "siren")


def test_winner_adds_what_the_spectrum_asks_for():
    t = torch.linspace(0, 1, 512).unsqueeze(1)
    target = torch.sin(2 * math.pi * 32 * t)
    net = chain(Sine, inputs=1, width=256, depth=4, outputs=1)
    firstlight.initialise_(net, "winner", t, targets=target, generator=seeded())
    centroid = recipes.spectral_centroid(target)
    first, second = 3500 * (1 - math.exp(-7 * centroid)), 3 * centroid
    squares = net[2].weight.detach().double().square().flatten()
    wanted = 6 / 256 / 900 / 3 + (second / 30) ** 2
    assert abs(float((squares.mean() - wanted) / (squares.std() / 256))) < 5
    squares = net[0].weight.detach().double().square().flatten()
    assert abs(float((squares.mean() - 1 / 3 - (first / 30) ** 2) / (squares.std() / 16))) < 5


def test_fourier_features_are_a_gaussian_kernel():
    """2 E cos(w·x + b) cos(w·y + b) = exp(−(2πs)²‖x − y‖²/2), over the 20 000 units of one layer."""
    net = nn.Sequential(nn.Linear(2, 20_000), builders.activation_module("cos"), nn.Linear(20_000, 2))
    firstlight.initialise_(net, "fourier-features(scale=0.5)", generator=seeded())
    x = torch.tensor([[0.1, 0.2], [0.3, 0.1]])
    with torch.no_grad():
        features = net[1](net[0](x)).double()
    products = 2 * features[0] * features[1]
    wanted = math.exp(-0.5 * math.pi**2 * 0.05)
    assert abs(float((products.mean() - wanted) / (products.std() / math.sqrt(20_000)))) < 5


def test_bandlimited_rows_have_no_power_outside_the_band():
    net = chain(nn.Tanh)
    firstlight.initialise_(net, "bandlimited(low=0.0, high=0.25)", generator=seeded())
    power = torch.fft.rfft(net[0].weight.detach().double(), dim=1).abs().square().sum(0)
    assert float(power[9:].sum() / power.sum()) < 1e-12  # rounding of float32
    assert net[0].weight.detach().square().mean(1).tolist() == pytest.approx([1 / 64] * 256, rel=1e-5)


@pytest.mark.parametrize(
    ("recipe", "phi", "sigma_w2", "sigma_b2"),
    [
        ("sparse(slope=None)", "crelu(1.0364333894937898)", 6.667, 0.5368),
        ("sparse(slope=0.5)", "crelu(1.0364333894937898, 0.8095281637078419)", 8.507, 0.6605),
        ("sparse(slope=0.7)", None, 7.335, 0.5953),
    ],
)
def test_scales_of_sparse_networks(recipe, phi, sigma_w2, sigma_b2):
    if phi is None:
        phi = firstlight.theory.sparse_tuning("crelu", sparsity=0.85, slope=0.7).activation
    net = chain(lambda: builders.activation_module(phi), width=300)
    firstlight.initialise_(net, recipe, generator=seeded())
    weights, biases = (t.detach().double().flatten().square() for t in (net[2].weight, net[2].bias))
    assert abs(float((weights.mean() - sigma_w2 / 300) / (weights.std() / 300))) < 5
    assert abs(float((biases.mean() - sigma_b2) / (biases.std() / math.sqrt(300)))) < 5
    with pytest.raises(DomainError, match="crelu"):
        firstlight.initialise_(chain(nn.ReLU), recipe)


def test_spectral_condition_moves_features_alike_at_every_width():
    """One step of SGD: the relative change of a hidden layer stays, and grows with the width by the standard start."""

    def change(width, recipe, rate):
        net, g = (
            nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.Linear(width, 1)),
            seeded(),
        )
        done = firstlight.initialise_(net, recipe, generator=g)
        x, y = torch.randn(64, 64, generator=seeded(1)), torch.randn(64, 1, generator=seeded(2))
        before = net[:3](x).detach()
        nn.functional.mse_loss(net(x), y).backward()
        torch.optim.SGD(done.parameter_groups(net, rate)).step()
        after = net[:3](x).detach()
        return float((after - before).norm() / before.norm())

    spectral = [change(width, "spectral", 0.1) for width in (64, 256, 1024)]
    standard = [change(width, "he", 0.1) for width in (64, 256, 1024)]
    assert max(spectral) < 2.5 * min(spectral)
    assert max(spectral) / min(spectral) < max(standard) / min(standard)


def test_gradinit_lowers_the_loss_of_one_step():
    net, x = chain(nn.ReLU, width=64), torch.randn(64, 64, generator=seeded())
    y = torch.randint(0, 10, (64,), generator=seeded())

    def after_a_step():
        for parameter in net.parameters():
            parameter.grad = None
        nn.functional.cross_entropy(net(x), y).backward()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter -= 0.1 * parameter.grad
            loss = float(nn.functional.cross_entropy(net(x), y))
            for parameter in net.parameters():
                parameter += 0.1 * parameter.grad
        return loss

    firstlight.initialise_(net, "he", generator=seeded())
    before = after_a_step()
    firstlight.initialise_(net, "gradinit(bound=10.0)", x, targets=y)
    assert after_a_step() < before


def test_metainit_lowers_the_gradient_quotient():
    net, x = chain(nn.Tanh, width=64), torch.randn(64, 64, generator=seeded())
    y = torch.randint(0, 10, (64,), generator=seeded())
    firstlight.initialise_(net, "lecun", generator=seeded())
    with torch.no_grad():
        for layer in net[::2]:
            layer.weight *= 3.0

    def quotient():
        """mean |(g(θ − hg) − g)/(h g)|, by a difference of gradients in place of a product with the Hessian."""
        found = torch.autograd.grad(nn.functional.cross_entropy(net(x), y), list(net.parameters()))
        step = 1e-3
        with torch.no_grad():
            for p, g in zip(net.parameters(), found, strict=True):
                p -= step * g
        moved = torch.autograd.grad(nn.functional.cross_entropy(net(x), y), list(net.parameters()))
        with torch.no_grad():
            for p, g in zip(net.parameters(), found, strict=True):
                p += step * g
        terms = [
            ((m - g) / step / (g + 1e-5 * g.sign())).abs().flatten()
            for m, g in zip(moved, found, strict=True)
        ]
        return float(torch.cat(terms).mean())

    before = quotient()
    firstlight.initialise_(net, "metainit", x, targets=y)
    assert quotient() < before


class Padded(nn.Module):
    """A convolution behind an activation and a padding of any mode."""

    def __init__(self, mode, beta=1.0):
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3)
        self.mode, self.beta = mode, beta

    def forward(self, x):
        z = torch.relu(self.first(x) / self.beta)
        return self.second(nn.functional.pad(z, (1, 1, 1, 1), mode=self.mode))


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_padding_hides_no_activation(mode):
    (_, second) = recipes.blueprint(Padded(mode), torch.randn(4, 8, 8, 8, generator=seeded())).slots
    assert (second.reads, second.phi.name) == ("activation", "relu")


@pytest.mark.parametrize("beta", [0.25, 1.0, 3.0])
def test_a_division_before_the_activation_is_the_models_own(beta):
    net = Padded("circular", beta)
    firstlight.initialise_(net, "normaliser-free", torch.randn(4, 8, 8, 8, generator=seeded()))
    norms = net.second.weight.detach().double().flatten(1).norm(dim=1)
    assert norms.tolist() == pytest.approx([1.71286] * 8, abs=6e-5)


def test_an_output_scale_multiplies_the_readout_and_divides_rates():
    one, other = chain(nn.Tanh), chain(nn.Tanh)
    firstlight.initialise_(one, "torch-default", generator=seeded())
    done = firstlight.initialise_(other, "output-scale(alpha=4.0)", generator=seeded())
    x = torch.randn(5, 64, generator=seeded(1))
    torch.testing.assert_close(other(x), 4 * one(x))
    assert set(done.rates.values()) == {1 / 16}
    assert set(done.rates) == {name for name, _ in other.named_parameters()}
    with pytest.raises(DomainError, match="factor α > 0"):
        recipes.OutputScale(alpha=0.0)


def test_a_weight_scale_multiplies_every_weight_and_no_bias():
    one, other = chain(nn.ReLU), chain(nn.ReLU)
    firstlight.initialise_(one, "he", generator=seeded())
    firstlight.initialise_(other, "weight-scale(alpha=3.0, start='he')", generator=seeded())
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(b, 3 * a if name.endswith("weight") else a)
