import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from firstlight import measure
from firstlight.measure._blocks import CPU_BLOCK, blocks, flat_view, strided_sample


def _reference(x):
    """Two passes in float64: the independent route."""
    x = x.double().reshape(-1)
    x = x[torch.isfinite(x)].numpy()
    return x.mean(), (x**2).mean(), x.var(), stats.skew(x), stats.kurtosis(x), abs(x).max()


def _check(x, rel):
    m = measure.moments(x)
    got = (m.mean, m.q, m.var, m.skewness, m.kurtosis, m.absmax)
    for value, expected in zip(got, _reference(x)):
        assert value == pytest.approx(expected, rel=rel, abs=rel)


@pytest.mark.parametrize("size", [2, 33, CPU_BLOCK - 1, CPU_BLOCK, CPU_BLOCK + 1, 5 * CPU_BLOCK + 17])
@pytest.mark.parametrize("law", ["normal", "cubed", "exponential"])
def test_agrees_with_two_passes_in_float64(size, law):
    x = torch.randn(size, generator=torch.Generator().manual_seed(size))
    x = {"normal": x, "cubed": x**3, "exponential": x.abs() + 5}[law]
    # float32 sums of 32k terms in at least 16 lanes: rounding of relative size 2048 · 6e-8 at the very worst
    _check(x, 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_short_rows_together_as_each_alone(dtype):
    rows = torch.randn(5, 700, generator=torch.Generator().manual_seed(3), dtype=dtype) + 3.0
    rows[1], rows[2, 4], rows[3] = 7.5, torch.inf, rows[3] * 1e30
    for found, row in zip(measure.moments_of_each(rows), rows):
        alone = measure.moments(row)
        # float32 keeps seven digits, and moments read it in that
        for value, expected in zip(vars(found).values(), vars(alone).values()):
            assert value == pytest.approx(expected, rel=1e-5, abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("mean", [1e3, 1e6, -1e7])
def test_a_large_mean_costs_no_digits(mean):
    x = torch.randn(200_000, generator=torch.Generator().manual_seed(1)) * 5 + mean
    m = measure.moments(x)
    _, _, var, skewness, kurtosis, _ = _reference(x)
    assert m.var == pytest.approx(var, rel=1e-5)
    assert m.skewness == pytest.approx(skewness, abs=1e-4)
    assert m.kurtosis == pytest.approx(kurtosis, abs=1e-4)


def test_a_drifting_mean_is_caught_by_a_second_pass():
    """The pilot sample sees another mean than nearly all entries have."""
    x = torch.randn(600_001, generator=torch.Generator().manual_seed(2)) + 1e4
    stride = (x.numel() // 512) | 1
    x[::stride] = 0.0
    m = measure.moments(x)
    assert m.var == pytest.approx(_reference(x)[2], rel=1e-5)
    assert m.kurtosis == pytest.approx(_reference(x)[4], rel=1e-4)


@pytest.mark.parametrize("scale", [1e-42, 1e-38, 1e-30, 1e-12, 1e12, 1e30, 7e37])
def test_no_size_overflows_or_vanishes(scale):
    base = torch.randn(70_000, generator=torch.Generator().manual_seed(3)).clamp(-4.5, 4.5)
    x = base * scale
    m, expected = measure.moments(x), measure.moments(x.double() / scale)
    assert m.kurtosis == pytest.approx(expected.kurtosis, abs=1e-5)
    assert m.skewness == pytest.approx(expected.skewness, abs=1e-5)
    assert m.q == pytest.approx(expected.q * scale * scale, rel=1e-5)
    assert m.var == pytest.approx(expected.var * scale * scale, rel=1e-5)
    assert measure.second_moments(x).q == pytest.approx(m.q, rel=1e-6)
    assert measure.log_rms(x) == pytest.approx(0.5 * math.log(expected.q) + math.log(scale), abs=1e-5)


def test_a_few_huge_entries_among_small_ones():
    x = torch.full((300_000,), 1e-3)
    x[12_345] = 1e25
    m = measure.moments(x)
    assert m.absmax == pytest.approx(1e25)
    assert m.q == pytest.approx(1e50 / 300_000, rel=1e-6)
    assert m.kurtosis == pytest.approx(300_000, rel=1e-4)


def test_float64_beyond_the_range_of_its_own_square():
    x = torch.tensor([1e300, -2e300, 3e300], dtype=torch.float64)
    m = measure.moments(x)
    assert m.q == math.inf
    assert m.skewness == pytest.approx(measure.moments(x / 1e300).skewness, rel=1e-12)
    assert measure.log_rms(x) == pytest.approx(math.log(1e300) + 0.5 * math.log(14 / 3), rel=1e-12)


def test_nonfinite_entries_are_left_out_and_counted():
    x = torch.randn(100_000, generator=torch.Generator().manual_seed(4))
    x[::1000], x[1::1000], x[2::1000] = math.nan, math.inf, -math.inf
    m = measure.moments(x)
    assert m.nonfinite == pytest.approx(0.003)
    assert (m.count, m.finite) == (100_000, 99_700)
    assert m.var == pytest.approx(_reference(x)[2], rel=1e-5)
    assert measure.second_moments(x).nonfinite == m.nonfinite


def test_a_constant_has_exactly_no_variance():
    m = measure.moments(torch.full((100_000,), 0.1))
    assert m.var == 0.0
    assert math.isnan(m.kurtosis)
    assert math.isnan(m.skewness)
    assert m.mean == pytest.approx(0.1, rel=1e-7)


def test_empty_and_all_nan():
    assert measure.moments(torch.empty(0)).count == 0
    assert measure.moments(torch.empty(0)).nonfinite == 0.0
    assert measure.moments(torch.full((3,), math.nan)).nonfinite == 1.0
    assert measure.log_rms(torch.zeros(3)) == -math.inf


@pytest.mark.parametrize("shape", [(3, 5, 7, 11), (300, 700), (2, 70_000)])
def test_views_without_a_dense_run_are_read_once_each(shape):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(5))
    for view in (x[..., ::2], x.transpose(0, -1)[1:], x[:1].expand(*shape), x.movedim(0, -1)):
        got = torch.cat([block.clone() for block in blocks(view, 1000)])
        assert torch.equal(got.sort().values, view.reshape(-1).sort().values)
        assert measure.moments(view).q == pytest.approx(view.double().square().mean().item(), rel=1e-5)


def test_channels_last_is_read_without_a_copy():
    x = torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
    flat = flat_view(x)
    assert flat is not None
    assert flat.data_ptr() == x.data_ptr()


def test_the_strided_sample_is_spread_over_rows_and_columns():
    x = torch.arange(1024.0)[:, None].expand(1024, 512).contiguous()
    sample = strided_sample(x, 512)
    assert 400 <= sample.numel() <= 600
    assert sample.mean().item() == pytest.approx(511.5, rel=0.02)
    assert len(sample.unique()) > 400


finite = st.floats(-1e6, 1e6, width=32)


@settings(deadline=None, max_examples=60)
@given(st.lists(finite, min_size=1, max_size=30), st.lists(finite, min_size=1, max_size=30))
def test_merging_is_the_moments_of_both(first, second):
    a, b = torch.tensor(first, dtype=torch.float64), torch.tensor(second, dtype=torch.float64)
    merged = measure.moments(a).merge(measure.moments(b))
    whole = measure.moments(torch.cat([a, b]))
    assert merged.count == whole.count
    assert merged.mean == pytest.approx(whole.mean, rel=1e-9, abs=1e-9 * whole.absmax)
    # var = E(x−μ)² is conditioned by (absmax²)·ε where the two means differ
    assert merged.var == pytest.approx(whole.var, rel=1e-9, abs=1e-13 * whole.absmax**2)
    if whole.var > 1e-6 * whole.absmax**2:
        assert merged.skewness == pytest.approx(whole.skewness, rel=1e-6, abs=1e-6)
        assert merged.kurtosis == pytest.approx(whole.kurtosis, rel=1e-6, abs=1e-6)


def test_merging_keeps_count_and_share_of_nonfinite():
    a = measure.moments(torch.tensor([1.0, math.nan, 2.0]))
    b = measure.moments(torch.tensor([math.inf]))
    assert a.merge(b).nonfinite == 0.5
    assert a.merge(b).mean == 1.5
    assert b.merge(a) == a.merge(b)
    empty = measure.moments(torch.empty(0))
    assert a.merge(empty) == empty.merge(a) == a


def test_merging_does_not_overflow():
    a = torch.tensor([1e100, 2e100, 4e100], dtype=torch.float64)
    b = torch.tensor([1e-100, 5e-100], dtype=torch.float64)
    merged, whole = measure.moments(a).merge(measure.moments(b)), measure.moments(torch.cat([a, b]))
    assert merged.kurtosis == pytest.approx(whole.kurtosis, rel=1e-9)
