"""Every law passes through the same tests: its own cdf, density, moments and samples must agree."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from firstlight import weights
from firstlight.errors import DomainError
from firstlight.testing import LawTester

SMOOTH = {
    "weibull 2.05": weights.weibull(2.05),
    "weibull 3": weights.weibull(3.0),
    "weibull 10": weights.weibull(10.0),
    "weibull 1": weights.weibull(1.0),
    "normal": weights.Normal(),
    "uniform": weights.uniform(),
    "power": weights.PowerUniform(2.5),
    "arcsine": weights.arcsine(),
    "sphere 3": weights.sphere_marginal(3),
    "sphere 7": weights.sphere_marginal(7),
    "student 5": weights.Student(5.0),
    "generalised normal 1": weights.generalised_normal(1.0),
    "generalised normal 4": weights.generalised_normal(4.0),
    "symmetric gamma": weights.symmetric_gamma(2.5),
    "maxwell": weights.chi(3),
    "generalised gamma": weights.GeneralisedGamma(0.7, 3.0),
    "beta": weights.SquaredBeta(1.5, 2.0),
    "scaled": weights.weibull(4.0).standardised(),
}
ATOMS = {
    "rademacher": weights.Rademacher(),
    "four levels": weights.Discrete((0.5, 1.5), (0.75, 0.25)),
    "sparse": weights.Discrete((0.0, 1.0), (0.5, 0.5)),
}
ALL = SMOOTH | ATOMS
smooth = pytest.mark.parametrize("law", SMOOTH.values(), ids=SMOOTH.keys())
every = pytest.mark.parametrize("law", ALL.values(), ids=ALL.keys())


@smooth
def test_density_integrates_to_the_cdf(law):
    a, b = 0.21 * law.moment(1), 0.9 * law.moment(1)
    area, error = integrate.quad(lambda w: math.exp(float(law.log_prob(w))), a, b, epsabs=1e-12)
    assert area == pytest.approx(float(law.cdf(b) - law.cdf(a)), abs=1e-11 + error)


@smooth
@pytest.mark.parametrize("s", [-0.4, 0.7, 2.0, 4.0])
def test_moments_match_the_quantile(law, s):
    # E|W|^s = ∫₀¹ isf(v)^s dv, by a route that never sees the closed form; v = t³ tames the ends
    def integrand(t):
        v = torch.tensor([t**3 if t < 0.8 else 1 - (1 - t) ** 3 * 0.488 / 0.008], dtype=torch.float64)
        return float(law._isf(v)[0]) ** s

    lower, e1 = integrate.quad(lambda t: integrand(t) * 3 * t * t, 0, 0.8, epsabs=1e-12, limit=400)
    upper, e2 = integrate.quad(lambda t: integrand(t) * 183 * (1 - t) ** 2, 0.8, 1, epsabs=1e-12, limit=400)
    assert lower + upper == pytest.approx(law.moment(s), rel=1e-7, abs=10 * (e1 + e2))
    assert law.mellin(s).real == pytest.approx(law.moment(s), rel=1e-12)


@every
def test_a_law_holds_what_it_declares(law):
    """Its density, moments, transform, draws and spelling, by the tester that users have."""
    LawTester(law, samples=20_000).all()


@smooth
def test_complex_mellin_matches_the_quantile(law):
    v = torch.from_numpy((np.arange(400_000) + 0.5) / 400_000)
    direct = np.mean(np.exp((0.5 + 2j) * np.log(law._isf(v).numpy())))
    # midpoint rule with 4e5 nodes; the worst integrand is singular like v^{-1/10} or log v at the ends
    assert law.mellin(0.5 + 2j) == pytest.approx(direct, abs=2e-3 * law.moment(0.5))


@smooth
def test_icdf_inverts_cdf(law):
    tail = [1e-12, 1e-6] if law.support[1] == math.inf else []  # at an edge, w itself has too few digits
    p = torch.tensor([*tail, 0.01, 0.3, 0.5, 0.77, 0.999], dtype=torch.float64)
    torch.testing.assert_close(law.cdf(law.icdf(p)), p, rtol=2e-11, atol=1e-15)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_follow_the_law(law, dtype):
    g = torch.Generator().manual_seed(7)
    n = 100_000
    x = law.sample((n,), generator=g, dtype=dtype).double()
    for t in (0.3, 0.8, 1.2):
        p = float(law._sf(torch.tensor([t], dtype=torch.float64))[0])
        z = (float((x.abs() > t).double().mean()) - p) / math.sqrt(max(p * (1 - p), 1e-12) / n)
        assert abs(z) < 5, (t, z)
    assert abs(float(torch.sign(x).mean())) < 5 / math.sqrt(n)
    if law.has_density:
        assert stats.kstest(x.numpy(), lambda w: law.cdf(torch.from_numpy(w)).numpy()).pvalue > 1e-6


def test_float32_weibull_tail_has_no_ceiling():
    # a 24-bit uniform could not exceed (24 log 2)^{1/2}; 4e7 draws exceed it by chance about twice (P = 6e-8)
    law = weights.weibull(2.0)
    u = torch.tensor([2.0**-53, 2.0**-30], dtype=torch.float64)
    assert law._isf(u)[0] == pytest.approx(math.sqrt(53 * math.log(2)))
    g = torch.Generator().manual_seed(1)
    count = sum(int((law.sample((2_000_000,), generator=g).abs() > 3.5).sum()) for _ in range(5))
    mean = 1e7 * math.exp(-(3.5**2))
    assert abs(count - mean) < 5 * math.sqrt(mean)


def test_sample_larger_than_a_block_is_one_stream():
    g = torch.Generator().manual_seed(5)
    x = weights.weibull(3.0).sample((300, 300), generator=g)
    assert torch.unique(x).numel() > 89_000
    assert float(x.double().pow(2).mean()) == pytest.approx(math.gamma(1 + 2 / 3), rel=0.02)


def test_known_moments():
    assert weights.weibull(3.0).variance == pytest.approx(math.gamma(1 + 2 / 3), rel=1e-14)
    assert weights.uniform().excess_kurtosis == pytest.approx(-1.2, abs=1e-12)
    assert weights.Normal().excess_kurtosis == pytest.approx(0, abs=1e-12)
    assert weights.Student(5.0).variance == pytest.approx(5 / 3, rel=1e-12)
    assert weights.Student(3.0).moment(4) == math.inf
    assert math.isnan(weights.Student(1.5).excess_kurtosis)
    assert weights.Discrete((0.0, 1.0), (0.5, 0.5)).moment(-1) == math.inf


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_cdf_keeps_dtype_and_shape(dtype):
    x = torch.linspace(-2, 2, 6, dtype=dtype).reshape(2, 3)
    out = weights.Normal().cdf(x)
    assert out.dtype == dtype
    assert out.shape == x.shape


def test_discrete_log_prob_sums_to_one():
    law = weights.Discrete((0.0, 1.0, 3.0), (0.2, 0.5, 0.3))
    points = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0], dtype=torch.float64)
    assert float(law.log_prob(points).exp().sum()) == pytest.approx(1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: weights.SymmetricWeibull(0.0),
        lambda: weights.SymmetricWeibull(math.nan),
        lambda: weights.weibull(-1.0),
        lambda: weights.Student(math.inf),
        lambda: weights.SquaredBeta(0.5, 0.0),
        lambda: weights.Discrete((1.0, 0.5), (0.5, 0.5)),
        lambda: weights.Discrete((1.0, 2.0), (0.5, 0.6)),
        lambda: weights.Normal().scaled(0.0),
        lambda: weights.Student(2.0).standardised(),
        lambda: weights.Normal().sample((3,), fan_in=0),
        lambda: weights.Normal().icdf(1.5),
        lambda: weights.Normal().mellin(-1.5),
        lambda: weights.get("weibul(3)"),
        lambda: weights.get("weibull(3,4)"),
        lambda: weights.get("weibull(x)"),
    ],
)
def test_bad_input_is_a_clear_error(make):
    with pytest.raises(DomainError, match="while"):
        make()


def test_names():
    assert weights.get("rademacher") == weights.Rademacher()
    assert weights.get("sphere_marginal(4)").variance == pytest.approx(0.25)
    assert weights.get(weights.Normal()).name == "Normal()"


@settings(max_examples=40, deadline=None)
@given(theta=st.floats(0.3, 200), p=st.floats(1e-9, 1 - 1e-9))
def test_weibull_quantile_round_trip(theta, p):
    law = weights.weibull(theta)
    assert float(law.cdf(law.icdf(p))) == pytest.approx(p, rel=1e-9, abs=1e-15)


def test_the_cdf_of_a_law_with_atoms_counts_the_atom_on_both_sides():
    # P(W ≤ −1) of a fair sign is ½, and of four levels half the probability of the larger magnitudes and this one
    assert [float(weights.Rademacher().cdf(x)) for x in (-1.0, -0.5, 0.5, 1.0)] == [0.5, 0.5, 0.5, 1.0]
    law = weights.Discrete((1.0, 2.0), (0.25, 0.75))
    assert [float(law.cdf(x)) for x in (-2.0, -1.0, 1.0, 2.0)] == [0.375, 0.5, 0.625, 1.0]
