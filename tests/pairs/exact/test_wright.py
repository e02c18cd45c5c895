"""The exact law of |Y| against mpmath, against its own transforms, and against the closed forms at its ends."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special

from firstlight.errors import DomainError
from firstlight.pairs.exact.wright import WrightMagnitude, weibull_partner

ROWS = json.loads((Path(__file__).parents[2] / "reference" / "wright.json").read_text())
THETAS = sorted({row["theta"] for row in ROWS})


@pytest.mark.parametrize("theta", THETAS)
def test_against_mpmath(theta):
    law = weibull_partner(theta)
    rows = [row for row in ROWS if row["theta"] == theta]
    assert len(rows) >= 8
    e = 1 - 2 / theta
    for row in rows:
        y = np.array(row["y"])
        sf, pdf, cdf = float(row["sf"]), float(row["pdf"]), float(row["cdf"])
        # the survival is exp(−A y^{2/e}): rounding y by one part in 2^53 moves it by this much, whatever we do
        conditioning = 2 * abs(math.log(max(sf, 1e-307))) / e * 2.3e-16
        body = y <= math.sqrt(2)
        assert float(law.pdf(y)) == pytest.approx(
            pdf, rel=1e-12 if body else 1e-12 + 3 * conditioning / e**0.5
        )
        assert float(law.cdf(y)) == pytest.approx(cdf, rel=1e-12)
        assert float(np.exp(law.log_sf(y))) == pytest.approx(sf, rel=1e-12 + 3 * conditioning / e**0.5)
        if theta >= 2.05:
            assert float(law.pdf(y)) == pytest.approx(pdf, rel=1e-12 if body else 1e-10)
            assert float(np.exp(law.log_sf(y))) == pytest.approx(sf, rel=1e-12 if body else 1e-10)


@pytest.mark.parametrize("theta", [2.0001, 2.005, 2.02, 2.05, 2.1, 3.0, 5.0, 5.5, 30.0, 1000.0, 1e6])
def test_both_forms_meet(theta):
    law = WrightMagnitude(theta)
    below, above = np.array([math.sqrt(2)]), np.array([0.0])
    log_sf, slope, bend = law._kanter.tail(above)
    assert float(law._body.cdf(below)[0]) == pytest.approx(-math.expm1(log_sf[0]), rel=2e-12)
    # at the point √2 itself the nearly arcsine density varies by 1/(θ − 2) per unit of y
    pdf = math.exp(log_sf[0]) * slope[0] / law._e / math.sqrt(2)
    assert float(law._body.pdf(below)[0]) == pytest.approx(pdf, rel=5e-12 + 1e-15 / (theta - 2))
    score = (bend[0] / law._e - 1) / math.sqrt(2)
    ours = float(law._body.slope(below)[0] / law._body.pdf(below)[0])
    assert ours == pytest.approx(score, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("theta", [2.0, 2.0001, 2.05, 3.0, 10.0, 1e6, math.inf])
def test_quantile_inverts_the_cdf_at_both_ends(theta):
    law = weibull_partner(theta)
    x = np.concatenate([np.geomspace(1e-12, 0.1, 30), np.linspace(0.11, 8, 60), np.linspace(8.1, 37, 20)])
    p, log_sf = special.erf(x / math.sqrt(2)), special.log_ndtr(-x) + math.log(2)
    y = law.quantile(p, log_sf)
    assert np.all(np.diff(y[x < 5]) > 0)  # beyond, φ for θ near 2 is flat to the last bit
    assert np.all(np.diff(y) >= 0)
    low = x < 0.6
    np.testing.assert_allclose(law.cdf(y[low]), p[low], rtol=1e-13)
    if theta >= 2.05:  # closer to 2, y itself has too few digits to give the tail back
        np.testing.assert_allclose(law.log_sf(y[~low]), log_sf[~low], rtol=1e-12)


@pytest.mark.parametrize("theta", [2.05, 3.0, 10.0, 1000.0])
@pytest.mark.parametrize("s", [-0.5, 1.0, 2.0, 3.7])
def test_moments_divide(theta, s):
    law = weibull_partner(theta)
    mean, error = integrate.quad(
        lambda t: t ** (2 * s) * float(law.pdf(t * t)) * 2 * t, 0, 1.18, epsabs=1e-13
    )
    rest, more = integrate.quad(lambda y: y**s * float(law.pdf(y)), 1.18**2, 60, epsabs=1e-13, limit=200)
    gauss = 2 ** (s / 2) * special.gamma((1 + s) / 2) / math.sqrt(math.pi)
    assert mean + rest == pytest.approx(gauss / special.gamma(1 + s / theta), rel=1e-9, abs=error + more)


def test_ends_are_the_closed_forms():
    y = np.linspace(0.01, 1.35, 20)
    arcsine, half_normal = weibull_partner(2.0), weibull_partner(math.inf)
    np.testing.assert_allclose(arcsine.pdf(y), 2 / math.pi / np.sqrt(2 - y * y), rtol=1e-13)
    np.testing.assert_allclose(weibull_partner(2 + 1e-6).pdf(y), arcsine.pdf(y), rtol=1e-4)
    np.testing.assert_allclose(weibull_partner(1e9).pdf(y), half_normal.pdf(y), rtol=1e-8)


@pytest.mark.parametrize("theta", [2.05, 3.0, 25.0])
def test_exact_sampler_by_a_product_of_beta_and_mittag_leffler(theta):
    # |Y|² = 2 · Beta(½, ½) · M, M = (E/A(U))^{1−2/θ} by Kanter: a route that never sees our functions
    g = np.random.default_rng(3)
    n, a = 100_000, 2 / theta
    u, e, b = g.uniform(0, math.pi, n), g.exponential(size=n), g.beta(0.5, 0.5, n)
    kanter = (np.sin(a * u) / np.sin(u)) ** (1 / (1 - a)) * np.sin((1 - a) * u) / np.sin(a * u)
    y = np.sqrt(2 * b * (e / kanter) ** (1 - a))
    law = weibull_partner(theta)
    for at in (0.2, 0.7, 1.3, 1.6):
        p = float(law.cdf(np.array(at)))
        assert abs(np.mean(y <= at) - p) < 5 * math.sqrt(max(p * (1 - p), 1 / n) / n)


@pytest.mark.parametrize("theta", [1.9, 0.0, -3.0, math.nan, 2 + 1e-9, 1e12])
def test_theta_outside_the_domain(theta):
    with pytest.raises(DomainError, match="theta"):
        weibull_partner(theta)


@settings(max_examples=25, deadline=None)
@given(theta=st.floats(2.001, 500), x=st.floats(1e-3, 30))
def test_quantile_for_any_theta(theta, x):
    law = WrightMagnitude(theta)
    p, log_sf = np.array([math.erf(x / math.sqrt(2))]), np.array([special.log_ndtr(-x) + math.log(2)])
    y = law.quantile(p, log_sf)
    if y[0] < 1.41:
        assert float(law.cdf(y)[0]) == pytest.approx(p[0], rel=1e-12)
    else:
        assert float(law.log_sf(y)[0]) == pytest.approx(log_sf[0], rel=1e-12 / (1 - 2 / theta) ** 2)
