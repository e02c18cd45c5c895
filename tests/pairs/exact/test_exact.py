"""φ and its derivatives, the spec's tables, and the proof that W φ(X) is Gaussian."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import special, stats

from firstlight import pairs
from firstlight.errors import DomainError
from firstlight.pairs.exact.check import check
from firstlight.pairs.exact.function import ExactActivation
from firstlight.pairs.exact.numbers import critical_split
from firstlight.pairs.exact.wright import weibull_partner
from firstlight.weights import weibull

TABLE = {  # θ: χ₁ odd, χ₁ positive, V'(1) odd, V'(1) positive, C(0) positive, p*
    2.05: (1.2423, 0.2290, 0.405, 0.027, 0.803, 0.2024),
    2.5: (1.0970, 0.2643, 0.584, 0.171, 0.753, 0.2878),
    3.0: (1.0464, 0.2949, 0.693, 0.262, 0.721, 0.3443),
    4.0: (1.0156, 0.3309, 0.810, 0.361, 0.687, 0.4052),
    5.0: (1.0068, 0.3500, 0.869, 0.413, 0.670, 0.4358),
    7.0: (1.0020, 0.3685, 0.927, 0.464, 0.655, 0.4647),
    10.0: (1.0005, 0.3794, 0.961, 0.494, 0.646, 0.4815),
}


@pytest.mark.parametrize("theta", TABLE)
def test_table_of_numbers(theta):
    odd, positive = pairs.weibull(theta).check(), pairs.weibull(theta, kind="positive").check()
    chi_odd, chi_positive, v_odd, v_positive, c_zero, p = TABLE[theta]
    half = 0.5  # of the last printed digit
    assert odd.chi == pytest.approx(chi_odd, abs=half * 1.01e-4)
    assert positive.chi == pytest.approx(chi_positive, abs=half * 1.01e-4)
    assert odd.variance_slope == pytest.approx(v_odd, abs=half * 1.01e-3)
    assert positive.variance_slope == pytest.approx(v_positive, abs=half * 1.01e-3)
    assert positive.correlation_at_zero == pytest.approx(c_zero, abs=half * 1.01e-3)
    critical = pairs.weibull(theta, kind="critical")
    assert critical.split == pytest.approx(p, abs=half * 1.01e-4)
    assert critical.check().chi == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("theta", [2, 2.0001, 2.05, 2.2, 3, 10, 1e6, math.inf])
@pytest.mark.parametrize("split", [0.5, 0.0, 0.3])
def test_every_pair_proves_itself(theta, split):
    result = check(weibull(float(theta)), ExactActivation(weibull_partner(float(theta)), split))
    assert result.passed, str(result)


@pytest.mark.parametrize("theta", [2.05, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0])
@pytest.mark.parametrize("kind", ["odd", "positive", "critical"])
def test_the_law_of_the_product_by_sampling(theta, kind):
    pair = pairs.weibull(theta, kind=kind)
    g = torch.Generator().manual_seed(11)
    n = 200_000
    w = pair.weights.sample((n,), generator=g, dtype=torch.float64)
    z = (w * pair.activation(torch.randn(n, generator=g, dtype=torch.float64))).numpy()
    # KS of a true null: 21 tests, so a level of 1e-5 leaves a false alarm in 2e-4 of all seeds
    assert stats.kstest(z, "norm").pvalue > 1e-5


@pytest.mark.parametrize("split", [0.5, 0.0, 0.27])
@pytest.mark.parametrize("theta", [2.0, 2.001, 2.05, 3.0, 10.0, 1e5, math.inf])
def test_derivatives_agree_with_differences(theta, split):
    phi = ExactActivation(weibull_partner(theta), split)
    x = np.array([-9.0, -3.3, -1.1, -0.2, 0.4, 1.3, 2.9, 6.0, 11.0])
    h = 1e-4
    five = (8 * (phi(x + h) - phi(x - h)) - (phi(x + 2 * h) - phi(x - 2 * h))) / (12 * h)
    # rounding of φ over the step, and h⁴ φ⁗⁄30
    np.testing.assert_allclose(phi.derivative(x), five, atol=1e-10, rtol=1e-9)
    slopes = (8 * (phi.derivative(x + h) - phi.derivative(x - h))) - (
        phi.derivative(x + 2 * h) - phi.derivative(x - 2 * h)
    )
    np.testing.assert_allclose(phi.second_derivative(x), slopes / (12 * h), atol=2e-9, rtol=1e-7)


@pytest.mark.parametrize("theta", [2.05, 3.0, 10.0, 1000.0])
def test_known_values(theta):
    odd, positive = (ExactActivation(weibull_partner(theta), p) for p in (0.5, 0.0))
    assert odd.derivative(np.array([0.0]))[0] == pytest.approx(math.gamma(1 - 1 / theta), rel=1e-14)
    x = np.linspace(0.01, 9, 50)
    np.testing.assert_array_equal(odd(-x), -odd(x))
    # φᵖ(x) = φᵒ(y) where both have the same probability below
    y = math.sqrt(2) * special.erfinv(special.ndtr(np.array([0.5])))
    np.testing.assert_allclose(positive(np.array([0.5])), odd(y), rtol=1e-13)


def test_theta_two_in_closed_form():
    phi = pairs.weibull(2.0).exact
    x = np.linspace(-6, 6, 41)
    expected = math.sqrt(2) * np.sin(math.pi * (special.ndtr(x) - 0.5))
    np.testing.assert_allclose(phi(x), expected, atol=3e-16)


@pytest.mark.parametrize("theta", [2.05, 3.0, 10.0])
def test_tail_power_and_constant(theta):
    phi = pairs.weibull(theta).exact
    dual = 1 / (0.5 - 1 / theta)
    constant = theta ** (1 / theta) * (dual / 2) ** (1 / dual)
    x = np.array([1e4, 1e6])
    ratio = phi(x) / (constant * x ** (1 - 2 / theta))
    np.testing.assert_allclose(ratio, 1, atol=1e-6)


def test_extreme_arguments():
    phi = pairs.weibull(3.0).exact
    values = phi(np.array([0.0, np.inf, -np.inf, np.nan, 1e-300, 1e200]))
    assert values[0] == 0
    assert values[1] == np.inf
    assert values[2] == -np.inf
    assert np.isnan(values[3])
    assert values[4] == pytest.approx(math.gamma(2 / 3) * 1e-300, rel=1e-12)
    assert values[5] > 1e66


@pytest.mark.parametrize("split", [-0.1, 1.0, math.nan])
def test_bad_split(split):
    with pytest.raises(DomainError, match="share"):
        pairs.weibull(3.0, split=split)


@pytest.mark.parametrize("theta", [1.9, -math.inf, math.nan])
def test_bad_theta(theta):
    with pytest.raises(DomainError, match="theta"):
        pairs.weibull(theta)


def test_bad_kind():
    with pytest.raises(DomainError, match="kind"):
        pairs.weibull(3.0, kind="even")


def test_critical_split_at_the_ends():
    assert critical_split(weibull_partner(math.inf), 1.0) == 0.5
    assert 0.05 < critical_split(weibull_partner(2.0), 1.0) < 0.2024


@pytest.mark.parametrize("x", [45.0, 200.0, 1e5])
@pytest.mark.parametrize(
    ("law", "survival"),
    [
        ("uniform", lambda y: mpmath.gammainc(1.5, y**2 / 2) / mpmath.gamma(1.5)),
        ("sphere_marginal(5)", lambda y: mpmath.gammainc(2.5, y**2 / 2) / mpmath.gamma(2.5)),
        (
            "power_uniform(2)",
            lambda y: (
                (mpmath.erfc(y / mpmath.sqrt(2)) + mpmath.gammainc(1.5, y**2 / 2) / mpmath.gamma(1.5)) / 2
            ),
        ),
    ],
    ids=["uniform", "sphere", "power"],
)
def test_closed_partners_where_a_gaussian_probability_is_no_float(law, survival, x):
    phi = pairs.partner(law).exact
    with mpmath.workdps(40):
        level = mpmath.log(mpmath.erfc(mpmath.mpf(x) / mpmath.sqrt(2)))
        y = mpmath.findroot(lambda y: mpmath.log(survival(y)) - level, float(phi(np.array([x]))[0]))
        slope = -(
            mpmath.exp(level) and mpmath.diff(lambda t: mpmath.log(mpmath.erfc(t / mpmath.sqrt(2))), x)
        ) / (-mpmath.diff(lambda t: mpmath.log(survival(t)), y))
    assert float(phi(np.array([x]))[0]) == pytest.approx(float(y), rel=1e-12)
    # log φ in log x by differences over 1e-3: what they leave out is 1e-6 of a third derivative below 1/x²
    assert float(phi.derivative(np.array([x]))[0]) == pytest.approx(float(slope), rel=1e-8)


def test_the_partner_of_uniform_weights_next_to_zero_and_at_the_end_of_the_floats():
    phi = pairs.partner("uniform").exact
    x = np.array([1e-300, 1e-100, 1e-20])
    np.testing.assert_allclose(phi(x), np.cbrt(3 * x), rtol=1e-12)  # P = √(2/π) x = √(2/π) φ³/3
    np.testing.assert_allclose(phi(np.array([1e152, -1e300])), [1e152, -1e300], rtol=1e-12)
    np.testing.assert_allclose(phi.derivative(np.array([1e152, -1e300])), 1, rtol=1e-9)
