"""Sums that merge: sketches, distances, moments, correlations, means, against exact second routes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.referee import spread

from firstlight import measure
from firstlight.ensemble import Plan, class_means, run
from firstlight.ensemble.runs._seeds import shard_seed
from firstlight.ensemble.sums._means import MeanSums, spectra
from firstlight.ensemble.sums._moments import PowerSums
from firstlight.ensemble.sums._state import LayerState, merge_states
from firstlight.ensemble.sums.correlations import CorrelationSums
from firstlight.ensemble.sums.distance import ks_of_deviations, ks_of_values
from firstlight.ensemble.sums.sketch import RELATIVE_WIDTH, Sketch
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork

floats = st.floats(width=32, allow_nan=False)


@settings(deadline=None, max_examples=60)
@given(st.lists(floats, min_size=1, max_size=40), st.integers(0, 40))
def test_sketches_merge_and_hold_their_values(values: list[float], cut: int) -> None:
    x = torch.tensor(values, dtype=torch.float32)
    whole = Sketch.of(x)
    parts = Sketch.of(x[:cut]).merge(Sketch.of(x[cut:])) if cut < len(x) else whole.merge(Sketch.empty())
    assert (parts.keys == whole.keys).all()
    assert (parts.counts == whole.counts).all()
    low, high = whole.edges()
    ordered = np.sort(x.numpy().astype(np.float64))
    for bin_low, bin_high, n, before in zip(low, high, whole.counts, np.cumsum(whole.counts) - whole.counts):
        inside = ordered[before : before + n]
        assert ((inside >= bin_low) & (inside <= bin_high)).all()
    finite = np.isfinite(low) & np.isfinite(high) & (np.maximum(np.abs(low), np.abs(high)) > 1e-30)
    width = (high[finite] - low[finite]) / np.maximum(np.abs(low), np.abs(high))[finite]
    assert (width <= RELATIVE_WIDTH).all()
    again = Sketch.from_arrays(whole.to_arrays())
    assert (again.keys == whole.keys).all()
    assert (again.counts == whole.counts).all()


def test_both_ways_of_counting_agree() -> None:
    x = torch.randn(1 << 18, generator=torch.Generator().manual_seed(0)) * 3
    dense, sparse = Sketch.of(x), Sketch.empty().merge(*(Sketch.of(part) for part in x.split(1000)))
    assert (dense.keys == sparse.keys).all()
    assert (dense.counts == sparse.counts).all()
    assert dense.total == len(x)


def test_nan_and_infinities_are_counted_apart() -> None:
    sketch = Sketch.of(torch.tensor([math.nan, math.inf, -math.inf, 1.0, -0.0, 0.0]))
    assert (sketch.invalid, sketch.total) == (1, 5)
    assert sketch.quantile(0.1) == -math.inf
    assert sketch.quantile(0.5) == 0.0
    assert math.isnan(Sketch.empty().quantile(0.5))


@pytest.mark.parametrize("exact", [True, False])
def test_error_of_the_standardised_distance_holds_that_of_its_scale(exact: bool) -> None:
    """Over repetitions: the spread of the distance against the mean of its standard errors.

    100 repetitions know a spread to 7 %. Counted units of one network count as fully dependent, so there the error
    may be too large, by √width at most.
    """
    net = RandomNetwork(depth=4, width=10, activation="relu", sigma_w=2**0.5)
    values, errors = [], []
    for seed in range(100):
        plan = Plan(net=net, nets=400, layers=(4,), seed=seed, shards=1, rao_blackwell=exact)
        p = run(plan, torch.ones(10)).profile
        values.append(float(p["ks_standardised"][0]))
        errors.append(float(p["ks_standardised_se"][0]))
    ratio = float(np.mean(errors)) / float(np.std(values, ddof=1))
    assert (0.75 < ratio < 1.33) if exact else (0.75 < ratio < 10**0.5 * 1.33), ratio


@pytest.mark.parametrize("scale", [0.5, 1.0, 1e-6, 1e8])
def test_ks_interval_holds_the_exact_distance(scale: float) -> None:
    x = torch.randn(20_000, generator=torch.Generator().manual_seed(1)) ** 3
    exact = measure.ks_to_normal(x)
    got = ks_of_values(Sketch.of(x * scale), scale=scale)
    assert abs(got.value - exact) <= got.error + 1e-6  # 1e-6: the exact one is computed in float32
    assert got.error < 2e-4


def mixture_ks(s: np.ndarray, scale: float) -> float:
    """Brute force on a fine grid."""
    from scipy.special import ndtr

    t = np.exp(np.linspace(math.log(scale * 1e-5), math.log(scale * 20), 60_000))
    f = sum(ndtr(t / v) if v > 0 else 1.0 for v in s) / len(s)
    return float(max(np.abs(f - ndtr(t / scale)).max(), 0.5 * (s == 0).mean()))


@pytest.mark.parametrize("case", ["close", "wide", "atom", "one"])
def test_ks_of_a_mixture_against_brute_force(case: str) -> None:
    g = np.random.default_rng(2)
    s = {
        "close": np.exp(0.1 * g.normal(size=300)),
        "wide": np.exp(3 * g.normal(size=300)),
        "atom": np.where(g.random(300) < 0.6, 0.0, np.exp(g.normal(size=300))),
        "one": np.full(300, 2.0),
    }[case]
    scale = 1.3
    got = ks_of_deviations(Sketch.of(torch.from_numpy(s)), scale=scale)
    # the bound of the bins, and what joining bins and a finite grid leave
    assert abs(got.value - mixture_ks(s, scale)) < got.error + 5e-6


def test_rao_blackwell_is_unbiased_and_its_error_honest() -> None:
    """KS at the place of the supremum: many small ensembles scatter as the standard error says."""
    g = torch.Generator().manual_seed(3)
    v = torch.rand(200, 400, generator=g) + 0.5
    results = [ks_of_deviations(Sketch.of(row.sqrt()), scale=1.5) for row in v]
    spread = np.std([r.value for r in results])
    told = np.mean([r.se for r in results])
    assert 0.8 < spread / told < 1.25


@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e25])
def test_moments_at_any_scale(scale: float) -> None:
    z = torch.randn(300, 7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 3 * scale
    parts = [PowerSums.of_values(z[:100]), PowerSums.of_values(z[100:101] * 1), PowerSums.of_values(z[101:])]
    row = parts[2].merge(parts[0]).merge(parts[1]).summary()
    x = z.numpy().ravel() / scale
    assert row["mean"] == pytest.approx(x.mean() * scale, rel=1e-9)
    assert row["q"] == pytest.approx((x**2).mean() * scale**2, rel=1e-12)
    assert row["kurtosis"] == pytest.approx((x**4).mean() / (x**2).mean() ** 2 - 3, rel=1e-12)
    assert row["moment_6"] == pytest.approx((x**6).mean() / (x**2).mean() ** 3, rel=1e-12)
    assert row["moment_8"] == pytest.approx((x**8).mean() / (x**2).mean() ** 4, rel=1e-12)


def _relu_variances(nets: int, width: int, depth: int, rng: np.random.Generator) -> torch.Tensor:
    """Variances of a unit of ReLU networks, whose tails are those of a product of χ² variables."""
    v = np.ones(nets)
    for _ in range(depth - 1):
        on = rng.binomial(width, 0.5, nets)
        v *= 2 * np.where(on > 0, rng.chisquare(np.maximum(on, 1)), 0) / width
    return torch.from_numpy(v)[:, None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("nets", "width", "depth"), [(416, 10, 20), (416, 10, 8), (992, 5, 6), (416, 40, 60), (992, 20, 5)]
)
def test_standard_errors_of_heavy_tailed_moments(nets: int, width: int, depth: int) -> None:
    """The linear estimate states .44–.85 of the spread here, because few networks carry the fourth moments."""
    rng = np.random.default_rng(nets + width + depth)
    rows = []
    for _ in range(120):
        shards = _relu_variances(nets, width, depth, rng).split(nets // 32)
        sums = PowerSums.of_variances(shards[0])
        for shard in shards[1:]:
            half = len(shard) // 2  # two chunks of one shard
            sums = sums.merge(PowerSums.of_variances(shard[:half]).add(PowerSums.of_variances(shard[half:])))
        assert sums.blocks is not None
        assert sums.blocks.shape == (32, 9)
        rows.append(sums.summary())
    for name in ("q", "kurtosis"):
        stated = math.sqrt(np.mean([r[f"{name}_se"] ** 2 for r in rows]))
        assert 0.7 < stated / np.std([r[name] for r in rows]) < 1.5, name


@pytest.mark.slow
def test_stated_errors_of_simulate_are_the_spread_over_seeds() -> None:
    """Sixteen networks, twelve seeds each, of 416 networks."""
    found = [spread.means(net, 12) for net in spread.ensembles()]
    for name in spread.MEANS:
        values = [row[name] for row in found if math.isfinite(row[name])]
        assert len(values) == 16
        # a spread of 12 seeds is known to 21 %, so one ratio of .7 to 1.5 shows as .4 to 2.5, and the mean of 16 to 5 %
        assert 0.7 < math.exp(np.mean(np.log(values))) < 1.5, (name, values)
        assert 0.4 < min(values) < max(values) < 2.5, (name, values)


@pytest.mark.parametrize("conditional", [False, True])
def test_the_jackknife_of_a_distance_is_its_spread(conditional: bool) -> None:
    """Units that share a scale in each network, heavy tails: the error of both distances over 60 repetitions."""
    g = torch.Generator().manual_seed(8)
    found = {own: ([], []) for own in (False, True)}
    for _ in range(60):
        states = []
        for _ in range(32):
            s = torch.exp(0.8 * torch.randn(13, 1, generator=g, dtype=torch.float64))
            z = s[:, :, None] * torch.randn(13, 6, 1, generator=g, dtype=torch.float64)
            sums = PowerSums.of_variances(s.square()) if conditional else PowerSums.of_values(z)
            states.append({1: LayerState(sums, Sketch.of(s if conditional else z), conditional, {})})
        row = merge_states(states)[1].row()
        for own, (values, errors) in found.items():
            name = "ks_standardised" if own else "ks"
            values.append(row[name])
            errors.append(row[f"{name}_se"])
    for values, errors in found.values():
        # a spread of 60 repetitions is known to 9 %
        assert 0.7 < spread.ratio(errors, values) < 1.5


def test_standard_errors_of_moments_against_repetition() -> None:
    """The delta method over networks, where units of one network share a scale, against 300 repetitions."""
    g = torch.Generator().manual_seed(4)
    rows = []
    for _ in range(300):
        share = 0.5 + torch.rand(250, 1, 1, generator=g)
        rows.append(PowerSums.of_values(share * torch.randn(250, 6, 2, generator=g)).summary())
    for name in ("q", "kurtosis"):
        ratio = np.std([r[name] for r in rows]) / np.mean([r[f"{name}_se"] for r in rows])
        # a standard deviation from 300 values is known to 4 %, and the delta method is only asymptotic
        assert 0.85 < ratio < 1.25, name


def test_moments_of_gaussian_mixtures_are_those_of_their_units() -> None:
    g = torch.Generator().manual_seed(5)
    v = 0.5 + torch.rand(4000, 2, generator=g)
    exact = PowerSums.of_variances(v).summary()
    drawn = PowerSums.of_values(v.sqrt()[:, None] * torch.randn(4000, 50, 2, generator=g)).summary()
    for name in ("q", "kurtosis", "moment_6", "moment_8"):
        z = (exact[name] - drawn[name]) / math.hypot(exact[f"{name}_se"], drawn[f"{name}_se"])
        assert abs(z) < 5


def test_correlations_by_hand() -> None:
    z = torch.randn(40, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z[0, :, 1] = 0.0
    a, b = CorrelationSums.of(z[:10], None), CorrelationSums.of(z[10:], None)
    sums = a.merge(b)
    flat = z.reshape(-1, 3).numpy()
    moments = flat.T @ flat
    np.testing.assert_allclose(
        sums.pooled(), moments / np.sqrt(np.outer(np.diag(moments), np.diag(moments))), rtol=1e-12
    )
    cosines = [np.divide(m.T @ m, np.outer(n := np.linalg.norm(m, axis=0), n), where=np.outer(n, n) > 0,
               out=np.full((3, 3), np.nan)) for m in z.numpy()]  # fmt: skip
    np.testing.assert_allclose(sums.per_network(), np.nanmean(cosines, axis=0), rtol=1e-12)
    assert sums.summary()["correlation_network_defined"] == pytest.approx(1 - 2 / 3 / 40)
    off = ~np.eye(3, dtype=bool)
    dead_as_zero = np.nan_to_num(cosines)[:, off].mean()
    assert sums.summary()["correlation_network_zero"] == pytest.approx(dead_as_zero, rel=1e-12)


def test_jackknife_against_repetition() -> None:
    g = torch.Generator().manual_seed(6)
    rows = []
    for _ in range(150):
        z = torch.randn(320, 5, 3, generator=g)
        z[..., 1] += 0.8 * z[..., 0]
        blocks = [CorrelationSums.of(part, None) for part in z.split(10)]
        whole = blocks[0]
        for block in blocks[1:]:
            whole = whole.merge(block)
        rows.append(whole.summary())
    for name in ("correlation", "correlation_network"):
        ratio = np.std([r[name] for r in rows]) / np.mean([r[f"{name}_se"] for r in rows])
        assert 0.8 < ratio < 1.25, name


def test_class_means_leave_self_pairs_out() -> None:
    labels = np.array([1, 0, 1, 0])
    m = np.arange(16.0).reshape(4, 4)
    got = class_means((m + m.T) / 2, labels)
    assert got[0, 0] == pytest.approx((7 + 13) / 2)
    assert (
        got[0, 1]
        == got[1, 0]
        == pytest.approx(np.mean([(1 + 4) / 2, (6 + 9) / 2, (3 + 12) / 2, (11 + 14) / 2]))
    )


def test_spectra_against_the_measures() -> None:
    z = torch.randn(5, 20, 6, generator=torch.Generator().manual_seed(0))
    z[4, :, 5] = z[4, :, 0]
    gap, rank = spectra(z)
    want = measure.isometry_gap(z.double())
    torch.testing.assert_close(gap[:4], want[:4], rtol=1e-6, atol=1e-9)
    assert gap[4] == math.inf
    flat = torch.eye(6)[None, :, :4]
    gap, rank = spectra(flat)
    assert float(gap[0]) == 0.0
    assert float(rank[0]) == pytest.approx(4.0)
    assert math.isnan(float(spectra(torch.zeros(1, 3, 2))[1][0]))


def test_means_with_dead_networks() -> None:
    sums = MeanSums.of(torch.tensor([1.0, 3.0, -math.inf])).merge(MeanSums.of(torch.tensor([2.0, math.nan])))
    row = sums.summary("x", quantiles=True)
    assert row["x"] == 2.0
    assert row["x_se"] == pytest.approx(1 / math.sqrt(3))
    assert row["x_infinite"] == pytest.approx(2 / 5)
    assert row["x_q05"] == -math.inf
    assert row["x_q50"] == pytest.approx(1.0, rel=1e-3)  # the lower of the two middle ones of −∞, 1, 2, 3


def test_seeds_differ_and_refuse() -> None:
    seeds = {shard_seed(seed, index) for seed in range(3) for index in range(2000)}
    assert len(seeds) > 5990
    for seed, index in ((-1, 0), (0, -1), (0, 1 << 32)):
        with pytest.raises(DomainError):
            shard_seed(seed, index)


def test_rao_blackwell_agrees_with_counting() -> None:
    """Both estimators of one network's columns agree within their errors, z-scored."""
    net = RandomNetwork(depth=4, width=6, activation="relu", sigma_w=2**0.5, sigma_b=0.2)
    x = torch.tensor([[1.0, 0.3, -0.5], [0.2, -1.0, 0.7]])
    exact = run(Plan(net=net, nets=20_000, seed=1), x).profile
    count = run(Plan(net=net, nets=20_000, seed=2, rao_blackwell=False), x).profile
    for name in ("q", "kurtosis", "ks", "ks_standardised", "correlation_network", "log_q"):
        if name == "log_q":  # of the conditional variance, or of the units: not the same number
            continue
        error = np.hypot(exact[f"{name}_se"], count[f"{name}_se"]) + exact["ks_error"] + count["ks_error"]
        assert (np.abs(exact[name] - count[name])[1:] < 5 * error[1:]).all(), name


