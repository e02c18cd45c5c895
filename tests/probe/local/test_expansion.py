import pytest
import torch

from firstlight import activations, gauss
from firstlight.probe.local._expansion import expansion, power_series


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "elu", "sigmoid"])
def test_agrees_with_the_adaptive_route(name):
    phi = activations.get(name)
    means = torch.tensor([0.0, 0.7, -1.3], dtype=torch.float64)
    stds = torch.tensor([0.3, 1.0, 2.5], dtype=torch.float64)
    got = expansion(phi, means, stds, 40, phi.kinks)
    for row, mean, std in zip(got, means.tolist(), stds.tolist()):
        kinks = [k - mean for k in phi.kinks]
        expected = gauss.hermite_coefficients(lambda t, m=mean: phi(t + m), std**2, 40, kinks=kinks)
        # 48 nodes a panel against a steepness of 2.5: three digits are asked for, six are had
        assert (row - expected).abs().max() < 1e-6


def test_second_moments_are_the_sum_of_squares():
    a = expansion(torch.tanh, torch.zeros(1).double(), torch.ones(1).double(), 40, ())
    square = gauss.expect(lambda t: torch.tanh(t) ** 2, 0.0, 1.0)
    assert a.square().sum().item() == pytest.approx(float(square), abs=1e-6)


@pytest.mark.parametrize("name", ["tanh", "relu", "elu"])
def test_rows_of_equal_panels_have_the_coefficients_that_they_have_beside_others(name):
    phi = activations.get(name)
    stds = torch.tensor([0.3, 1.0, 2.5], dtype=torch.float64)
    centred = torch.zeros(3, dtype=torch.float64)
    alike = expansion(phi, centred, stds, 40, phi.kinks)
    # a kink that lies elsewhere in each row makes panels that differ
    apart = expansion(phi, centred, stds, 40, (*phi.kinks, 0.1))
    assert (alike - apart).abs().max() < 1e-6


def test_power_series():
    a = torch.tensor([[1.0, -2.0, 0.5], [0.0, 1.0, 0.0]], dtype=torch.float64)
    x = torch.linspace(-1, 1, 5, dtype=torch.float64).expand(2, 5)
    expected = torch.stack([1 - 2 * x[0] + 0.5 * x[0] ** 2, x[1]])
    assert torch.allclose(power_series(a, x), expected)
