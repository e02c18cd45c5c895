"""Held terms against closed forms, second ways, and short trainings."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from firstlight import measure, recipes
from firstlight.errors import DomainError
from firstlight.recipes import HOLDS, hold


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.lists(st.floats(0.1, 10.0), min_size=2, max_size=5))
def test_cauchy_schwarz_is_the_spread_of_the_spectrum(values):
    w = torch.linalg.qr(normal(7, 7))[0][: len(values)]
    w = torch.diag(torch.tensor(values, dtype=torch.float64)) @ w
    squares = [v * v for v in values]
    expected = sum((a - b) ** 2 for i, a in enumerate(squares) for b in squares[:i])
    assert float(recipes.cauchy_schwarz(w)) == pytest.approx(expected, rel=1e-9, abs=1e-8)
    assert float(recipes.cauchy_schwarz(w.T)) == pytest.approx(expected, rel=1e-9, abs=1e-8)


def test_group_orthogonality_of_random_rows():
    r, d, groups = 8, 50, 500
    w = normal(groups * r, d) / math.sqrt(d)
    parts = [float(recipes.group_orthogonality(p)) for p in w.split(r)]
    assert float(recipes.group_orthogonality(w, groups=groups)) == pytest.approx(sum(parts), rel=1e-12)
    values = torch.tensor(parts)
    assert abs(float(values.mean()) - r * (r + 1) / d) < 5 * float(values.std()) / math.sqrt(groups)
    with pytest.raises(DomainError, match="divide"):
        recipes.group_orthogonality(w, groups=7)


@pytest.mark.parametrize("shape", [(300, 400), (40, 30)])
def test_the_largest_singular_value_and_its_gradient(shape):
    w = (normal(*shape) / 20).requires_grad_()
    exact = torch.linalg.svdvals(w.detach())
    value = recipes.spectral_deviation(w, power=2)
    # 60 iterations leave the square of (σ₂/σ₁)^120
    slack = 2 * float((exact[1] / exact[0]) ** 120) + 1e-9
    assert float(value.detach()) == pytest.approx(float((exact[0] ** 2 - 1) ** 2), rel=10 * slack)
    value.backward()
    u, s, v = torch.linalg.svd(w.detach())
    expected = 2 * (s[0] ** 2 - 1) * 2 * s[0] * torch.outer(u[:, 0], v[0])
    assert float((w.grad - expected).norm() / expected.norm()) < math.sqrt(slack) * 2 + 1e-6


def test_energies_of_points_spread_evenly_on_a_circle():
    for n in (2, 3, 5):
        angle = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
        w = torch.stack([angle.cos(), angle.sin()], 1) * torch.arange(1, n + 1, dtype=torch.float64)[:, None]
        gaps = [2 * math.sin(math.pi * k / n) for k in range(1, n)]
        for power in (1.0, 2.0):
            expected = sum(g**-power for g in gaps) / (n - 1)
            assert float(recipes.hyperspherical_energy(w, power=power)) == pytest.approx(expected, rel=1e-9)
        assert float(recipes.hyperspherical_energy(w, power=0)) == pytest.approx(
            -sum(map(math.log, gaps)) / (n - 1), rel=1e-9
        )


@pytest.mark.parametrize("shape", [(30, 7), (7, 30)])
def test_the_entropy_term_is_the_measure(shape):
    h = normal(*shape)
    # eigenvalues below 1e-12 are held there, which moves the sum by 3e-11 each
    assert float(recipes.negative_vne(h)) == pytest.approx(-measure.von_neumann_entropy(h), abs=1e-9)
    assert torch.autograd.gradcheck(recipes.negative_vne, (normal(4, 6).requires_grad_(),))


def test_spectral_decoupling_ends_where_its_closed_form_says():
    """λ y = 1/(1 + e^y) for the logistic loss of one sample: found by training the margin."""
    from scipy.optimize import brentq

    for strength in (0.01, 0.1, 1.0):
        y = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
        for _ in range(50):  # Newton's steps on the loss as it is written
            loss = nn.functional.softplus(-y).mean() + strength * recipes.spectral_decoupling(y)
            (first,) = torch.autograd.grad(loss, y, create_graph=True)
            (second,) = torch.autograd.grad(first, y)
            y = (y - first / second).detach().requires_grad_()
        expected = brentq(lambda m, s=strength: s * m - 1 / (1 + math.exp(m)), 0, 50)
        assert float(y.detach()) == pytest.approx(expected, rel=1e-9)


def test_sensitivity_of_a_linear_layer():
    layer = nn.Linear(6, 5, bias=True).double()
    x, delta = normal(8, 6), 0.1 * normal(8, 6, seed=1)
    model = nn.Sequential(layer, nn.Linear(5, 2).double())
    with hold(model, "sensitivity", layers=["0"]) as held:
        model(x)
        value = held(x + delta)
    assert float(value.detach()) == pytest.approx(
        float((delta @ layer.weight.T).abs().mean().detach()), rel=1e-10
    )


def test_the_nuclear_norm_is_below_its_surrogate_and_meets_it_where_factors_are_balanced():
    a, b = normal(5, 4), normal(4, 6, seed=1)
    x = torch.zeros(40_000, 6, dtype=torch.float64)

    def surrogate(g, h):
        return float(recipes.nuclear_surrogate(lambda t: t @ g.T, lambda t: t @ h.T, x,
                                               generator=torch.Generator().manual_seed(0)))  # fmt: skip

    exact = 0.5 * float(a.square().sum() + b.square().sum())
    assert surrogate(a, b) == pytest.approx(exact, rel=0.02)  # 40,000 draws
    nuclear = float(torch.linalg.svdvals(a @ b).sum())
    assert exact > nuclear
    u, s, v = torch.linalg.svd(a @ b, full_matrices=False)
    left, right = u * s.sqrt(), s.sqrt()[:, None] * v
    assert 0.5 * float(left.square().sum() + right.square().sum()) == pytest.approx(nuclear, rel=1e-12)
    assert surrogate(left, right) == pytest.approx(nuclear, rel=0.02)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(10, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 4)
    ).double()


@pytest.mark.parametrize("name", HOLDS)
def test_every_term_falls_when_it_is_trained_alone(name):
    model, x = network(), normal(64, 10)
    options = {"split": 2, "generator": torch.Generator().manual_seed(0)} if name == "nuclear" else {}
    other = x + 0.1 * normal(64, 10, seed=2)
    if name == "wasserstein":
        held = hold(model, name)
        for p in model.parameters():
            p.data += 0.3
    else:
        held = hold(model, name, **options)
    optimiser, values = torch.optim.Adam(model.parameters(), lr=0.01), []
    with held:
        for _ in range(60):
            optimiser.zero_grad()
            model(x)
            term = held(other) if name == "sensitivity" else held()
            term.backward()
            optimiser.step()
            values.append(float(term.detach()))
    assert values[-1] < values[0] - 0.02 * abs(values[0])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_weight_multiplies_and_layers_are_chosen():
    model = network()
    one, all_ = hold(model, "norm", layers=["2"])(), hold(model, "norm", 0.5)()
    parts = [recipes.norm_loss(model[i].weight) for i in (0, 2, 4)]
    torch.testing.assert_close(one, parts[1])
    torch.testing.assert_close(all_, 0.5 * sum(parts))
    assert repr(hold(model, "vne")) == "<Held vne, weight 1, layers 3>"
    conv = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2))
    with hold(conv, "vne", layers=["0"]) as held:
        out = conv(torch.randn(2, 3, 8, 8))
        rows = conv[0](torch.zeros(2, 3, 8, 8))
        assert rows.shape[1] == 8
        assert -math.log(8) - 1e-4 <= float(held().detach()) <= 0
        assert out.shape == (2, 2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "name", ["cauchy_schwarz", "norm_loss", "spectral_deviation", "hyperspherical_energy"]
)
def test_terms_of_narrow_weights_are_taken_in_float32(name, dtype):
    w = normal(5, 4).to(dtype).requires_grad_()
    term = getattr(recipes, name)
    value = term(w)
    assert value.dtype == torch.float32
    assert float(value.detach()) == pytest.approx(float(term(w.detach().double())), rel=1e-5)
    value.backward()
    assert w.grad is not None
    assert w.grad.dtype == dtype
    h = normal(6, 4).to(dtype)
    assert float(recipes.negative_vne(h)) == pytest.approx(float(recipes.negative_vne(h.double())), rel=1e-5)


def test_terms_of_what_is_not_finite_are_not_numbers():
    broken = torch.full((3, 3), math.nan)
    assert math.isnan(float(recipes.spectral_deviation(broken)))
    assert math.isnan(float(recipes.negative_vne(broken)))


def test_what_cannot_be_held_is_said():
    model = network()
    with pytest.raises(DomainError, match="did you mean 'vne'"):
        hold(model, "vnee")
    with pytest.raises(DomainError, match="expected names of modules"):
        hold(model, "norm", layers=["9"])
    with pytest.raises(DomainError, match="without one"):
        hold(model, "norm", layers=["1"])
    with pytest.raises(DomainError, match="forward pass before"):
        hold(model, "vne")()
    with pytest.raises(DomainError, match="expected a Sequential and split"):
        hold(model, "nuclear")
    held = hold(model, "sensitivity")
    model(normal(2, 10))
    with pytest.raises(DomainError, match="a second batch"):
        held()
    with pytest.raises(DomainError, match="that are trained, got none"):
        hold(nn.Sequential(nn.ReLU()), "norm")
