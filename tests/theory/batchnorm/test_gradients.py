"""Gradient conservation, mean-field rates, gain exponents, batch checks and predictions."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

import firstlight
from firstlight import activations
from firstlight.errors import DomainError
from firstlight.theory import batchnorm
from firstlight.weights import haar


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def backward_step(weight, x, grad):
    """∂L/∂W and ∂L/∂X of X' = BN(WX) by autograd, features as rows."""
    w, x = weight.clone().requires_grad_(), x.clone().requires_grad_()
    y = w @ x
    y = y / torch.linalg.vector_norm(y, dim=1, keepdim=True)
    return torch.autograd.grad(y, (w, x), grad)


def test_conservation_at_isometry():
    """‖∇W‖ = ‖H − diag H‖ and H_ℓ = Wᵀ(H − diag H)W, exactly; the antisymmetric part survives."""
    d = 10
    x = haar(d, generator=seeded(1), dtype=torch.float64)
    grad = torch.randn(d, d, generator=seeded(2), dtype=torch.float64)
    w = haar(d, generator=seeded(3), dtype=torch.float64)
    h = grad @ (w @ x).T
    gw, gx = backward_step(w, x, grad)
    rest = h - torch.diag(h.diagonal())
    assert gw.norm().item() == pytest.approx(rest.norm().item(), rel=1e-12)
    torch.testing.assert_close(gx @ x.T, w.T @ rest @ w)
    antisymmetric, symmetric = batchnorm.conserved_parts(h)
    assert antisymmetric + symmetric == pytest.approx(rest.square().sum().item(), rel=1e-12)
    below = batchnorm.conserved_parts(gx @ x.T)
    assert below[0] == pytest.approx(antisymmetric, rel=1e-12)
    assert below[1] < symmetric


def test_contraction_of_the_symmetric_part_on_average():
    d, layers, draws = 6, 8, 400
    norms = torch.zeros(draws, layers, dtype=torch.float64)
    h0 = torch.randn(d, d, generator=seeded(4), dtype=torch.float64)
    for i in range(draws):
        rest = h0 - torch.diag(h0.diagonal())
        for k, w in enumerate(haar(d, count=layers, generator=seeded(100 + i), dtype=torch.float64)):
            norms[i, k] = rest.square().sum()
            h = w.T @ rest @ w
            rest = h - torch.diag(h.diagonal())
    want = batchnorm.gradient_at_isometry(*batchnorm.conserved_parts(h0), d, layers)
    se = norms.std(dim=0) / math.sqrt(draws)
    assert norms[0, 0].item() == pytest.approx(want[0].item(), rel=1e-12)
    assert ((norms.mean(dim=0) - want)[1:].abs() < 5 * se[1:]).all()


def monte_carlo_rate(name, batch, centred, draws=50_000):
    """The growth of the squared gradient from samples on the sphere, with its standard error."""
    phi = activations.get(name)
    y = torch.randn(draws, batch, generator=seeded(batch), dtype=torch.float64)
    if centred:
        y = y - y.mean(dim=1, keepdim=True)
    u = y / torch.linalg.vector_norm(y, dim=1, keepdim=True)
    y = u * math.sqrt(batch)
    d = phi.derivative(y)
    g = torch.randn(draws, batch, generator=seeded(batch + 1), dtype=torch.float64)
    if centred:
        g = g - g.mean(dim=1, keepdim=True)
    back = d * g
    if centred:
        back = back - back.mean(dim=1, keepdim=True)
    back = back - (back * u).sum(dim=1, keepdim=True) * u
    f = phi(y)
    if centred:
        f = f - f.mean(dim=1, keepdim=True)
    factor = batch / (batch - (3 if centred else 2))
    top, bottom = back.square().sum(dim=1), f.square().sum(dim=1)
    ratio = factor * top.mean() / bottom.mean()
    se = ratio * math.sqrt((top.var() / top.mean() ** 2 + bottom.var() / bottom.mean() ** 2) / draws)
    return ratio.item(), se.item()


@pytest.mark.parametrize("name", ["linear", "relu", "tanh", "gelu", "hardtanh"])
@pytest.mark.parametrize("batch", [4, 6, 40])
def test_mean_field_rate_by_monte_carlo(name, batch):
    want, se = monte_carlo_rate(name, batch, True)
    assert abs(batchnorm.gradient_rate(name, batch) - want) < 5 * se + 1e-12


@pytest.mark.parametrize("batch", [3, 12])
def test_uncentred_mean_field_rate_by_monte_carlo(batch):
    want, se = monte_carlo_rate("tanh", batch, False)
    assert abs(batchnorm.gradient_rate("tanh", batch, centred=False) - want) < 5 * se


