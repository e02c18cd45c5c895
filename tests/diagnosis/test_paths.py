"""Paths: what is said of ∂L/∂W along a role is the norm over that of the weight, by a plain backward pass."""

import itertools

import pytest
import torch
from torch import nn

from firstlight.diagnosis.findings import Findings
from firstlight.diagnosis.rules._paths import paths
from firstlight.probe import probe


class Pyramid(nn.Module):
    """Convolutions that double their channels and halve their maps, in front of a stack that is as wide throughout."""

    def __init__(self, channels, gain):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(channels)
        )
        for stage in self.stages:
            nn.init.orthogonal_(stage.weight, gain=gain)
        self.head = nn.Linear(channels[-1], 4)

    def forward(self, x):
        for stage in self.stages:
            x = torch.tanh(stage(x))
        return self.head(x.mean((2, 3)))


def test_what_a_learning_rate_meets_is_the_ratio_of_plain_norms():
    torch.manual_seed(0)
    model, x = Pyramid((3, 8, 16, 32, 64, 64), 1.0), torch.randn(4, 3, 64, 64)

    def loss(output, _):
        return output.square().mean()

    found = paths(Findings(probe(model, x, loss=loss)))
    path = next(path for path in found if path.quantity == "∂L/∂W")
    loss(model(x), None).backward()
    ratio = [float((s.weight.grad.norm() / s.weight.detach().norm()).log()) for s in model.stages]
    assert path.names == tuple(f"stages.{i}" for i in range(5))
    # σ_w is that of the entries about zero, as the norm is; float32 sums in another order
    assert path.values == pytest.approx(ratio, abs=1e-4)
