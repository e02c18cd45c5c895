import math

import pytest
import torch

from firstlight import measure
from firstlight.errors import DomainError


def test_dead_units_of_features_and_channels():
    x = torch.randn(6, 8)
    x[:, [1, 4]] = 0.0
    x[0, 5] = 0.0
    assert measure.dead_units(x) == 0.25
    maps = torch.randn(3, 4, 5, 5)
    maps[:, 2] = 0.0
    assert measure.dead_units(maps, dim=1) == 0.25
    assert measure.dead_units(torch.full((3, 2), 1e-9), tolerance=1e-8) == 1.0


def test_a_unit_with_a_nan_is_not_dead():
    x = torch.zeros(3, 2)
    x[1, 0] = math.nan
    assert measure.dead_units(x) == 0.5


def test_constant_units():
    x = torch.randn(6, 4)
    x[:, 0] = 7.0
    assert measure.constant_units(x) == 0.25
    assert math.isnan(measure.constant_units(torch.empty(3, 0)))


def test_saturation_of_tanh():
    """Slope 1 − tanh² < .05 beyond |z| = artanh √.95: the share of N(0, 4) there, from scipy."""
    from scipy import stats

    z = 2 * torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    expected = 2 * stats.norm.sf(math.atanh(math.sqrt(0.95)) / 2)
    got = measure.saturation(1 - torch.tanh(z) ** 2, largest=1.0)
    assert abs(got - expected) < 5 * math.sqrt(expected * (1 - expected) / len(z))


def test_saturation_edge_cases():
    assert measure.saturation(torch.zeros(4)) == 1.0
    assert measure.saturation(torch.tensor([1.0, math.nan, 0.0])) == 0.5
    assert math.isnan(measure.saturation(torch.full((2,), math.nan)))
    assert math.isnan(measure.saturation(torch.empty(0)))


def test_there_must_be_an_axis_of_units():
    with pytest.raises(DomainError, match="axis"):
        measure.dead_units(torch.zeros(3, 4), dim=2)
    with pytest.raises(DomainError, match="axis"):
        measure.dead_units(torch.tensor(1.0))