def test_mean_field_closed_forms():
    assert batchnorm.gradient_rate("relu") == pytest.approx(math.pi / (math.pi - 1), rel=1e-12)
    for batch in (4, 10, 1000):
        assert batchnorm.gradient_rate("linear", batch) == pytest.approx((batch - 2) / (batch - 3), rel=1e-12)
        uncentred = batchnorm.gradient_rate("linear", batch, centred=False)
        assert uncentred == pytest.approx((batch - 1) / (batch - 2), rel=1e-12)
    # E cos² z = (1 + e⁻²)/2 and E sin² z = (1 − e⁻²)/2
    assert batchnorm.gradient_rate("sin") == pytest.approx(1 / math.tanh(1), rel=1e-12)
    assert batchnorm.gradient_rate("relu", 10**5) == pytest.approx(batchnorm.gradient_rate("relu"), rel=1e-4)
    for call in (
        lambda: batchnorm.gradient_rate("relu", 3),
        lambda: batchnorm.gradient_rate("relu", 10, centred=False),
    ):
        with pytest.raises(DomainError, match="mean-field rate"):
            call()


def test_shaped_growth_falls_like_the_fourth_power():
    # the next order is O(α²), a few per cent at these gains
    for name, coefficient in (("sin", 1 / 6), ("tanh", 2 / 3)):
        rates = batchnorm.shaped_rates(name, [0.1, 0.05])
        assert math.log2(rates[0] / rates[1]) == pytest.approx(4, abs=0.07)
        assert rates[1].item() / 0.05**4 == pytest.approx(coefficient, rel=0.03)
    # closed form: E sin²(αz) = (1 − e^{−2α²})/2
    alpha = 0.7
    want = 0.5 * math.log(alpha**2 / math.tanh(alpha**2))
    assert batchnorm.shaped_rates("sin", [alpha])[0].item() == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize(
    ("name", "critical"), [("sin", 0.25), ("tanh", 0.25), ("erf", 0.25), ("gelu", 0.5), (torch.atan, 0.25)]
)
def test_choose_gamma(name, critical):
    choice = batchnorm.choose_gamma(name)
    assert choice.critical == pytest.approx(critical, abs=1e-9)
    assert choice.gamma > critical
    assert choice.growth <= math.log(10)
    finite = batchnorm.choose_gamma(name, depth=1000)
    assert finite.gamma <= choice.gamma
    exact = batchnorm.shaped_growth(name, [layer**-finite.gamma for layer in range(1, 1001)])
    # the tail is summed by a trapezoidal rule in log ℓ
    assert finite.growth == pytest.approx(exact, rel=1e-3)


def test_choose_gamma_of_linear_and_of_relu():
    assert batchnorm.choose_gamma("linear").gamma == 0.0
    with pytest.raises(DomainError, match="smooth"):
        batchnorm.choose_gamma("relu")
    with pytest.raises(DomainError, match="first layer alone"):
        batchnorm.choose_gamma("tanh", budget=0.01)


@pytest.mark.parametrize("activation", ["step", "sign", torch.floor, lambda x: torch.tanh(x) + (x > 0.5)])
def test_choose_gamma_refuses_what_jumps(activation):
    with pytest.raises(DomainError, match="jumps"):
        batchnorm.choose_gamma(activation)


def batch(n, d, seed=0):
    return torch.randn(n, d, generator=seeded(seed))


def test_a_good_batch():
    check = firstlight.check_batch(batch(120, 100), width=100)
    assert check.ok
    assert (check.rank, check.slope) == (100, 0.0)
    assert "predicted slope 0" in str(check)


@pytest.mark.parametrize(("n", "measured"), [(10, 0.0528), (32, 0.0111), (50, 0.0055)])
def test_small_batches_are_given_their_slope(n, measured):
    check = firstlight.check_batch(batch(n, 100), width=100)
    assert check.slope == pytest.approx(measured, rel=0.15)
    assert check.growth(1000) == pytest.approx(1000 * check.slope)
    assert f"{n} independent samples for width 100; use a batch of at least 100" in check.problems[0]
    centred = firstlight.check_batch(batch(n, 100), width=100, centred=True)
    assert centred.rank == n - 1
    assert "at least 101" in centred.problems[0]


def test_duplicates_constants_and_a_batch_of_one():
    x = batch(100, 100)
    x[75:] = x[:25]
    check = firstlight.check_batch(x, width=100)
    assert (check.rank, check.duplicates) == (75, 25)
    assert any("25 of 100 samples are copies" in p for p in check.problems)
    assert 1000 * check.slope == pytest.approx(1.98, rel=0.15)
    y = batch(50, 20)
    y[:, :5] = 1.0
    assert firstlight.check_batch(y, width=16, centred=True).constant == 5
    assert not firstlight.check_batch(y, width=16, centred=True).ok
    one = firstlight.check_batch(batch(1, 30), width=16)
    assert math.isnan(one.slope)
    assert "batch of one" in one.problems[0]
    same = firstlight.check_batch(torch.ones(20, 30), width=16)
    assert "rank 1" in same.problems[0]
    narrow = firstlight.check_batch(batch(200, 8), width=16)
    assert "only 8 features" in narrow.problems[0]


