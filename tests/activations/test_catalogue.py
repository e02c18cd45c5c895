"""Entries of the catalogue against closed forms and quoted figures."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import firstlight
from firstlight import RandomNetwork, activations, predict, theory
from firstlight.activations.families import _formulas as formulas
from firstlight.activations.modules import AdaptiveSwish, KANLayer, StepActivation, TopK, top_k_moments
from firstlight.activations.table import EXAMPLES
from firstlight.cli.command import main
from firstlight.errors import DomainError


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- series


def test_mittag_leffler_gives_sigmoid_and_tanh_back():
    x = torch.linspace(-60, 60, 4001, dtype=torch.float64)
    for name, expected in (("mittag_tanh(2)", torch.tanh(x)), ("mittag_sigmoid(0)", torch.sigmoid(x))):
        phi = activations.get(name)
        assert float((phi(x) - expected).abs().max()) < 1e-12
        away = phi.difference(x) - phi.derivative(x)
        assert float(away.abs().max()) < 1e-9  # what eighth-order differences keep


def test_mittag_leffler_at_a_half_is_the_scaled_error_function():
    x = torch.linspace(-6, 9, 501, dtype=torch.float64)
    y = activations.get("mittag_sigmoid(0.5)")(x)
    assert float((y - torch.special.erfcx(torch.exp(-x))).abs().max()) < 1e-13


def test_mittag_leffler_near_the_sigmoid_by_its_power_series_and_by_the_mixture_it_meets():
    mpmath = pytest.importorskip("mpmath")
    for alpha, z in ((0.05, 0.5), (0.25, 2.0)):
        t = mpmath.exp(-z)
        exact = mpmath.nsum(lambda k, a=alpha, t=t: (-t) ** k / mpmath.gamma(a * k + 1), [0, mpmath.inf])
        y = activations.get(f"mittag_sigmoid({alpha})")(torch.tensor(z, dtype=torch.float64))
        assert float(y) == pytest.approx(float(exact), abs=1e-14)
    x = torch.linspace(-40, 40, 201, dtype=torch.float64)
    meets = formulas.near_sigmoid(x, torch.tensor(0.3, dtype=torch.float64))[0]
    assert float((meets - formulas.mittag_sigmoid(x, 0.3)).abs().max()) < 1e-14
    phi = activations.get("mittag_sigmoid(0.2)")
    assert float((phi.difference(x) - phi.derivative(x)).abs().max()) < 1e-9


def test_the_sigmoid_is_learnt_as_the_end_of_its_family():
    module = activations.get("mittag_sigmoid").module(learnable=True).double()
    z = torch.tensor(0.7, dtype=torch.float64)
    y = module(z)
    assert float(y.detach()) == pytest.approx(float(z.sigmoid()), abs=1e-14)
    y.backward()
    t = math.exp(-0.7)  # dE_α(−t)/dα at 0 is t(1 + t)⁻² E log Y = −γ t(1 + t)⁻², Y ~ Exp(1)
    assert float(module.alpha.grad) == pytest.approx(-0.5772156649015329 * t / (1 + t) ** 2, abs=1e-12)


def test_mittag_leffler_at_one_by_the_exponential():
    x = torch.linspace(0.01, 30, 200, dtype=torch.float64)
    expected = -torch.expm1(-x * x) / x
    torch.testing.assert_close(activations.get("mittag_tanh(1)")(x), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("degree", [3, 30, 1000])
def test_hermite_series_have_their_coefficients_as_moments(degree):
    from firstlight.activations.families._series import edge_coefficients

    c = edge_coefficients(degree, renormalise=False)
    second, slope = sum(v * v for v in c), sum(k * v * v for k, v in enumerate(c))
    if degree == 3:
        assert (round(second, 3), round(slope, 3)) == (0.976, 0.827)
    if degree <= 30:
        m = activations.moments(activations.get(f"hermite_series({degree}, 0)"), 1.0)
        assert (float(m.second), float(m.slope)) == (pytest.approx(second), pytest.approx(slope))
    assert 0 < 1 - slope < 2 / math.sqrt(degree)


@pytest.mark.parametrize("degree", [1, 3, 10, 100, 1000])
def test_both_moments_of_a_hermite_series_can_be_given(degree):
    from firstlight.activations.families._series import edge_coefficients

    c = edge_coefficients(degree, renormalise=2)
    assert sum(v * v for v in c) == pytest.approx(1.0, rel=1e-12)
    assert sum(k * v * v for k, v in enumerate(c)) == pytest.approx(1.0, rel=1e-12)
    if degree <= 10:
        m = activations.moments(activations.get(f"hermite_series({degree}, 2)"), 1.0)
        assert (float(m.second), float(m.slope)) == (pytest.approx(1.0), pytest.approx(1.0))
    with pytest.raises(DomainError, match="a degree of at least 1"):
        activations.get("hermite_series(0, 2)")


def test_fourier_series_under_a_uniform_phase():
    phi = activations.get("fourier_series(5)")
    phase = torch.arange(4096, dtype=torch.float64) * 2 * math.pi / 4096
    assert float(phi(phase).square().mean()) == pytest.approx(1.0, rel=1e-12)


# --- modules


LEARNABLE = [
    "apa(0.5, 2)", "aglu(0.7, 1.3)", "crrelu(0.02)", "snake(0.5)", "sau(0.2, 2)", "ash(2, 0.1, 0.3)",
    "hard_ash(2, 0.1, 0.3)", "leaky_relu(0.2)", "elu(0.7)", "softplus(2)", "sin(3)", "hermite_series(4)",
    "fourier_series(3)", "mittag_tanh(1.7)", "mittag_sigmoid(0.6)",
    "mittag_sigmoid(0.2)", "mittag_sigmoid(0)",
]  # fmt: skip


@pytest.mark.parametrize("name", LEARNABLE)
def test_learnable_modules_start_as_the_activation_and_train(name):
    phi = activations.get(name)
    module = phi.module(learnable=True).double()
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)
    torch.testing.assert_close(module(x).detach(), phi(x), rtol=2e-6, atol=2e-6)  # parameters were float32
    module(x).square().sum().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in module.parameters())
    assert any(float(p.grad.abs().max()) > 0 for p in module.parameters())
    now = activations.get(module)
    torch.testing.assert_close(now(x), module(x).detach(), rtol=1e-12, atol=1e-12)


def test_what_cannot_be_learnt_is_refused():
    with pytest.raises(DomainError, match="a family among"):
        activations.get("tanh").module(learnable=True)
    with pytest.raises(DomainError, match="start with mittag_sigmoid"):
        activations.get("mittag_sigmoid(1)").module(learnable=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("swiglu", "a gate of two inputs; use activations.gate"),
        ("relu(1, 2)", "no parameters of relu"),
        ("elu(nan)", "finite numbers"),
        ("hermite_series(2.5)", "whole degree"),
        ("fourier_series(-1)", "whole degree"),
    ],
)
def test_names_that_make_no_activation_are_refused_in_one_sentence(name, message):
    with pytest.raises(DomainError, match=message):
        activations.get(name)


def test_an_audit_follows_learnable_activations():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(64, 256), activations.get("aglu").module(learnable=True), nn.Linear(256, 64)
    )
    profile = firstlight.audit(net, torch.randn(64, 64)).profile
    assert list(profile["kind"]) == ["input", "weight", "activation", "weight"]
    assert profile["q_ratio"][2:] == pytest.approx([1.0, 1.0], abs=0.15)


def test_adaptive_swish_lets_its_share_pass_at_any_scale():
    z = normal(3, 20_000)
    for scale, shift in ((1.0, 0.0), (50.0, 7.0)):
        x = scale * z + shift
        sharp = AdaptiveSwish(0.2, alpha=1e4).double()(x)
        passed = float((sharp.abs() > 1e-6 * scale).double().mean())
        assert abs(passed - 0.2) < 5 * math.sqrt(0.2 * 0.8 / 60_000) + 2e-3  # the gate's own width
    hard = AdaptiveSwish(0.2, hard=True).double()(z)
    mean, std = z.mean(1, keepdim=True), z.std(1, keepdim=True, correction=0)
    gate = ((z - mean - 0.8416212335729143 * std) / 6 + 0.5).clamp(0, 1)
    torch.testing.assert_close(hard.detach(), z.clamp(0, 2) * gate)


def test_step_activations_hold_relu_and_learn():
    module = StepActivation((0.0,), (0.0, 1.0))
    x = torch.linspace(-2, 2, 41)
    torch.testing.assert_close(module(x).detach(), torch.relu(x))
    phi = activations.get(StepActivation((-1.0, 1.0), (0.5, 1.0, 0.5)))
    assert phi.jumps == pytest.approx((-1.0, 1.0))
    m = activations.moments(activations.get("matrix_step(1, 0.5, 1)"), 1.0)
    assert float(activations.moments(phi, 1.0).second) == pytest.approx(float(m.second), rel=1e-9)


@pytest.mark.parametrize("by_size", [False, True])
def test_top_k_by_brute_force(by_size):
    n, share, q = 4000, 0.1, 1.7
    z = (normal(200, n) * math.sqrt(q)).requires_grad_()
    h = TopK(int(share * n), by_size=by_size)(z)
    h.sum().backward()
    h = h.detach()
    expected = top_k_moments(share, q=q, by_size=by_size)
    for values, number in ((h.mean(1), expected.mean), (h.square().mean(1), expected.second)):
        # 200 rows; the finite n shifts a moment by a share of 1/n, which is far below their error
        assert abs(float(values.mean()) - number) < 5 * float(values.std()) / math.sqrt(200) + 2 / n
    assert float(z.grad.mean()) == pytest.approx(share)
    assert expected.slope == share


@pytest.mark.parametrize("basis", ["spline", "bump", "chebyshev"])
def test_kan_layers_keep_the_second_moment_and_know_their_gradient(basis):
    layer = KANLayer(300, 400, basis=basis, gain=1.5, generator=torch.Generator().manual_seed(0)).double()
    x = normal(64, 300, seed=1).requires_grad_()
    y = layer(x)
    assert float(y.detach().square().mean()) == pytest.approx(1.5**2, rel=0.1)
    second, slope = layer.basis_moments()
    u = normal(*y.shape, seed=2)
    (grad,) = torch.autograd.grad(y, x, u)
    # out·v·Σ E B'² with v = gain²/(in·Σ E B²)
    assert float(grad.square().mean()) == pytest.approx(400 * 1.5**2 / (300 * second) * slope, rel=0.1)


def test_splines_sum_to_one_inside_the_grid():
    layer = KANLayer(1, 1, size=9)
    total = layer.functions(torch.linspace(-3, 3, 101, dtype=torch.float64)).sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total))


# --- gates


@pytest.mark.parametrize("name", activations.GATES)
def test_gates_by_brute_force(name):
    q, c, n = 1.6, 0.4, 400_000
    gate = activations.gate(name)
    u, v = (normal(2, n) * math.sqrt(q)).requires_grad_(True)
    h = gate(u, v)
    du, dv = torch.autograd.grad(h.sum(), (u, v))
    h, u, v, m = h.detach(), u.detach(), v.detach(), gate.moments(q)
    for values, number in (
        (h, m.mean),
        (h.square(), m.second),
        (du.square() + dv.square(), m.slope),
        ((h == 0).double(), m.zeros),
    ):
        assert abs(float(values.mean()) - number) < 5 * float(values.std()) / math.sqrt(n) + 1e-9
    other = c * torch.stack([u, v]) + math.sqrt(1 - c * c) * math.sqrt(q) * normal(2, n, seed=3)
    both = h * gate(*other)
    assert abs(float(both.mean()) - gate.dual(q, c)) < 5 * float(both.std()) / math.sqrt(n)


@given(st.floats(0.01, 100.0))
def test_drelu_is_a_quarter_of_the_squares_and_three_quarters_silent(q):
    m = activations.gate("drelu").moments(q)
    assert m.second == pytest.approx(q * q / 4, rel=1e-12)
    assert m.zeros == 0.75


def test_the_gradient_of_a_gated_layer():
    """σ_w² E slope for two matrices of the same scale, by autograd at width 1500."""
    gate, n, w2 = activations.gate("swiglu"), 1500, 1.3
    x = normal(8, n).requires_grad_()
    a, b = normal(2, n, n, seed=1) * math.sqrt(w2 / n)
    h = gate(x @ a.T, x @ b.T)
    (grad,) = torch.autograd.grad(h, x, normal(8, n, seed=2))
    q = w2 * float(x.detach().square().mean())
    assert float(grad.square().mean()) == pytest.approx(w2 * gate.moments(q).slope, rel=0.1)


# --- rounding


def test_the_best_even_quantisers_are_those_of_max():
    published = {1: 0.3634, 2: 0.1188, 3: 0.03744, 4: 0.01154, 5: 0.003495}
    for bits, error in published.items():
        assert float(f"{activations.uniform_quantiser(bits).error:.4g}") == error


def test_quantiser_by_the_activation_of_the_registry():
    best = activations.uniform_quantiser(3)
    phi = activations.get(f"quantise(3, {4 * best.step!r})")
    z = normal(400_000)
    squares = (z - phi(z)).square()
    assert abs(float(squares.mean()) - best.error) < 5 * float(squares.std()) / math.sqrt(len(z))


@pytest.mark.parametrize(("name", "sigma_w"), [("tanh", 1.5), ("relu", 2**0.5)])
def test_the_noise_of_rounding_is_what_networks_show(name, sigma_w):
    bits, n, depth = 6, 1200, 6
    net = RandomNetwork(depth=depth, width=n, activation=name, sigma_w=sigma_w)
    profile = predict(net, q0=1.0, bits=bits)
    step = activations.uniform_quantiser(bits).step
    phi, x = net.phi, normal(40, n)
    clean = rounded = x * math.sqrt(1 / float(x.square().mean()))
    for layer in range(depth):
        w = normal(n, n, seed=layer + 1) * sigma_w / math.sqrt(n)
        z, y = clean @ w.T, rounded @ w.T
        q = float(z.square().mean())
        s = step * math.sqrt(q)
        y = (torch.ceil(y / s).clamp(-31, 32) - 0.5) * s
        noise = float((y - z).square().mean()) / q
        # 48,000 entries behind weights of width 1200: both moments are known to about √(6/1200)
        assert noise == pytest.approx(profile["quantisation_noise"][layer], rel=0.15)
        clean, rounded = phi(z), phi(y)
    assert profile["gradient_noise"][0] == pytest.approx(depth * activations.uniform_quantiser(bits).error)
    with pytest.raises(DomainError, match="crosses a jump"):
        predict(net.with_(activation="sign"), bits=8)


# --- the table


@pytest.mark.slow
def test_the_table_takes_less_than_five_seconds():
    """In a process of its own, without the typing hook, on the clock of that process."""
    code = (
        "import time; from firstlight.theory import activation_table; "
        "start = time.process_time(); activation_table(); print(time.process_time() - start)"
    )
    took = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert float(took.stdout) < 5


def test_the_table_holds_every_name():
    rows = theory.activation_table()
    own = {n for n in activations.names() if activations.get(EXAMPLES.get(n, n)).of_library}
    assert {r.row.name.partition("(")[0] for r in rows} == own
    by_name = {r.row.name: r for r in rows}
    assert by_name["relu"].row.dc_share == pytest.approx(1 / math.pi)
    assert by_name["gelu"].q_star == pytest.approx((3 + math.sqrt(17)) / 2)
    snake = by_name["snake(1.0)"].row
    assert snake.second - snake.mean**2 == pytest.approx(1 + (1 + math.exp(-8) - 2 * math.exp(-4)) / 8)


@pytest.mark.parametrize(
    "name", ["relu", "crelu(1, 0.5)", "hardshrink(0.5)", "relu6", "helu", "tanh", "softshrink(1)"]
)
def test_the_mass_of_zeros_by_counting(name):
    phi, z = activations.get(name), normal(200_000)
    share = float((phi(z) == 0).double().mean())
    expected = activations.zero_mass(phi, 1.0)
    assert abs(share - expected) < 5 * math.sqrt(expected * (1 - expected) / 200_000) + 1e-12


NEW = ["helu(0.1)", "spike(5)", "sign_ste(2)", "quantise(3, 3)", "hard_ash(2, 0, 0.5)", "matrix_step(1, 0.5, 2)",
       "fourier_series(4)", "mittag_tanh(1.5)", "mittag_sigmoid(0.6)"]  # fmt: skip


@pytest.mark.parametrize("name", NEW)
def test_new_entries_work_wherever_a_user_has_a_name(name, capsys):
    net = RandomNetwork(depth=3, width=16, activation=name, sigma_w=1.2)
    profile = predict(net)
    assert np.isfinite(profile["q"]).all()
    assert np.isfinite(profile["chi"]).all()
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    assert np.isfinite(firstlight.simulate(net, x, nets=4, seed=0, gradients=True)["log_grad"]).all()
    edge = firstlight.edge_of_chaos(name) if not (net.phi.jumps and net.phi.backward is None) else None
    assert edge is None or edge.kind in ("curve", "none")
    argv = ["mlp", "--depth", "2", "--width", "8", "--activation", name]
    assert main(["predict", *argv]) == 0
    assert main(["audit", *argv, "--data", "8x4", "--quiet"]) == 0
    assert RandomNetwork.from_dict(net.to_dict()) == net
    capsys.readouterr()


def test_the_page_of_activations_holds_the_table_that_its_command_makes():
    from pathlib import Path

    page = Path(__file__).parents[2] / "docs" / "theory" / "activation_table.inc"
    assert page.read_text(encoding="utf-8") == theory.activation_markdown(theory.activation_table()) + "\n"
