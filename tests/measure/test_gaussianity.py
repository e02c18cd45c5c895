import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from firstlight import measure
from firstlight.errors import DomainError
from firstlight.measure import ks_null


@pytest.mark.parametrize("size", [1, 2, 7, 1000, 40_000])
@pytest.mark.parametrize("law", ["normal", "uniform", "ties"])
def test_ks_distance_is_scipys(size, law):
    x = torch.randn(size, generator=torch.Generator().manual_seed(size))
    x = {"normal": x, "uniform": x.erf(), "ties": (x * 2).round() / 2}[law]
    # float32 cdf values
    expected = stats.kstest(x.double().numpy(), "norm").statistic
    assert measure.ks_to_normal(x) == pytest.approx(expected, abs=3e-7)


def test_ks_distance_at_the_ends():
    assert measure.ks_to_normal(torch.full((4,), math.inf)) == pytest.approx(1.0)
    assert measure.ks_to_normal(torch.full((4,), -math.inf)) == pytest.approx(1.0)
    assert math.isnan(measure.ks_to_normal(torch.tensor([0.0, math.nan])))
    assert math.isnan(measure.ks_to_normal(torch.empty(0)))


def test_the_basis_expands_the_indicator():
    """Σ_k (φ He_{k−1})(s) (φ He_{k−1})(t) c^k / k! = Φ₂(s, t; c) − Φ(s)Φ(t), by scipy's bivariate cdf."""
    s, t, c = 0.3, -1.1, 0.6
    basis = ks_null._hermite_basis(torch.tensor([s, t], dtype=torch.float64), 80)
    powers = c ** torch.arange(1, 81, dtype=torch.float64)
    series = (basis[0] * basis[1] * powers).sum().item()
    covariance = [[1, c], [c, 1]]
    joint = stats.multivariate_normal.cdf([s, t], [0, 0], covariance, abseps=1e-10, releps=1e-10)
    assert series == pytest.approx(joint - special.ndtr(s) * special.ndtr(t), abs=1e-8)


def test_the_null_process_has_the_covariance_of_theory():
    """Independent samples: a Brownian bridge without its second Hermite term, path by path in the draws."""
    reference = ks_null._reference()
    weights = torch.ones(len(ks_null.ORDERS) + len(ks_null.BANDS) + 2)
    paths = torch.from_numpy(reference.basis @ reference.normals[:-1])
    paths += torch.from_numpy(reference.paths.sum(0).reshape(ks_null.GRID, ks_null.DRAWS))
    assert len(weights) == len(ks_null.power_means(torch.eye(3), 100))
    levels = (torch.arange(ks_null.GRID) + 0.5) / ks_null.GRID
    t = torch.special.ndtri(levels.double())
    second = ks_null._hermite_basis(t, 2)[:, 1]
    bridge = torch.minimum(levels[:, None], levels) - levels[:, None] * levels
    expected = bridge.double() - second[:, None] * second
    got = (paths @ paths.T / ks_null.DRAWS).double()
    # a covariance of 1024 draws has standard error √((σ_s²σ_t² + σ_st²)/1024), at most √2·0.25/32; the draws
    # are stratified, which only lowers it
    variance = expected.diagonal()
    se = ((variance[:, None] * variance + expected**2) / ks_null.DRAWS).sqrt()
    assert ((got - expected).abs() / se).max() < 5


def test_one_sample_gives_the_textbook_line_with_a_known_mean():
    """B = 1, many units: a KS test with estimated scale; its line by a Monte Carlo that sorts."""
    generator = np.random.default_rng(0)
    units, draws = 400, 4000
    x = np.sort(generator.standard_normal((draws, units)), axis=1)
    x /= np.sqrt((x**2).mean(axis=1, keepdims=True))
    cdf = special.ndtr(x)
    steps = np.arange(units) / units
    distance = np.maximum(cdf - steps, steps + 1 / units - cdf).max(axis=1)
    g = measure.gaussianity(torch.randn(1, units), max_units=units)
    # the share above our line is binomial
    share = (distance > g.ks_critical).mean()
    assert abs(share - 0.05) < 0.01 + 5 * math.sqrt(0.05 * 0.95 / draws)


def test_power_means_are_means_of_powers():
    z = torch.randn(16, 8, dtype=torch.float64)
    rows = z / z.norm(dim=1, keepdim=True)
    c = rows @ rows.T
    got = ks_null.power_means(c, 10**9)
    for i, k in enumerate([*ks_null.ORDERS, 15, 35, 105, 420, 1680]):
        assert float(got[i]) == pytest.approx((c.clamp(-1, 1) ** k).mean().clamp_min(0).item(), abs=1e-6)