def test_gaussian_weights_are_never_fine():
    check = firstlight.check_batch(batch(120, 100), width=100, weights="normal")
    assert not check.ok
    assert check.slope == pytest.approx(0.0105, abs=0.002)


def test_check_refusals():
    x = batch(10, 5)
    x[3, 2] = math.nan
    with pytest.raises(DomainError, match="1 of 10 samples"):
        firstlight.check_batch(x, width=5)
    with pytest.raises(DomainError, match="sample dimension"):
        firstlight.check_batch(torch.ones(5), width=5)


def test_predict_linear_and_its_gap():
    prediction = batchnorm.predict_batchnorm(depth=200, width=32, batch=32)
    assert prediction.bounded
    gap = prediction.profile["isometry_gap"]
    assert gap[99] == pytest.approx(0.172, rel=0.6)  # 0.172 in the mean over other draws
    assert prediction.gap_decay == pytest.approx(-0.06062, abs=1e-5)
    assert prediction.log_growth == pytest.approx(-0.5 * math.log(2), abs=0.01)
    assert len(prediction.profile) == 200


def test_predict_what_explodes():
    relu = batchnorm.predict_batchnorm(depth=50, width=64, batch=100, activation="relu", centred=True)
    assert not relu.bounded
    assert relu.slope == pytest.approx(0.1916, abs=1e-3)
    gaussian = batchnorm.predict_batchnorm(depth=1000, width=100, batch=100, weights="normal")
    assert not gaussian.bounded
    assert gaussian.log_growth == pytest.approx(9.45, rel=0.3)
    small = batchnorm.predict_batchnorm(depth=1000, width=100, batch=50)
    assert not small.bounded
    assert math.isinf(small.profile["isometry_gap"][0])
    shaped = batchnorm.predict_batchnorm(
        depth=1000, width=100, batch=200, activation="sin", gain_exponent=0.4
    )
    assert shaped.bounded
    assert shaped.log_growth < 1
    flat = batchnorm.predict_batchnorm(depth=1000, width=100, batch=200, activation="sin")
    assert flat.log_growth == pytest.approx(134, rel=0.03)
    assert any("mean-field" in note for note in flat.notes)


def test_theorem_5_knows_no_depth():
    assert batchnorm.theorem_5(0.0, 10) == 1e5
    assert batchnorm.theorem_5(math.inf, 10) == math.inf
    with pytest.raises(DomainError, match="gap ≥ 0"):
        batchnorm.theorem_5(-1.0, 10)


def test_the_theory_is_reached_by_its_public_name():
    """In a fresh process: an import elsewhere would hide a missing export."""
    code = (
        "import firstlight; firstlight.theory.batchnorm.predict_batchnorm; firstlight.builders.recalibrate_"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_a_clip_needs_no_exponent_of_its_own():
    """Its growth falls as e^{−1/2α²}, faster than any power of the gain."""
    found = batchnorm.choose_gamma("hardtanh")
    assert (found.critical, found.order) == (0.0, math.inf)
    assert 0.1 < found.gamma < 0.3
    # a second way: all layers to a million, one by one in groups of equal gain
    logs = np.log(np.arange(1, 1_000_001))
    at = np.linspace(0.0, -6 * math.log(10) * found.gamma, 400)[::-1]
    rates = batchnorm.shaped_rates("hardtanh", np.exp(at).tolist()).numpy()
    growth = np.interp(-found.gamma * logs, at, np.where(rates > 1e-13, rates, 0.0)).sum()
    assert float(growth) == pytest.approx(found.growth, rel=0.01)
    assert found.growth <= math.log(10)


def test_a_slow_growth_is_not_called_an_explosion():
    """Rank 99 of width 100 grows by 1.3e-4 a layer: tenfold in some 20 000 layers."""
    check = firstlight.check_batch(batch(99, 100), width=100, centred=False)
    assert 0 < check.slope < 3e-4
    assert "grow slowly" in check.problems[0]
    assert "explode" not in check.problems[0]
    assert "explode" in firstlight.check_batch(batch(20, 100), width=100, centred=False).problems[0]


def test_a_jump_adds_to_the_variance_and_not_to_the_slope():
    assert batchnorm.shaped_rates("sign", [1.0, 0.1]).tolist() == [-math.inf, -math.inf]
    # x + sign(x): E φ'² = 1 and E φ² = 1 + 2 E|z| + 1
    assert float(batchnorm.shaped_rates(lambda x: x + torch.sign(x), [1.0])[0]) == pytest.approx(
        -0.5 * math.log(2 + 2 * math.sqrt(2 / math.pi)), rel=1e-9
    )
