import math

import mpmath as mp
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight import gauss
from firstlight.errors import DomainError

SQUARES = {
    "tanh": (lambda x: torch.tanh(x) ** 2, lambda x: mp.tanh(x) ** 2, ()),
    "erf": (lambda x: torch.erf(x) ** 2, lambda x: mp.erf(x) ** 2, ()),
    "gelu": (lambda x: F.gelu(x) ** 2, lambda x: (x * mp.ncdf(x)) ** 2, ()),
    "silu": (lambda x: F.silu(x) ** 2, lambda x: (x / (1 + mp.exp(-x))) ** 2, ()),
    "relu": (lambda x: torch.relu(x) ** 2, lambda x: max(x, mp.mpf(0)) ** 2, (0.0,)),
    "hardtanh": (lambda x: F.hardtanh(x) ** 2, lambda x: min(abs(x), mp.mpf(1)) ** 2, (-1.0, 1.0)),
    "sign jump": (lambda x: (x > 0.3).double(), lambda x: mp.mpf(x > mp.mpf("0.3")), (0.3,)),
}


def by_mpmath(f, mean, std, kinks):
    """The same integral by mpmath's quadrature at 30 digits, split as finely as any case here needs."""
    with mp.workdps(30):
        scale = [mp.mpf(2) ** k for k in range(-6, 6)]
        points = {mp.mpf(0), *scale, *(-s for s in scale), *map(mp.mpf, kinks)}
        points |= {mean + std * g for g in (-14, -9, -5, -2, -1, 0, 1, 2, 5, 9, 14)}
        low, high = mean - 14 * std, mean + 14 * std
        edges = sorted(p for p in points if low <= p <= high)
        return float(mp.quad(lambda x: f(x) * mp.npdf(x, mean, std), edges))


@pytest.mark.parametrize("name", SQUARES)
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.4, 0.05), (-0.7, 3.0), (0.1, 1e3)])
def test_moments_agree_with_mpmath(name, mean, std):
    f, exact, kinks = SQUARES[name]
    result = gauss.integrate(f, mean, std, kinks=kinks)
    truth = by_mpmath(exact, mp.mpf(mean), mp.mpf(std), [mp.mpf(str(k)) for k in kinks])
    # 1e-13 is asked for; another 1e-15 of E|f| is rounding.
    assert float(result.value) == pytest.approx(truth, rel=2e-13, abs=1e-30)
    assert result.converged


@pytest.mark.parametrize("q", [1e-12, 1e-6, 1e-2, 1.0, 1e2, 1e6, 1e12])
@pytest.mark.parametrize(
    ("f", "exact", "kinks"),
    [
        (lambda x: torch.relu(x) ** 2, lambda q: q / 2, (0.0,)),
        (lambda x: x.abs(), lambda q: math.sqrt(2 * q / math.pi), ()),
        (lambda x: torch.exp(-(x**2) / 2), lambda q: (1 + q) ** -0.5, ()),
        (lambda x: torch.erf(x) ** 2, lambda q: 2 / math.pi * math.asin(2 * q / (1 + 2 * q)), ()),
    ],
    ids=["relu", "abs undeclared", "bell", "erf"],
)
def test_variances_from_tiny_to_huge(f, exact, kinks, q):
    value = float(gauss.expect(f, 0.0, math.sqrt(q), kinks=kinks))
    # arcsin near 1 loses half the digits in the closed form itself
    assert value == pytest.approx(exact(q), rel=1e-11 if q < 1e6 else 1e-9)


@pytest.mark.parametrize("frequency", [1, 5, 30, 200])
def test_oscillations(frequency):
    value = float(gauss.expect(lambda x: torch.sin(frequency * x) ** 2, 0.0, 1.0))
    assert value == pytest.approx(0.5 * (1 - math.exp(-2 * frequency**2)), rel=1e-12)


@pytest.mark.parametrize("steepness", [50.0, 1e3, 1e6])
def test_steep_slopes_away_from_zero(steepness):
    value = float(gauss.expect(lambda x: torch.sigmoid(steepness * (x - 0.77)), 0.0, 1.0))
    # A sigmoid is a step smoothed symmetrically: the correction is π²/(6 s²)·p'(0.77), then O(s⁻⁴).
    p = math.exp(-0.5 * 0.77**2) / math.sqrt(2 * math.pi)
    truth = 0.5 * math.erfc(0.77 / math.sqrt(2)) - math.pi**2 / 6 / steepness**2 * (-0.77 * p)
    assert value == pytest.approx(truth, rel=20 / steepness**4 + 1e-12)


def test_undeclared_kink_costs_time_not_accuracy():
    declared = gauss.integrate(F.leaky_relu, 0.3, 1.1, kinks=(0.0,))
    found = gauss.integrate(F.leaky_relu, 0.3, 1.1)
    assert float(found.value) == pytest.approx(float(declared.value), rel=1e-13)
    assert found.evaluations > declared.evaluations
    assert declared.evaluations <= 220


