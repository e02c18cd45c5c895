"""Rank, residual streams and paths: read where they mean something, and judged for the optimiser that meets them."""

import math

import pytest
import torch
import torch.nn.functional as F
from tests.diagnosis.layers import mlp
from tests.diagnosis.severities import severities
from torch import nn

import firstlight
from firstlight.probe import probe


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


# ------------------------------------------------------------------ rank and streams
@pytest.mark.parametrize(
    "model",
    [
        lambda: nn.Linear(16, 1),
        lambda: mlp(outputs=1),
        lambda: nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 1), nn.Tanh(), nn.Linear(1, 32), nn.Tanh(),
                              nn.Linear(32, 4)),
        lambda: nn.Sequential(nn.Linear(16, 2), nn.Tanh(), nn.Linear(2, 2)),
    ],
)  # fmt: skip
def test_rank_is_not_read_at_readouts_and_bottlenecks(model):
    assert firstlight.audit(model(), torch.randn(64, 16)).healthy


class Tower(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.i, self.scale = nn.Linear(16, 32), scale
        self.l = nn.ModuleList(nn.Linear(32, 32, bias=False) for _ in range(4))
        for layer in self.l:
            nn.init.normal_(layer.weight, std=32**-0.5)

    def forward(self, x):
        x = self.scale * self.i(x)
        for layer in self.l:
            x = x + layer(x)
        return x


def test_streams_of_two_towers_are_not_one():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.t, self.v, self.o = Tower(1e-3), Tower(1.0), nn.Linear(32, 4)

        def forward(self, a, b):
            return self.o(F.layer_norm(self.t(a), (32,)) + self.v(b))

    found = severities(Two(), (torch.randn(32, 16), torch.randn(32, 16)))
    assert "residual-growth" not in found
    assert "unhealthy" not in found.values()


def test_theory_is_silent_where_paths_part_and_join():
    class Inception(nn.Module):
        def __init__(self, c, k):
            super().__init__()
            self.b = nn.ModuleList(
                nn.Sequential(
                    nn.Conv2d(c, c // k, 3, padding=1, bias=False), nn.BatchNorm2d(c // k), nn.ReLU()
                )
                for _ in range(k)
            )

        def forward(self, x):
            return torch.cat([b(x) for b in self.b], 1)

    result = firstlight.audit(nn.Sequential(*[Inception(16, 4) for _ in range(12)]), torch.randn(8, 16, 6, 6))
    assert not any("theory from the measured" in v.evidence for v in result.verdicts)


# ------------------------------------------------------------------ paths and optimisers
class Block(nn.Module):
    def __init__(self, d=32):
        super().__init__()
        self.n, self.a, self.b = nn.LayerNorm(d), nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
        for layer in (self.a, self.b):
            nn.init.normal_(layer.weight, std=0.02)

    def forward(self, v):
        return v.detach() + self.b(F.gelu(self.a(self.n(v))))


@pytest.mark.parametrize("optimiser", [None, "sgd", "adam"])
def test_a_fall_along_a_role_is_not_lost_in_the_error_of_the_trend(optimiser):
    x = torch.randn(64, 32)
    result = firstlight.audit(nn.Sequential(*[Block() for _ in range(16)]), x, targets=x, optimiser=optimiser)
    found = {v.code: v for v in result.verdicts}
    assert found["vanishing-gradients"].severity == "unhealthy"
    assert found["vanishing-gradients"].measured > 10
    # the smallest gradients come first
    assert found["vanishing-gradients"].layers[0].startswith("0.")


def test_no_healthy_verdict_holds_a_factor_beyond_its_line():
    from firstlight.diagnosis.rules._gradients import WARNING

    for seed in range(4):
        torch.manual_seed(seed)
        layers = [m for _ in range(5) for m in (nn.Linear(24, 24), nn.Tanh())]
        result = firstlight.audit(nn.Sequential(*layers), torch.randn(32, 24))
        for v in result.verdicts:
            if v.severity == "healthy" and "factor" in v.evidence:
                assert float(v.evidence.split("factor ")[1].split()[0]) <= math.exp(WARNING)


def test_an_adaptive_optimiser_forgives_small_gradients_of_a_shallow_network():
    layers = [m for _ in range(8) for m in (nn.Linear(64, 64), nn.SiLU())]
    for layer in layers[::2]:
        nn.init.zeros_(layer.bias)
    model, x = nn.Sequential(*layers, nn.Linear(64, 4)), torch.randn(64, 64)
    plain = {v.code: v for v in firstlight.audit(model, x, optimiser="sgd").verdicts}
    adam = {v.code: v for v in firstlight.audit(model, x, optimiser="adam").verdicts}
    both = {v.code: v for v in firstlight.audit(model, x).verdicts}
    assert plain["vanishing-gradients"].severity == "unhealthy"
    assert adam.get("vanishing-gradients") is None or adam["vanishing-gradients"].severity == "warning"
    assert "plain gradient descent" in both["vanishing-gradients"].evidence


def test_an_unknown_optimiser_is_refused():
    from firstlight.errors import DomainError

    with pytest.raises(DomainError, match="'sgd' or 'adam'"):
        firstlight.audit(mlp(), torch.randn(32, 16), optimiser="lion")


def test_meta_of_sizes():
    x, t = torch.randn(32, 16), torch.randn(32, 4)
    meta = probe(mlp(), x, targets=t).meta
    assert meta["loss_kind"] == "squared error"
    assert meta["guess"] == pytest.approx(float(t.var(0, correction=0).mean()), rel=1e-5)
