import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firstlight import measure
from firstlight.errors import DomainError


@pytest.mark.parametrize("shape", [(5, 30), (30, 5), (12, 12)])
def test_agrees_with_the_singular_values(shape):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = torch.linalg.svdvals(x).square()
    p = p / p.sum()
    r = measure.ranks(x)
    assert r.effective == pytest.approx(math.exp(-(p * p.log()).sum().item()), rel=1e-10)
    assert r.participation == pytest.approx(1 / p.square().sum().item(), rel=1e-10)
    assert r.stable == pytest.approx(1 / p.max().item(), rel=1e-10)
    assert r.numerical == torch.linalg.matrix_rank(x).item()
    gram = measure.ranks(x @ x.T if shape[0] <= shape[1] else x.T @ x, gram=True)
    assert gram.effective == pytest.approx(r.effective, rel=1e-9)


@given(st.lists(st.floats(0.01, 100.0), min_size=1, max_size=8))
def test_the_ranks_are_ordered(values):
    r = measure.ranks(torch.diag(torch.tensor(values, dtype=torch.float64)))
    # Rényi entropies fall with their order: 1, 2, ∞
    assert 1 - 1e-9 <= r.stable <= r.participation + 1e-9
    assert r.participation <= r.effective + 1e-9
    assert r.effective <= len(values) + 1e-9


def test_low_rank_zero_and_not_finite():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(40, 3, generator=generator) @ torch.randn(3, 50, generator=generator)
    assert measure.ranks(x).numerical == 3
    assert measure.effective_rank(x) <= 3 + 1e-6
    assert measure.effective_rank(torch.zeros(4, 4)) == 0.0
    assert math.isnan(measure.effective_rank(torch.full((2, 2), math.nan)))
    assert measure.effective_rank(x * 1e30) == pytest.approx(measure.effective_rank(x), rel=1e-6)


def test_a_gram_matrix_must_be_square():
    with pytest.raises(DomainError, match="square"):
        measure.ranks(torch.zeros(2, 3), gram=True)
