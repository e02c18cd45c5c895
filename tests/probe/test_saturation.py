"""Which entries count as saturated: on a flat part of φ, and not merely off."""

import pytest
import torch
from torch import nn

from firstlight.probe import probe


def saturated(activation: nn.Module, scale: float) -> float:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(200, 400), activation, nn.Linear(400, 10))
    nn.init.normal_(net[0].weight, std=scale / 200**0.5)
    nn.init.zeros_(net[0].bias)
    return probe(net, torch.randn(100, 200)).profile.select("activation")["saturated"][0]


def normal_share(threshold: float) -> float:
    """P(Z > threshold) for a standard normal Z."""
    return float(torch.special.ndtr(torch.tensor(-threshold, dtype=torch.float64)))


@pytest.mark.parametrize(
    ("activation", "scale", "expected"),
    [
        (nn.ReLU6(), 1.0, 0.0),
        (nn.ReLU6(), 6.0, normal_share(1.0)),
        (nn.Hardtanh(), 1.0, 2 * normal_share(1.0)),
        (nn.Hardsigmoid(), 3.0, 2 * normal_share(1.0)),
        # 1 − tanh² < 0.05 beyond artanh √0.95 = 2.178
        (nn.Tanh(), 2.0, 2 * normal_share(2.178 / 2)),
        # 4 s (1 − s) < 0.05 beyond 4.357
        (nn.Sigmoid(), 4.0, 2 * normal_share(4.357 / 4)),
    ],
)
def test_the_share_is_that_of_a_gaussian(activation, scale, expected):
    # some 10⁴ entries are read, in rows of different norm: ±5 standard errors of a share near a third
    assert saturated(activation, scale) == pytest.approx(expected, abs=0.025)
