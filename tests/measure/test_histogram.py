import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firstlight import measure
from firstlight.errors import DomainError


def test_agrees_with_numpy():
    x = torch.randn(5000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    h = measure.histogram(x, 31)
    counts, edges = np.histogram(x.numpy(), 31)
    assert h.counts == tuple(counts.tolist())
    assert np.allclose(h.edges, edges)
    levels = [0.0, 0.01, 0.33, 0.5, 0.99, 1.0]
    assert measure.quantiles(x, levels) == pytest.approx(np.quantile(x.numpy(), levels).tolist(), rel=1e-12)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=40))
def test_every_entry_is_counted_once(values):
    x = torch.tensor(values)
    for h in (measure.histogram(x, 7), measure.histogram(x, 5, low=-1.0, high=2.0)):
        assert h.total == len(values)
        assert h.nan == sum(math.isnan(v) for v in values)


def test_merging_is_the_histogram_of_both():
    a, b = torch.randn(300), torch.randn(200) * 3
    one, two = (measure.histogram(x, 10, low=-2.0, high=2.0) for x in (a, b))
    assert one.merge(two) == measure.histogram(torch.cat([a, b]), 10, low=-2.0, high=2.0)
    with pytest.raises(DomainError, match="equal"):
        one.merge(measure.histogram(a, 10))


def test_the_subset_is_near_the_whole():
    x = torch.randn(1000, 1000, generator=torch.Generator().manual_seed(1))
    part = measure.quantiles(x, [0.1, 0.5, 0.9])
    whole = measure.quantiles(x, [0.1, 0.5, 0.9], max_entries=None)
    for a, b, level in zip(part, whole, [0.1, 0.5, 0.9]):
        density = math.exp(-0.5 * b * b) / math.sqrt(2 * math.pi)
        assert abs(a - b) < 5 * math.sqrt(level * (1 - level) / 16_000) / density
    assert 16_000 <= measure.histogram(x).total <= 17_000


def test_edges_and_bad_arguments():
    constant = measure.histogram(torch.full((5,), 2.0), 4)
    assert sum(constant.counts) == 5
    assert measure.histogram(torch.tensor([-3e38, 3e38]), 2).counts == (1, 1)
    assert measure.histogram(torch.empty(0)).total == 0
    assert all(math.isnan(q) for q in measure.quantiles(torch.tensor([math.nan]), [0.1, 0.5]))
    with pytest.raises(DomainError, match="bins"):
        measure.histogram(torch.randn(3), 0)
    with pytest.raises(DomainError, match="low"):
        measure.histogram(torch.randn(3), low=1.0, high=0.0)
    with pytest.raises(DomainError, match="levels"):
        measure.quantiles(torch.randn(3), [1.5])