def test_relu_kurtosis_law() -> None:
    """E z⁴/(E z²)² = 3(1 + 5/n)^{l−1}, from the fourth-moment recursion, z-scored at moderate depth."""
    net = RandomNetwork(depth=4, width=50, activation="relu", sigma_w=2**0.5)
    p = run(Plan(net=net, nets=40_000, seed=8), torch.ones(20)).profile
    want = 3 * (1 + 5 / 50) ** (p["depth"] - 1) - 3
    z = (p["kurtosis"] - want)[1:] / p["kurtosis_se"][1:]
    assert (np.abs(z) < 5).all(), z


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_streamed_distances_against_sorted_values(scale: float) -> None:
    from scipy.special import ndtr

    from firstlight.ensemble.sums.streaming import Stream

    x = scale * (torch.randn(30_000, generator=torch.Generator().manual_seed(3)) * 1.1 + 0.05)
    stream = Stream()
    for part in x.split(7_000):
        stream.add(part)
    got = stream.compare(scale=scale)
    v = np.sort(x.numpy().astype(np.float64)) / scale
    n, i = len(v), np.arange(1, len(v) + 1)
    ad = -n - np.mean((2 * i - 1) * (np.log(ndtr(v)) + np.log(ndtr(-v[::-1]))))
    grid = np.sort(np.concatenate([np.linspace(-9, 9, 400_001), v]))
    f = np.searchsorted(v, grid, side="right") / n - ndtr(grid)
    width = np.diff(grid)
    assert got.anderson_darling == pytest.approx(ad, rel=1e-3)
    assert got.wasserstein == pytest.approx(scale * np.sum(np.abs(f[:-1]) * width), rel=1e-3)
    assert got.energy == pytest.approx(2 * scale * np.sum(f[:-1] ** 2 * width), rel=1e-3)
    for p, moment in enumerate(got.moments, start=1):
        assert moment == pytest.approx(float((v**p).mean()) * scale**p, rel=1e-4 if p % 2 == 0 else 1e-3)
