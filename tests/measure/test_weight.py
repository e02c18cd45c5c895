import math

import pytest
import torch

from firstlight import measure


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [(torch.nn.Linear(30, 20), 30), (torch.nn.Conv2d(4, 8, 3), 36), (torch.nn.Conv1d(4, 8, 5, groups=2), 10)],
)
def test_default_initialisation_of_torch(layer, fan_in):
    """torch draws uniformly within ±1/√fan-in: variance 1/(3 fan-in), excess kurtosis −1.2."""
    s = measure.weight_summary(layer.weight)
    assert (s.fan_in, s.shape) == (fan_in, tuple(layer.weight.shape))
    n = layer.weight.numel()
    # Var of the square of U(−√3, √3) is 4/5
    assert abs(s.sigma_w**2 - 1 / 3) < 5 * math.sqrt(0.8 / n) / 3
    assert s.kurtosis == pytest.approx(-1.2, abs=5 * math.sqrt(24 / n))
    assert s.flags == ()


def test_defects():
    w = torch.randn(10, 12)
    assert measure.weight_summary(torch.zeros(3, 4)).flags == ("zero",)
    assert measure.weight_summary(torch.ones(5)).flags == ("constant",)
    assert measure.weight_summary(w[:1].expand(10, 12)).flags == ("cloned",)
    assert measure.weight_summary(w[:1].expand(10, 12)).cloned == 0.9
    assert measure.weight_summary(torch.empty(0, 3)).flags == ("empty",)
    w[2, 3] = math.nan
    assert measure.weight_summary(w).flags == ("non-finite",)
    assert measure.weight_summary(torch.tensor(2.0)).flags == ()


def test_clones_are_equal_rows_and_nothing_less():
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (3000, 64), generator=generator) * 2.0 - 1.0
    distinct = len(signs.unique(dim=0))
    assert measure.weight_summary(signs).cloned == pytest.approx((3000 - distinct) / 3000)
    # rows that agree in every column that the keys look at
    nearly = torch.randn(1, 640, generator=generator).repeat(50, 1)
    nearly[:, 1] = torch.arange(50.0)
    assert measure.weight_summary(nearly).cloned == 0.0
    half = torch.cat([signs[:1000] * 0.5, signs[:1000] * 0.5, signs[1000:2000] * 0.25])
    expected = (3000 - len(half.unique(dim=0))) / 3000
    assert measure.weight_summary(half).cloned == pytest.approx(expected)


def test_zero_rows_are_pruned_not_cloned():
    w = torch.randn(10, 12)
    w[::2] = 0.0
    s = measure.weight_summary(w)
    assert (s.cloned, s.zero) == (0.0, 0.5)


def test_many_rows_are_read_as_a_run():
    w = torch.randn(20_000, 6)
    w[1::2] = w[::2]
    assert measure.weight_summary(w).cloned == pytest.approx(0.5, abs=1e-3)