def _correlated(kind, c, samples):
    i = torch.arange(samples)
    if kind == "equal":
        return torch.full((samples, samples), c) + (1 - c) * torch.eye(samples)
    if kind == "clusters":
        sign = torch.where(i < samples // 2, 1.0, -1.0)
        return c * sign[:, None] * sign + (1 - c) * torch.eye(samples)
    return c ** (i[:, None] - i).abs().float()


@pytest.mark.parametrize(
    ("units", "samples", "kind", "c"),
    [
        (16, 4, "equal", 0.0),
        (64, 1, "equal", 0.0),
        (64, 64, "equal", 0.0),
        (64, 16, "equal", 0.99),
        (128, 16, "equal", 0.5),
        (128, 32, "clusters", 0.8),
        (256, 16, "decaying", 0.9),
    ],
)
def test_false_alarm_rate(units, samples, kind, c):
    """The share of Gaussian layers above the 5 % line, each row with a scale of its own."""
    generator = torch.Generator().manual_seed(11)
    values, vectors = torch.linalg.eigh(_correlated(kind, c, samples))
    root = vectors * values.clamp_min(0).sqrt()
    scale = torch.linspace(0.1, 10, samples)[:, None]
    repeats = 200
    layers = scale * (root @ torch.randn(repeats, samples, units, generator=generator))
    alarms = sum(not measure.gaussianity(z).gaussian for z in layers)
    # .05 ± .02 is what the line promises; 4 binomial standard errors on top
    assert abs(alarms / repeats - 0.05) < 0.02 + 4 * math.sqrt(0.05 * 0.95 / repeats)


@pytest.mark.parametrize("law", ["student", "uniform", "relu"])
def test_other_laws_are_found_out(law):
    generator = torch.Generator().manual_seed(5)
    z = torch.randn(32, 256, generator=generator)
    student = z / torch.randn(4, 32, 256, generator=generator).square().mean(0).sqrt()
    g = measure.gaussianity({"student": student, "uniform": torch.erf(z), "relu": z.relu()}[law])
    assert g.p_value < 0.01
    assert g.ks_standardised > 1.5 * g.ks_critical


def test_dependent_samples_do_not_add_information():
    z = torch.randn(1, 256, generator=torch.Generator().manual_seed(6))
    alone, copied = measure.gaussianity(z), measure.gaussianity(z.expand(40, 256) * 3)
    assert copied.ks_standardised == pytest.approx(alone.ks_standardised, abs=1e-6)
    assert copied.ks_critical == pytest.approx(alone.ks_critical, rel=1e-4)
    assert (alone.n_eff, copied.n_eff) == (pytest.approx(256, rel=1e-3), pytest.approx(256, rel=1e-3))


def test_effective_number_of_independent_samples():
    """Var of the pooled cdf at 0 over redraws of the weights is 1/(4 n_eff)."""
    generator = torch.Generator().manual_seed(9)
    samples, units, repeats = 8, 64, 4000
    c = _correlated("decaying", 0.7, samples)
    z = torch.linalg.cholesky(c) @ torch.randn(repeats, samples, units, generator=generator)
    variance = (z <= 0).float().mean(dim=(1, 2)).var().item()
    n_eff = units * 0.5 * math.pi / torch.asin(c).mean().item()
    # a variance of 4000 near-Gaussian values has relative standard error √(2/4000)
    assert abs(variance * 4 * n_eff - 1) < 5 * math.sqrt(2 / repeats)
    big = torch.linalg.cholesky(c) @ torch.randn(samples, 20_000, generator=generator)
    # cosines of 20 000 units have standard error 1/141 at most
    assert measure.gaussianity(big, max_units=20_000).n_eff * 64 / 20_000 == pytest.approx(n_eff, rel=0.05)


def test_rows_that_cannot_be_standardised_are_left_out():
    z = torch.randn(6, 100, generator=torch.Generator().manual_seed(1))
    z[0], z[1] = 0.0, math.nan
    g = measure.gaussianity(z)
    assert g.samples == 4
    assert g.ks_standardised == measure.gaussianity(z[2:]).ks_standardised
    z[:, 7] = math.inf
    assert measure.gaussianity(z[2:]).units == 99
    zero = measure.gaussianity(torch.zeros(3, 5))
    assert zero.ks == pytest.approx(0.5)
    assert math.isnan(zero.ks_standardised)
    assert not zero.gaussian


def test_scale_moves_the_raw_distance_only():
    z = torch.randn(8, 200, generator=torch.Generator().manual_seed(2))
    one, huge = measure.gaussianity(z), measure.gaussianity(z * 1e30)
    assert huge.ks == pytest.approx(0.5, abs=0.05)
    assert huge.ks_standardised == pytest.approx(one.ks_standardised, abs=1e-6)


def test_bad_arguments():
    with pytest.raises(DomainError, match="level"):
        measure.gaussianity(torch.randn(3, 4), level=0.9)
    with pytest.raises((DomainError, TypeError)):
        measure.gaussianity(torch.randn(3))


def test_stacks_of_unequal_width_have_the_numbers_of_their_layers_alone():
    generator = torch.Generator().manual_seed(3)
    layers = [torch.randn(2, 20, units, generator=generator) for units in (1, 7, 40)]
    together = measure.gaussianities(*map(measure.stack_layers, layers))
    assert together == [measure.gaussianity(rows) for stack in layers for rows in stack]
    with pytest.raises(DomainError, match="equally many samples"):
        measure.gaussianities(*(measure.stack_layers(torch.ones(1, n, 4)) for n in (2, 3)))
