"""Channels and the axis of a softmax: what happens along axes other than depth is judged there."""

import math

import pytest
import torch
from tests.diagnosis.severities import severities
from torch import nn

import firstlight
from firstlight.probe import probe


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


# ------------------------------------------------------------------ channels
class Residual(nn.Module):
    def __init__(self, standardise, normalise=False, blocks=10, width=64):
        super().__init__()
        self.a = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(blocks))
        self.b = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(blocks))
        self.n = nn.ModuleList(nn.BatchNorm1d(width) if normalise else nn.Identity() for _ in range(blocks))
        for layer in (*self.a, *self.b):
            w = torch.randn(width, width)
            if standardise:
                w = (w - w.mean(1, keepdim=True)) / w.std(1, keepdim=True)
            layer.weight.data.copy_(
                w * math.sqrt(1 / width) * (1.7129 if layer not in [*self.a][:0] else 1.0)
            )
        self.o = nn.Linear(width, 2)

    def forward(self, x):
        size = 1.0
        for a, b, n in zip(self.a, self.b, self.n):
            x = x + 0.5 * b(torch.relu(a(torch.relu(n(x / size)))))
            size = math.sqrt(size**2 + 0.25)
        return self.o(x)


def test_channel_means_that_grow_are_named():
    x = torch.randn(64, 64)
    assert severities(Residual(False), x)["channel-means"] == "warning"
    assert "channel-means" not in severities(Residual(True), x)
    assert "channel-means" not in severities(Residual(False, normalise=True), x)


def test_channel_columns_against_their_definition():
    x = torch.randn(32, 8)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    row = probe(model, x).profile
    z = model[0](x).detach().double()
    assert row["channel_var"][1] == pytest.approx(float(z.var(0).mean()), rel=1e-4)
    assert row["channel_mean_square"][1] == pytest.approx(
        float((z.mean(0).square() - z.var(0) / 32).mean()), rel=1e-3
    )


# ------------------------------------------------------------------ the axis of a softmax
class Weighs(nn.Module):
    """Attention by hand whose softmax is taken over a given axis."""

    def __init__(self, axis, then=lambda w: w):
        super().__init__()
        self.p, self.o, self.axis, self.then = nn.Linear(16, 48), nn.Linear(16, 2), axis, then

    def forward(self, x):
        q, k, v = self.p(x).chunk(3, -1)
        return self.o(self.then((q @ k.mT / 4).softmax(self.axis)) @ v)


@pytest.mark.parametrize(("axis", "named"), [(-1, False), (2, False), (0, True), (1, True), (-2, True)])
def test_a_softmax_over_another_axis_than_the_sum_is_named(axis, named):
    result = firstlight.audit(Weighs(axis), torch.randn(8, 6, 16))
    found = {v.code: v for v in result.verdicts}
    assert ("softmax-axis" in found) is named
    if named:
        assert found["softmax-axis"].severity == "warning"
        assert ("samples" in found["softmax-axis"].evidence) is (axis == 0)


def test_slots_that_compete_for_tokens_are_normalised_again():
    slots = Weighs(-2, lambda w: w / w.sum(-1, keepdim=True))
    assert "softmax-axis" not in severities(slots, torch.randn(8, 6, 16))
