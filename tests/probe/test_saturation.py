"""Which entries count as saturated: on a flat part of φ, and not merely off."""

import pytest
import torch
from torch import nn

import firstlight
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


class Gate(nn.Module):
    """Experts weighed by a softmax over their scores, or a classifier that ends in one."""

    def __init__(self, scale, last=False):
        super().__init__()
        self.router, self.experts = nn.Linear(16, 4), nn.ModuleList(nn.Linear(16, 8) for _ in range(4))
        self.router.weight.data.mul_(scale)
        self.last = last

    def forward(self, x):
        p = torch.softmax(self.router(x), 1)
        if self.last:
            return p
        return (p.unsqueeze(2) * torch.stack([e(x) for e in self.experts], 1)).sum(1)


def test_a_gate_that_has_chosen_before_it_learnt_is_saturated():
    torch.manual_seed(0)
    x = torch.randn(64, 16)

    def codes(model):
        return {v.code: v for v in firstlight.audit(model, x).verdicts}

    assert "saturation" not in codes(Gate(1.0))
    sharp = Gate(400.0)
    chosen = codes(sharp)["saturation"]
    assert chosen.severity == "warning"
    top = torch.softmax(sharp.router(x), 1).amax(1).mean()
    assert chosen.measured == pytest.approx(top.item(), rel=1e-6)
    # at the end of a model the loss judges
    assert "saturation" not in codes(Gate(400.0, last=True))