def test_plain_gauss_hermite_is_not_what_is_done():
    """The ReLU gain 1/√Var φ: 160 Gauss–Hermite nodes give 1.7149."""
    f = lambda x: torch.stack([torch.relu(x), torch.relu(x) ** 2])  # noqa: E731
    first, second = gauss.expect(f, 0.0, 1.0, kinks=(0.0,)).tolist()
    assert (second - first**2) ** -0.5 == pytest.approx(1.71286, abs=5e-6)
    assert (second - first**2) ** -0.5 == pytest.approx((0.5 - 0.5 / math.pi) ** -0.5, rel=1e-14)


@settings(max_examples=25, deadline=None)
@given(st.floats(-3, 3), st.floats(0.0, 5.0))
def test_shifts_and_scales(mean, std):
    value = gauss.integrate(lambda x: torch.stack([x, x * x, torch.exp(x)]), mean, std).value.tolist()
    truth = [mean, mean**2 + std**2, math.exp(mean + std**2 / 2)]
    assert value == pytest.approx(truth, rel=1e-12, abs=1e-13)


def test_broadcasting_and_empty():
    mean, std = torch.linspace(-1, 1, 3, dtype=torch.float64)[:, None], torch.tensor([0.0, 1.0, 2.0, 5.0])
    value = gauss.expect(lambda x: x**3, mean, std)
    assert value.shape == (3, 4)
    torch.testing.assert_close(value, mean**3 + 3 * mean * std.double() ** 2, rtol=1e-12, atol=1e-12)
    assert gauss.expect(torch.tanh, torch.zeros(0), 1.0).shape == (0,)


def test_even_halves_the_work():
    f = lambda x: torch.tanh(x) ** 2  # noqa: E731
    std = torch.tensor([0.3, 1.0, 4.0])
    half, whole = gauss.integrate(f, 0.0, std, even=True), gauss.integrate(f, 0.0, std)
    torch.testing.assert_close(half.value, whole.value, rtol=1e-14, atol=0)
    assert half.evaluations == whole.evaluations / 2


@pytest.mark.parametrize("std", [2.0, 10.0, 20.0])
def test_fast_growth_extends_the_tails(std):
    assert float(gauss.expect(torch.exp, 0.0, std)) == pytest.approx(math.exp(std**2 / 2), rel=1e-12)


def test_error_estimate_covers_the_error():
    for f, truth in [
        (lambda x: x.abs(), math.sqrt(2 / math.pi)),
        (lambda x: torch.sin(30 * x) ** 2, 0.5 * (1 - math.exp(-1800))),
        (lambda x: torch.exp(3 * x), math.exp(4.5)),
    ]:
        result = gauss.integrate(f, 0.0, 1.0)
        assert abs(float(result.value) - truth) <= float(result.error) + 4e-16 * abs(truth)


@pytest.mark.parametrize(
    ("f", "mean", "std", "word"),
    [
        (lambda x: torch.exp(x * x), 0.0, 1.0, "grows faster"),
        (lambda x: torch.exp(0.45 * x * x), 0.0, 1.2, "grows faster"),
        (torch.log, 0.0, 1.0, "undefined"),
        (torch.tanh, 0.0, -1.0, "≥ 0"),
        (torch.tanh, 0.0, math.nan, "≥ 0"),
        (lambda x: x.sum(), 0.0, 1.0, "shape"),
    ],
)
def test_bad_input_is_named(f, mean, std, word):
    with pytest.raises(DomainError, match=word):
        gauss.expect(f, mean, std)


RANGE = torch.logspace(-5, 2, 60, dtype=torch.float64)


@pytest.mark.parametrize(
    ("f", "kinks"),
    [
        (lambda x: torch.tanh(x) ** 2, ()),
        (lambda x: torch.stack([torch.relu(x - 0.3), torch.relu(x - 0.3) ** 2]), (0.3,)),
        (lambda x: torch.sin(0.5 * x) ** 2, ()),
        (torch.sigmoid, ()),
    ],
    ids=["tanh", "kink", "oscillation", "one-sided"],
)
@pytest.mark.parametrize("mean", [0.0, 0.2])
def test_shared_nodes_agree_with_one_by_one(f, kinks, mean):
    """Many standard deviations use the nodes of their group; each alone uses its own."""
    shuffled = RANGE[torch.randperm(60, generator=torch.Generator().manual_seed(0))]
    together = gauss.integrate(
        f, mean, torch.cat([shuffled, torch.zeros(1, dtype=torch.float64)]), kinks=kinks
    )
    alone = torch.stack([gauss.expect(f, mean, float(s), kinks=kinks) for s in shuffled], -1)
    torch.testing.assert_close(together.value[..., :-1], alone, rtol=1e-12, atol=1e-18)
    constant = f(torch.full((1, 1), mean, dtype=torch.float64))[..., 0]
    torch.testing.assert_close(together.value[..., -1:], constant, rtol=1e-15, atol=0)
    assert together.converged


def test_a_group_fails_alone():
    """Where a moment diverges for the wide ones only, the error says so; the narrow ones alone are fine."""
    f = lambda x: torch.exp(0.4 * x * x)  # noqa: E731
    value = gauss.expect(f, 0.0, torch.tensor([0.1, 0.5], dtype=torch.float64))
    assert value.tolist() == pytest.approx([(1 - 0.8 * s * s) ** -0.5 for s in (0.1, 0.5)], rel=1e-12)
    with pytest.raises(DomainError, match="grows faster"):
        gauss.expect(f, 0.0, torch.tensor([0.1, 0.5, 1.2]))
