"""Partners in closed form and by inversion; reasons when there are none."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

import firstlight
from firstlight import pairs, weights
from firstlight.errors import DomainError
from firstlight.pairs._reading import read
from firstlight.pairs.exact.check import law_distance

X = np.array([0.01, 0.1, 0.5, 1.0, 2.0, 3.0, 5.0])
CLOSED = {
    "rademacher": weights.Rademacher(),
    "uniform": weights.uniform(),
    "power": weights.PowerUniform(2.0),
    "maxwell": weights.chi(3),
    "rayleigh": weights.chi(2),
    "sphere": weights.sphere_marginal(5),
    "arcsine": weights.arcsine(),
    "weibull": weights.weibull(3.0).standardised(),
    "two bits": weights.Discrete((0.5, 1.5), (0.2, 0.8)),
    "two bits at the limit": weights.Discrete((1.0, 2.0), (1 / 3, 2 / 3)),
    "one level": weights.Discrete((0.7,), (1.0,)),
}


@pytest.mark.parametrize("law", CLOSED.values(), ids=CLOSED.keys())
def test_closed_partners_give_a_gaussian(law):
    pair = pairs.partner(law)
    assert law_distance(law, pair.exact.magnitude) < 1e-12
    check = pair.check()
    assert check.passed, str(check)
    if law.strip[0] < -1:  # φᵒ'(0) = E[1/|W|]
        assert check.slope_at_zero == pytest.approx(law.moment(-1), rel=1e-9)
    g = torch.Generator().manual_seed(5)
    n = 10_000 if isinstance(law, weights.Discrete) else 100_000  # a quantile sums hundreds of terms
    w = law.sample((n,), generator=g, dtype=torch.float64).numpy()
    z = w * pair.exact(torch.randn(n, generator=g, dtype=torch.float64).numpy())
    assert stats.kstest(z, "norm").pvalue > 1e-5


def test_printed_closed_forms():
    cases = (
        (weights.Rademacher(), X),
        (weights.chi(3), math.sqrt(3) * special.erf(X / math.sqrt(2))),
        (weights.uniform(), stats.chi.ppf(special.erf(X / math.sqrt(2)), 3)),
        (weights.sphere_marginal(4), stats.chi.ppf(special.erf(X / math.sqrt(2)), 4)),
        (weights.Normal(), np.ones_like(X)),
    )
    for law, expected in cases:
        np.testing.assert_allclose(pairs.partner(law).exact(X[:6]), expected[:6], rtol=1e-9)


@pytest.mark.parametrize(
    "name", ["weibull(3)", "weibull(2.5)", "weibull(5)", "uniform", "sphere_marginal(5)"]
)
def test_inversion_recovers_the_closed_forms(name):
    law = weights.get(name)
    ours = pairs.partner(law, numerical=True)
    np.testing.assert_allclose(ours.exact(X), pairs.partner(law).exact(X), rtol=1e-8)
    assert ours.exact.magnitude.error < 1e-7


def test_a_partner_found_from_a_quantile_function_proves_itself_at_both_ends():
    # uniform weights: |φ| is χ₃, whose density vanishes at 0, so φ has an infinite slope and χ₁ = ∞
    pair = pairs.partner(weights.from_icdf(lambda p: 2 * p - 1))
    check = pair.check()
    assert check.passed, str(check)
    assert check.chi == check.slope_at_zero == math.inf
    assert "no second moment" in check.gradient
    magnitude = pair.exact.magnitude
    y = np.array([1e-12, 1e-6, 1e-3, 9.5, 12.0])  # past both ends of the table
    # the table starts at y = .0026, and the power law it goes on by is right to a share of y²
    np.testing.assert_allclose(magnitude.cdf(y), stats.chi.cdf(y, 3), rtol=1e-5)
    np.testing.assert_allclose(magnitude.pdf(y[:3]), stats.chi.pdf(y[:3], 3), rtol=1e-5)
    # the survival is continued by the power of y that −log P has at the end, so its logarithm is right to a hundredth
    np.testing.assert_allclose(magnitude.log_sf(y), stats.chi.logsf(y, 3), rtol=0.01, atol=1e-7)
    np.testing.assert_allclose(np.log(magnitude.pdf(y[3:])), stats.chi.logpdf(y[3:], 3), rtol=0.02)
    for p in (1e-20, 0.3, 0.999):
        at = magnitude.quantile(np.array([p]), np.array([math.log1p(-p)]))
        assert float(magnitude.cdf(at)[0]) == pytest.approx(p, rel=1e-8)


@pytest.mark.parametrize(
    ("law", "finite"), [("chi(1.5)", True), ("chi(3)", True), ("uniform", False), ("normal", False)]
)
def test_growth_is_infinite_exactly_where_the_slope_has_no_second_moment(law, finite):
    assert math.isfinite(pairs.partner(weights.get(law)).check().chi) == finite


def test_inversion_of_a_law_without_closed_form():
    law = weights.GeneralisedGamma(2.0, 3.0)
    pair = pairs.partner(law)
    assert law_distance(law, pair.exact.magnitude) < 1e-7


def test_weights_that_an_activation_needs():
    law = pairs.weights_for(lambda x: math.sqrt(3) * torch.erf(x / math.sqrt(2)))
    y = np.array([0.3, 1.0, 2.0, 3.0])  # Maxwell: |W| = χ₃/√3
    np.testing.assert_allclose(law.cdf(y), stats.chi.cdf(y * math.sqrt(3), 3), rtol=1e-7)


@pytest.mark.parametrize(
    ("law", "reason"),
    [
        (weights.Discrete((0.0, 1.0), (0.1, 0.9)), "atom at 0"),
        (weights.Student(6.0), "kurtosis"),
        (weights.Student(3.0), "finite"),
        (weights.generalised_normal(1.0), "kurtosis"),
        (weights.weibull(1.9), "characteristic function|convex|kurtosis"),
        (weights.Discrete((0.5, 1.5), (0.4, 0.6)), "zeros"),
        (weights.Discrete((0.9, 1.0), (0.6, 0.4)), r"3\.848 ± 29\.82i.*largest magnitude more"),
        (weights.Discrete((0.5, 1.0), (0.34, 0.66)), r"-0\.9569 ± 4\.532i"),
        (weights.Discrete((0.5, 1.0), (0.34, 0.66)).scaled(3.0), r"-0\.9569 ± 4\.532i"),
        (weights.Discrete((1.0, 2.0, 3.0, 4.0), (0.25, 0.25, 0.25, 0.25)), "zeros"),
        (weights.Orthogonal(), "independent"),
    ],
)
def test_no_partner_says_why(law, reason):
    with pytest.raises(pairs.NoPartnerError, match=reason):
        pairs.partner(law)


def test_a_discrete_law_has_a_partner_where_its_largest_magnitude_leads():
    law = weights.Discrete((1.0, 2.0, 3.0), (0.1, 0.2, 0.7))  # .1/1 + .2/2 < .7/3
    assert law_distance(law, pairs.partner(law).exact.magnitude) < 1e-7


def test_why_not():
    assert "atom at 0" in pairs.why_not("relu")[0]
    assert "kurtosis" in pairs.why_not(torch.nn.functional.gelu)[0]
    assert "density" in pairs.why_not("hardtanh")[0]
    with pytest.raises(DomainError, match="gellu"):
        pairs.why_not("gellu")


def test_the_cosine_is_given_no_reason():
    # its weights exist, as near Rayleigh's as cos(X) is near an arcsine law
    assert pairs.why_not("cos") == []


@pytest.mark.parametrize("phi", ["cos", "softsign", pytest.param("tanh", marks=pytest.mark.slow)])
def test_the_weights_of_an_activation_give_a_gaussian(phi):
    law = pairs.weights_for(phi)
    f = firstlight.activations.get(phi)
    # P(|W φ(X)| ≤ z) by a midpoint rule over quantiles of X that knows nothing of zeros or panels
    x = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    size = np.abs(f(torch.from_numpy(x)).numpy())
    for z in (0.1, 0.5, 1.0, 2.0, 3.0):
        # the cdf has a bounded slope in the quantile but at the zeros of φ: the rule is right to about 1/200 000
        assert float(law.cdf(z / size).mean()) == pytest.approx(math.erf(z / math.sqrt(2)), abs=2e-5)


@pytest.mark.parametrize(
    "phi", [torch.cos, torch.tanh, torch.nn.functional.softsign], ids=["cos", "tanh", "softsign"]
)
@pytest.mark.parametrize("s", [-0.5, pytest.param(0.5 + 20j, marks=pytest.mark.slow)])
def test_moments_of_an_activation_by_a_second_way(phi, s):
    log_moments = read(phi).log_moments()
    zero = math.pi / 2 if phi is torch.cos else 0.0

    def integrand(u, part):
        # x = zero ± e^u: every power of the distance from the zero that counts most becomes an exponential
        total = 0.0
        for x in (zero + math.exp(u), zero - math.exp(u)):
            size = abs(float(phi(torch.tensor(x, dtype=torch.float64))))
            total += size**s * stats.norm.pdf(x) * math.exp(u) if size > 0 else 0.0
        return getattr(total, part) if isinstance(total, complex) else total * (part == "real")

    cuts = [-60.0, -20.0, *np.linspace(-19, -1, 37), *np.log(np.arange(1, 40) * math.pi / 8), math.log(14)]
    cuts = sorted({*cuts, *(math.log(k * math.pi) for k in range(1, 5))})
    want = complex(
        *(
            sum(
                integrate.quad(integrand, a, b, args=(part,), limit=200)[0]
                for a, b in itertools.pairwise(cuts)
            )
            for part in ("real", "imag")
        )
    )
    got = complex(np.exp(log_moments(np.array([s])))[0])
    assert got == pytest.approx(want, rel=1e-6, abs=1e-8)


def test_the_identity_asks_for_rademacher_weights():
    # an atom at one size, which an inversion would take for rounding noise
    assert pairs.why_not(torch.nn.Identity()) == []
    sizes = pairs.weights_for(lambda x: -2 * x)
    assert sizes.quantile(np.array([0.1, 0.9]), np.log([0.9, 0.1])) == pytest.approx([0.5, 0.5], rel=1e-9)


@pytest.mark.parametrize(
    ("phi", "reason"),
    [
        (lambda x: x.sum(), "entry by entry"),
        (torch.nn.Softmax(dim=0), "other entries"),
        (lambda x: (x - x.mean()) / x.std(), "other entries"),
        (torch.nn.Dropout(0.5), "chance"),
        (torch.nn.GLU(), "entry by entry"),
        (lambda x: x.float() @ x, "float64"),
        (torch.log, "finite"),
    ],
    ids=["sum", "softmax", "norm", "dropout", "glu", "dtype", "log"],
)
def test_what_is_no_function_of_one_number_is_refused(phi, reason):
    for verb in (pairs.why_not, pairs.weights_for, pairs.match_kurtosis):
        with pytest.raises(DomainError, match=f"one variable.*{reason}"):
            verb(phi)


@pytest.mark.parametrize(
    "law", [pytest.param("power_uniform(2)", marks=pytest.mark.slow), "chi(3)", "weibull(4)"]
)
def test_the_module_of_a_partner_carries_what_theory_needs(law):
    pair = pairs.partner(law)
    phi = firstlight.activations.get(pair.activation)
    assert (phi.parity, phi.kinks, phi.jumps) == ("odd", (), ())
    x = torch.tensor([0.3, -2.0], dtype=torch.float64)
    np.testing.assert_array_equal(phi.derivative(x).numpy(), pair.exact.derivative(x.numpy()))
    profile = firstlight.predict(
        firstlight.RandomNetwork(depth=3, width=50, activation=pair.activation, weight_law=law)
    )
    np.testing.assert_allclose(profile["q"], 1, rtol=1e-9)
    assert profile.meta["chi_star"] == pytest.approx(pair.check().chi, rel=1e-9)


@pytest.mark.slow
def test_theory_takes_the_partner_of_uniform_weights_whose_growth_is_infinite():
    net = firstlight.RandomNetwork(depth=3, width=50, activation="partner(uniform)", weight_law="uniform")
    profile = firstlight.predict(net)
    np.testing.assert_allclose(profile["q"], 1, rtol=1e-9)
    assert np.all(profile["chi"] == math.inf)
    assert profile.meta["q_star"] == pytest.approx(1, abs=1e-8)


def test_an_activation_with_too_many_zeros_for_its_powers_is_refused():
    with pytest.raises(DomainError, match="64 zeros"):
        pairs.weights_for(lambda x: torch.sin(x**3))


def test_what_a_partner_says_of_its_zero():
    of = firstlight.activations.get
    assert of(pairs.partner("uniform").activation).kinks == (0.0,)  # an infinite slope
    assert of(pairs.partner("2 * normal").activation).jumps == (0.0,)  # the sign
    split = of(pairs.partner("chi(3)", split=0.25).activation)
    assert split.parity is None
    assert split.kinks == pytest.approx((special.ndtri(0.25),))


def test_a_law_by_its_name():
    assert pairs.partner("chi(3)").exact(X)[3] == pytest.approx(math.sqrt(3) * math.erf(2**-0.5), rel=1e-9)
    with pytest.raises(DomainError, match="weight law"):
        pairs.partner("nonsense")


@pytest.mark.parametrize(
    ("phi", "coefficient"),
    [(torch.tanh, 0.0784), (torch.special.erf, 0.0700), (torch.sin, 0.0806)],
)
def test_kurtosis_matching(phi, coefficient):
    match = pairs.match_kurtosis(phi)
    # He₄ coefficient × n with normal weights is (3ρ₄ − 3)/24
    assert (3 * match.rho - 3) / 24 == pytest.approx(coefficient, abs=6e-5)
    assert match.law.excess_kurtosis + 3 == pytest.approx(match.target, rel=1e-9)
    assert match.law.variance == pytest.approx(1, rel=1e-12)


def test_the_identity_is_matched_by_rademacher_weights():
    for phi in ("linear", torch.nn.Identity(), lambda x: -3 * x):
        match = pairs.match_kurtosis(phi)
        assert match.law == weights.Rademacher()
        assert match.target == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", [torch.asinh, "tanh", "erf", "sin", "hardtanh", "linear"])
def test_matched_weights_remove_the_correction_at_any_ratio(name):
    match = pairs.match_kurtosis(name)
    phi = firstlight.activations.get(name)
    m = firstlight.activations
    rho = float(m.fourth(phi, 1.0)) / float(m.second(phi, 1.0)) ** 2  # by the other room's quadrature
    assert (match.law.excess_kurtosis + 3) * rho == pytest.approx(3, rel=1e-9)
    assert match.law.variance == pytest.approx(1, rel=1e-12)


def test_an_activation_that_is_zero_is_refused():
    with pytest.raises(DomainError, match="E φ² > 0"):
        pairs.match_kurtosis(lambda x: 0 * x)


def test_relu_cannot_be_matched():
    with pytest.raises(DomainError, match="ρ₄"):
        pairs.match_kurtosis(torch.relu)


def test_tanh_with_uniform_weights_loses_96_percent():
    assert pairs.match_kurtosis(torch.tanh).remaining == pytest.approx(0.04, abs=0.005)


@pytest.mark.parametrize("name", ["normal", "uniform"])
def test_the_correction_that_uniform_weights_remove_by_sampling(name):
    law, n = weights.get(name).standardised(), 5
    g = torch.Generator().manual_seed(8)
    batches = []
    for _ in range(40):
        w = law.sample((50_000, n), generator=g, dtype=torch.float64)
        z = (w * torch.tanh(torch.randn(50_000, n, generator=g, dtype=torch.float64))).sum(1)
        batches.append(float((z**4).mean() / (z**2).mean() ** 2 - 3))
    got, error = np.mean(batches), np.std(batches, ddof=1) / math.sqrt(len(batches))
    expected = ((law.excess_kurtosis + 3) * pairs.match_kurtosis(torch.tanh).rho - 3) / n
    assert abs(got - expected) < 5 * error
    assert (got > 5 * error) == (name == "normal")  # with uniform weights nothing is left to see
