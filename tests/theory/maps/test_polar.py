import pytest
import torch

from firstlight import RandomNetwork, activations
from firstlight.theory import kernels
from firstlight.theory.maps._polar import Polar
from firstlight.theory.maps._variance_table import VarianceTable

C = torch.tensor([-1.0, -0.3, 1 - 1e-12, 1.0], dtype=torch.float64)


@pytest.mark.parametrize("activation", ["elu", "softsign", "silu"])
@pytest.mark.parametrize("q", [1e-12, 50.0, 1e12])
def test_against_plain_quadrature(activation, q):
    phi = activations.get(activation)
    polar = Polar.of(phi, q)
    first, second = torch.full_like(C, q), torch.full_like(C, 0.6 * q)
    value, slope = polar.pair(first, second, C)
    for found, plain in ((value, activations.dual), (slope, activations.dual_slope)):
        expected = plain(phi, first, second, C, closed=False)
        # Quadrature in one Gaussian after the other stops at 1e-11 of E φ'²; softsign's slope of 1/(1 + |z|)² has no
        # scale between 1 and 10⁶ standard deviations, where panels four times wider than the last are a little wide.
        tolerance = 5e-10 if activation == "softsign" and q == 1e12 else 2e-11
        assert float(((found - expected) / expected.abs().max()).abs().max()) < tolerance
    assert polar.error < 1e-10


def test_a_rectifier_in_closed_form():
    phi = activations.get("relu")
    for q in (1e-12, 3.0, 1e12):
        first, second = torch.full_like(C, q), torch.full_like(C, 0.3 * q)
        value, slope = Polar.of(phi, q).pair(first, second, C)
        torch.testing.assert_close(value / q, activations.dual(phi, first, second, C) / q, rtol=0, atol=1e-15)
        torch.testing.assert_close(slope, activations.dual_slope(phi, first, second, C), rtol=0, atol=1e-14)


def test_kinks_elsewhere_are_left_alone():
    assert Polar.of(activations.get("hardswish"), 1.0) is None
    assert Polar.of(activations.get("hardshrink"), 1.0) is None


def test_the_interpolant_is_the_rule():
    polar = Polar.of(activations.get("elu"), 2.0)
    table = VarianceTable.of(polar, 1.0, 2.0)
    g = torch.Generator().manual_seed(0)
    q1, q2, c = (torch.rand(50, generator=g, dtype=torch.float64) for _ in range(3))
    for found, exact in zip(table.pair(1 + q1, 1 + q2, 2 * c - 1), polar.pair(1 + q1, 1 + q2, 2 * c - 1)):
        torch.testing.assert_close(found, exact, rtol=0, atol=1e-11)


def test_kernels_of_inputs_of_different_norms():
    """Many inputs go through the interpolant, few pair by pair."""
    x = torch.randn(64, 200, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    net = RandomNetwork(depth=2, width=8, activation="selu", sigma_w=1.1, sigma_b=0.1, parametrisation="ntk")
    many, few = kernels(net, x), kernels(net, x[:5])
    torch.testing.assert_close(many.nngp[:5, :5], few.nngp, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(many.ntk[:5, :5], few.ntk, rtol=1e-10, atol=1e-11)
