"""Laws given by a quantile function or a Mellin transform: they must be the closed laws they were taken from."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from firstlight import pairs, weights
from firstlight.errors import DomainError

INF = math.inf


def weibull_icdf(p):
    upper = (-torch.log(2 * (1 - p).clamp(max=0.5))) ** (1 / 3)
    return torch.where(p < 0.5, -((-torch.log(2 * p.clamp(max=0.5))) ** (1 / 3)), upper)


ICDFS = {
    "normal": (torch.special.ndtri, weights.Normal()),
    "uniform": (lambda p: 2 * p - 1, weights.uniform()),
    "weibull": (weibull_icdf, weights.weibull(3.0)),
    "student, of scipy": (stats.t(5).ppf, weights.Student(5.0)),
}
TRANSFORMS = {
    "normal": (weights.Normal(), INF),
    "weibull": (weights.weibull(3.0), INF),
    "weibull of scale 50": (weights.weibull(3.0).scaled(50.0), INF),
    "student": (weights.Student(5.0), INF),
    "uniform": (weights.uniform(), 1.0),
    "uniform of scale 3": (weights.uniform().scaled(3.0), 3.0),
    "sphere": (weights.sphere_marginal(7), 1.0),
    "beta": (weights.SquaredBeta(1.5, 2.0), 1.0),
}
by_icdf = pytest.mark.parametrize(("icdf", "closed"), ICDFS.values(), ids=ICDFS)
by_mellin = pytest.mark.parametrize(("closed", "edge"), TRANSFORMS.values(), ids=TRANSFORMS)


def points(law):
    return law.moment(1) * torch.tensor([-1.3, -0.05, 0.3, 0.9, 1.0, 1.7], dtype=torch.float64)


def test_numpy_functions_give_laws_without_a_warning():
    for icdf in (special.ndtri, lambda p: np.where(p < 0.5, np.log(2 * p), -np.log(2 - 2 * p))):
        law = weights.from_icdf(icdf)
        closed = stats.norm if icdf is special.ndtri else stats.laplace
        assert law.moment(4) == pytest.approx(closed.moment(4), rel=1e-9)
        at = torch.tensor([-1.3, 0.4], dtype=torch.float64)
        np.testing.assert_allclose(law.log_prob(at), closed.logpdf(at.numpy()), atol=1e-7)
        torch.testing.assert_close(law.cdf(law.icdf(law.cdf(at))), law.cdf(at))


@by_icdf
def test_an_icdf_gives_the_whole_law(icdf, closed):
    law = weights.from_icdf(icdf)
    assert law.strip == pytest.approx(closed.strip, rel=1e-6)
    assert law.support == closed.support
    for order in (0.5, 1, 2, 4):
        assert law.moment(order) == pytest.approx(closed.moment(order), rel=1e-12)
    # the smallest magnitudes have no more digits than ½ − p: e^{-16·(1+s)} of them is extrapolated
    assert law.moment(-0.5) == pytest.approx(closed.moment(-0.5), rel=1e-9)
    s = 0.5 + 1j * np.array([-7.0, 0.3, 5.0, 40.0])
    np.testing.assert_allclose(law.mellin(s), closed.mellin(s), rtol=0, atol=1e-14)
    t = points(closed)
    torch.testing.assert_close(law.cdf(t), closed.cdf(t), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(law.log_prob(t), closed.log_prob(t), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["normal", "weibull", "student, of scipy"])
def test_an_icdf_keeps_its_tail(name):
    icdf, closed = ICDFS[name]
    law = weights.from_icdf(icdf)
    v = torch.tensor([2.0**-53, 1e-12, 1e-6], dtype=torch.float64)
    t = closed._isf(v)
    torch.testing.assert_close(law._isf(v), t, rtol=1e-12, atol=0)
    torch.testing.assert_close(law._sf(t), v, rtol=1e-11, atol=0)


@pytest.mark.parametrize(
    "law",
    [weights.from_icdf(weibull_icdf), weights.from_mellin(weights.weibull(3.0).log_mellin, strip=(-3, INF))],
    ids=["icdf", "mellin"],
)
def test_samples_are_those_of_the_closed_law(law):
    closed = weights.weibull(3.0)
    mine = law.sample((1000,), generator=torch.Generator().manual_seed(1), fan_in=4)
    theirs = closed.sample((1000,), generator=torch.Generator().manual_seed(1), fan_in=4)
    assert mine.dtype == torch.float32
    torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)


@by_mellin
def test_a_mellin_transform_gives_the_whole_law(closed, edge):
    law = weights.from_mellin(closed.log_mellin, strip=closed.strip, edge=edge)
    t = points(closed)
    torch.testing.assert_close(law.cdf(t), closed.cdf(t), rtol=0, atol=2e-9)
    torch.testing.assert_close(law.log_prob(t), closed.log_prob(t), rtol=0, atol=1e-6)
    v = torch.tensor([1e-9, 1e-3, 0.3, 0.6, 0.999], dtype=torch.float64)
    torch.testing.assert_close(law._isf(v), closed._isf(v), rtol=2e-9, atol=0)
    deepest = torch.tensor([2.0**-54], dtype=torch.float64)  # the rarest weight that is drawn
    torch.testing.assert_close(law._isf(deepest), closed._isf(deepest), rtol=1e-5, atol=0)
    assert law.variance == pytest.approx(closed.variance, rel=1e-12)
    assert law.excess_kurtosis == pytest.approx(closed.excess_kurtosis, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize(
    ("law", "closed"),
    [
        (weights.from_icdf(weibull_icdf), weights.weibull(3.0)),
        (weights.from_icdf(lambda p: 2 * p - 1), weights.uniform()),
        (weights.from_icdf(torch.special.ndtri), weights.Normal()),
        (weights.from_mellin(weights.weibull(3.0).log_mellin, strip=(-3, INF)), weights.weibull(3.0)),
    ],
    ids=["weibull", "uniform", "normal", "weibull by transform"],
)
def test_they_have_the_partner_of_the_closed_law(law, closed):
    x = np.linspace(-3.9, 4, 40)
    pair = pairs.partner(law)
    # E|G|^{it}/E|W|^{it} has 1e-16/|E|W|^{it}| of noise: 1e-8 for Weibull weights
    np.testing.assert_allclose(pair.exact(x), pairs.partner(closed).exact(x), atol=1e-7)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), pair.activation, torch.nn.Linear(4, 2000))
    pair.initialise_(model, generator=torch.Generator().manual_seed(0))
    z = float((model[2].weight.detach().double().square().mean() * 4 - closed.variance) / (8000**-0.5))
    spread = math.sqrt(closed.moment(4) - closed.variance**2)
    assert abs(z) < 5 * spread


def nan_below_a_tenth(p):
    return torch.where(p < 0.1, math.nan, p - 0.5)


def heavy(p):  # P(|W| > t) = (1 + t)^{-3/2}
    return torch.where(p < 0.5, 1 - (2 * p) ** (-2 / 3), (2 - 2 * p) ** (-2 / 3) - 1)


def torn(p):
    return torch.where((p > 1e-6) & (p < 2e-6), math.nan, torch.special.ndtri(p))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: weights.from_icdf(lambda p: 1 - 2 * p), "strictly increasing"),
        (lambda: weights.from_icdf(lambda p: torch.sign(p - 0.5)), "Discrete"),
        (lambda: weights.from_icdf(lambda p: p), "strictly|symmetric"),
        (lambda: weights.from_icdf(lambda p: torch.special.ndtri(p) + 0.1), "symmetric"),
        (lambda: weights.from_icdf(nan_below_a_tenth), "nan"),
        (lambda: weights.from_icdf(torch.distributions.Normal(0.0, 1.0).icdf), "keep their digits"),
        (lambda: weights.from_icdf(lambda p: p.sum()), "entry by entry"),
        (lambda: weights.from_icdf(stats.t(3).ppf).mellin(4), "moment is infinite"),
        (lambda: weights.from_icdf(heavy).standardised(), "finite variance"),
        (lambda: weights.from_icdf(torn).moment(2), "correct the icdf"),
        (lambda: weights.from_mellin(weights.Normal().log_mellin, strip=(0, 1)), "strip"),
        (lambda: weights.from_mellin(weights.Normal().log_mellin, strip=(-1, INF), edge=-1), "edge"),
        (lambda: weights.from_mellin(lambda s: 1 + 0 * s, strip=(-1, INF)), "divide the transform"),
        (lambda: weights.from_mellin(lambda s: -(s**2), strip=(-1, INF)), "convex"),
        (lambda: weights.from_mellin(weights.uniform().log_mellin, strip=(-1, INF)), "edge"),
        (lambda: weights.from_mellin(weights.arcsine().log_mellin, strip=(-1, INF), edge=1), "check the edge"),
    ],
)  # fmt: skip
def test_what_is_no_law_says_why(make, reason):
    with pytest.raises(DomainError, match=f"(?s)while.*({reason})"):
        make()


def test_moments_that_do_not_exist_are_infinite():
    assert weights.from_icdf(stats.t(3).ppf).moment(4) == INF
    assert weights.from_icdf(stats.t(3).ppf).variance == pytest.approx(3, rel=1e-9)
