"""Chance over depth is that over draws of the weights; orthogonal weights end it; a batch norm opens zeros."""

import math

import pytest
import torch
from torch import nn

import firstlight
from firstlight.diagnosis.findings import Findings
from firstlight.diagnosis.rules._gradients import walk_verdicts
from firstlight.probe import probe


class Skipped(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        for layer in self.layers:
            x = x + 0.2 * layer(x)
        return x


def layers(depth, width, seed, orthogonal=False):
    torch.manual_seed(seed)
    made = [nn.Linear(width, width, bias=False) for _ in range(depth)]
    for layer in made:
        nn.init.orthogonal_(layer.weight) if orthogonal else nn.init.normal_(layer.weight, std=width**-0.5)
    return [nn.Sequential(layer, nn.LayerNorm(width), nn.Tanh()) for layer in made]


def chain(depth, width, seed, **how):
    return nn.Sequential(*layers(depth, width, seed, **how), nn.Linear(width, 4))


def told(model, x):
    return {v.code: v.severity for v in firstlight.audit(model, x).verdicts}


def test_deep_chains_of_independent_weights_are_named_and_orthogonal_ones_and_skips_are_not():
    x = torch.randn(32, 12, generator=torch.Generator().manual_seed(1))
    assert told(chain(30, 12, 0), x)["depth-over-width"] == "unhealthy"
    assert "depth-over-width" not in told(chain(30, 12, 0, orthogonal=True), x)
    assert "depth-over-width" not in told(Skipped(layers(30, 12, 0)), x)


def test_without_a_normaliser_it_is_a_warning():
    torch.manual_seed(0)
    made = [nn.Linear(16, 16) for _ in range(40)]
    for layer in made:
        nn.init.normal_(layer.weight, std=0.25)
    model = nn.Sequential(*made, nn.Linear(16, 4))
    assert told(model, torch.randn(32, 16))["depth-over-width"] == "warning"


def test_a_layer_of_zeros_in_front_of_a_batch_norm_is_opened_by_the_first_step():
    x = torch.randn(32, 16, generator=torch.Generator().manual_seed(1))

    def collapsed(norm):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(16, 16), norm, nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)
        )
        nn.init.zeros_(model[0].weight)
        found = firstlight.audit(model, x, optimiser="sgd").verdicts
        return {v.severity for v in found if v.code in ("ordered", "rank-collapse")}

    assert "unhealthy" in collapsed(nn.LayerNorm(16))
    assert "unhealthy" not in collapsed(nn.BatchNorm1d(16))


@pytest.mark.slow
def test_the_walk_is_the_deviation_over_draws_of_the_weights():
    x = torch.randn(32, 16, generator=torch.Generator().manual_seed(1))
    depth, draws = 40, 60
    ratios, walks = [], []
    for seed in range(draws):
        model = chain(depth, 16, seed)
        if seed < 8:
            walks.append(walk_verdicts(Findings(probe(model, x)))[0].measured)
        # by plain autograd: ‖∂L/∂z‖ times the deviation of z over the units, at the first layer and at the last one
        kept, h = [], x
        for linear, norm, phi in list(model)[:-1]:
            z = linear(h)
            z.retain_grad()
            kept.append(z)
            h = phi(norm(z))
        direction = torch.randn(32, 4, generator=torch.Generator().manual_seed(seed))
        (model[-1](h) * direction).sum().backward()
        first, last = (
            float((z.grad.norm() * z.detach().square().mean().sqrt()).log()) for z in (kept[0], kept[-1])
        )
        ratios.append(first - last)
    ratios, walks = torch.tensor(ratios), torch.tensor(walks)
    # a deviation from n draws has its own over √(2(n − 1)) as its error
    seen, error = float(ratios.std()), float(ratios.std()) / math.sqrt(2 * (draws - 1))
    mean, spread = float(walks.mean()), float(walks.std()) / math.sqrt(len(walks))
    assert abs(seen - mean) < 4 * math.hypot(error, spread)


class Shared(nn.Module):
    """A branch that adds nearly the same to every sample."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.first, self.last = (
            nn.RMSNorm(width), nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        )  # fmt: skip
        nn.init.orthogonal_(self.first.weight, 0.25)
        nn.init.orthogonal_(self.last.weight, 2.0)

    def forward(self, x):
        return x + self.last(torch.sigmoid(self.first(self.norm(x))))


def test_samples_that_become_alike_on_a_stream_that_keeps_their_differences_are_a_warning():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(32, 16), *[Shared(16) for _ in range(16)], nn.RMSNorm(16), nn.Linear(16, 10)
    )
    found = firstlight.audit(model, torch.randn(64, 32), optimiser="sgd")
    verdict = next(v for v in found.verdicts if v.code == "ordered")
    rows = found.profile.select("residual")
    apart = rows["q"] * (1 - rows["correlation"])
    # beyond the line of a chain, and nothing that tells samples apart is lost
    assert found.profile.select("weight")["correlation"][-2] > 0.999
    assert 0.5 < apart[-1] / apart[0] < 2
    assert verdict.severity == "warning"
    assert f"behind the first sum and {apart[-1]:.3g} behind the last" in verdict.evidence
    # the rank falls for the same reason
    assert {v.code: v.severity for v in found.verdicts}.get("rank-collapse") in ("warning", None)


class Neighbours(nn.Module):
    """x + φ(W mean of the neighbours' x), a residual network on a graph that is given."""

    def __init__(self, layers):
        super().__init__()
        self.i, self.o = nn.Linear(32, 64), nn.Linear(64, 5)
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(layers))

    def forward(self, x, graph):
        x = torch.relu(self.i(x))
        for layer in self.layers:
            x = x + torch.relu(layer(graph @ x))
        return self.o(x)


def test_neighbours_and_no_single_layer_bring_the_nodes_of_a_residual_network_together():
    """Measured, 200 steps at the best of five rates, each node's own class: Adam ends at .02; a guess has 1.61."""
    torch.manual_seed(0)
    graph = (torch.rand(200, 200) < 0.05).float()
    graph = ((graph + graph.T) > 0).float().fill_diagonal_(1)
    root = graph.sum(1).rsqrt()
    x = torch.randn(200, 32)
    found = firstlight.audit(Neighbours(16), (x, root[:, None] * graph * root), x[:, :5].argmax(1))
    evidence = {v.code: v.evidence for v in found.verdicts}
    assert "unhealthy" not in {v.severity for v in found.verdicts}
    assert "alone" not in evidence["ordered"]
    assert "The residual stream keeps the size of it" in evidence["rank-collapse"]
