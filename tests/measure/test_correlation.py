import math

import pytest
import torch

from firstlight import measure


def test_mean_cosine_and_matrix_against_torch():
    z = torch.randn(9, 31, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = measure.sample_correlation(z)
    expected = torch.nn.functional.cosine_similarity(z[:, None], z[None], dim=2)
    assert torch.allclose(result.cosine, expected, atol=1e-12)
    off = expected[~torch.eye(9, dtype=torch.bool)]
    assert result.mean == pytest.approx(off.mean().item(), rel=1e-10)


def test_standard_error_over_units_is_the_spread_over_redraws():
    """The first-order standard error against the spread over redrawn units."""
    generator = torch.Generator().manual_seed(1)
    c = torch.full((10, 10), 0.4) + 0.6 * torch.eye(10)
    root = torch.linalg.cholesky(c)
    repeats = 500
    results = [
        measure.sample_correlation(root @ torch.randn(10, 300, generator=generator)) for _ in range(repeats)
    ]
    means = torch.tensor([r.mean for r in results])
    predicted = torch.tensor([r.se_units for r in results]).square().mean().sqrt().item()
    # a standard deviation of 500 values has relative error 1/√1000; the delta method's own is of order 1/300
    assert means.std().item() == pytest.approx(predicted, rel=5 / math.sqrt(2 * repeats) + 0.01)
    assert abs(means.mean().item() - 0.4) < 5 * predicted / math.sqrt(repeats) + 0.4 / 300


def test_standard_error_over_samples_is_the_spread_over_redraws():
    """Samples with a common direction of random strength, many units: only the samples matter."""
    generator = torch.Generator().manual_seed(2)
    repeats, units = 400, 4000
    common = torch.zeros(units)
    common[:1000] = 1.0
    means, errors = [], []
    for _ in range(repeats):
        strength = torch.rand(20, 1, generator=generator)
        r = measure.sample_correlation(strength * common + 0.5 * torch.randn(20, units, generator=generator))
        means.append(r.mean)
        errors.append(r.se_samples)
    predicted = torch.tensor(errors).square().mean().sqrt().item()
    # 20 samples: the U-statistic's first-order term is short by O(1/20)
    assert torch.tensor(means).std().item() == pytest.approx(predicted, rel=5 / math.sqrt(2 * repeats) + 0.05)


@pytest.mark.parametrize("scale", [1e-40, 1e30])
def test_scale_of_rows_does_not_matter(scale):
    z = torch.randn(5, 50, generator=torch.Generator().manual_seed(3))
    rescaled = z * (torch.rand(5, 1, generator=torch.Generator().manual_seed(4)) + 0.5) * scale
    # 1e-40 is subnormal: 1e-5 of each entry is rounded away
    expected = measure.sample_correlation(z).mean
    assert measure.sample_correlation(rescaled).mean == pytest.approx(expected, abs=1e-4)


def test_identical_opposite_and_missing_samples():
    z = torch.randn(1, 50)
    same = measure.sample_correlation(z.expand(4, 50))
    assert same.mean == pytest.approx(1.0)
    assert same.se == pytest.approx(0.0, abs=1e-5)
    assert measure.sample_correlation(torch.cat([z, -z])).mean == pytest.approx(-1.0)
    one = measure.sample_correlation(z)
    assert math.isnan(one.mean)
    zero_row = measure.sample_correlation(torch.cat([z, torch.zeros(1, 50), z]))
    assert (zero_row.samples, zero_row.mean) == (2, pytest.approx(1.0))


def test_subsets_are_within_their_standard_error():
    generator = torch.Generator().manual_seed(5)
    z = torch.randn(100, 3000, generator=generator) + torch.randn(1, 3000, generator=generator)
    part = measure.sample_correlation(z, max_samples=50, max_units=500)
    whole = measure.sample_correlation(z, max_samples=100)
    assert (part.samples, part.units) == (50, 500)
    assert abs(part.mean - whole.mean) < 5 * part.se
