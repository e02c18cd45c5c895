"""Starts that are small or large and train: short chains, streams, one-hot attention, embeddings, logits of cosines."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from tests.diagnosis.severities import severities
from torch import nn

import firstlight
from firstlight.diagnosis._saddle import leaves_from

LABELS = torch.arange(64) % 10


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def told(model, x, **how):
    found = severities(model, x, **how)
    return {code for code, severity in found.items() if severity == "unhealthy"}


def chain(hidden, change):
    sizes = [64, *[64] * hidden, 10]
    layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())][:-1]
    with torch.no_grad():
        for index, linear in enumerate(layers[::2]):
            change(index, linear)
    return nn.Sequential(*layers)


def small(std):
    def change(_, linear):
        linear.weight.normal_(0.0, std)
        linear.bias.zero_()

    return change


# trained on digits (250 steps, the best of three rates, a guess has 2.30): .05 and .6 by gradient descent with three
# layers of .01 and .0025, 2.3 with four of .01; .02 and .04 by Adam with four and five layers of .005, 2.3 with eight
@pytest.mark.parametrize(
    ("hidden", "std", "optimiser", "sick"),
    [
        (1, 1e-6, "sgd", False),
        (2, 0.01, "sgd", False),
        (2, 0.0025, "sgd", True),
        (3, 0.01, "sgd", True),
        (3, 0.005, "adam", False),
        (4, 0.005, "adam", False),
        (7, 0.005, "adam", True),
    ],
)
def test_a_short_chain_of_small_weights_is_left_in_time(hidden, std, optimiser, sick):
    model = chain(hidden, small(std))
    found = told(model, torch.randn(64, 64), targets=LABELS, optimiser=optimiser)
    assert ("vanishing-gradients" in found) is sick
    assert sick or not found


def test_the_line_of_a_short_chain_tends_to_that_of_a_deep_one():
    decades = [leaves_from(n) / math.log(10.0) for n in (3, 4, 5, 50)]
    assert decades == sorted(decades, reverse=True)
    assert decades[0] == pytest.approx(3.4)
    assert decades[-1] == pytest.approx(1.7, abs=0.05)


def test_three_of_four_small_layers_are_unhealthy_for_gradient_descent_alone():
    model = chain(3, lambda index, linear: linear.weight.mul_(0.01) if index < 3 else None)
    x = torch.randn(64, 64)
    assert not told(model, x, targets=LABELS, optimiser="adam")
    assert "vanishing-gradients" in told(model, x, targets=LABELS, optimiser="sgd")
    grave = [v for v in firstlight.audit(model, x, targets=LABELS).verdicts if v.severity == "unhealthy"]
    assert grave
    assert all("holds for plain gradient descent; adaptive" in v.evidence for v in grave)


class Blocks(nn.Module):
    """Blocks x + W₂ relu(W₁ x) on four times torch's start."""

    def __init__(self, count):
        super().__init__()
        self.i, self.o = nn.Linear(64, 64), nn.Linear(64, 10)
        self.b = nn.ModuleList(
            nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)) for _ in range(count)
        )
        for block in self.b:
            for linear in (block[0], block[2]):
                linear.weight.data.mul_(4.0)

    def forward(self, x):
        x = self.i(x)
        for block in self.b:
            x = x + block(x)
        return self.o(x)


# trained on digits: four blocks end at .06 and .00 by gradient descent and Adam, six diverge and end at .05, ten at 25
@pytest.mark.parametrize(
    ("count", "optimiser", "sick"), [(4, None, False), (6, "sgd", True), (10, "adam", True)]
)
def test_a_stream_of_large_blocks_fails_where_training_does(count, optimiser, sick):
    found = told(Blocks(count), torch.randn(64, 64), targets=LABELS, optimiser=optimiser)
    assert bool(found) is sick
    assert not sick or {"residual-growth", "exploding-gradients"} <= found


class Reads(nn.Module):
    """Blocks of one head over eight tokens, with a stream around the attention or without one."""

    def __init__(self, blocks, gain, *, stream):
        super().__init__()
        self.e, self.o, self.stream = nn.Embedding(40, 32), nn.Linear(32, 40), stream
        self.p = nn.Parameter(torch.randn(8, 32) / 2)
        self.b = nn.ModuleList(nn.ModuleList(nn.Linear(32, 32) for _ in range(4)) for _ in range(blocks))
        for q, k, _, _ in self.b:
            q.weight.data.mul_(gain)
            k.weight.data.mul_(gain)

    def forward(self, i):
        x = self.e(i) + self.p
        for q, k, v, o in self.b:
            y = F.layer_norm(x, (32,))
            weights = (q(y) @ k(y).transpose(1, 2) / 32**0.5).softmax(-1)
            x = o(weights @ v(y)) + (x if self.stream else 0.0)
        return self.o(x)


@pytest.mark.parametrize(
    ("blocks", "gain", "stream", "optimiser", "sick"),
    [
        (1, 8.0, True, None, False),
        (2, 30.0, True, "sgd", True),
        (2, 30.0, True, "adam", False),
        (1, 30.0, False, "adam", True),
    ],
)
def test_one_hot_attention_beside_a_stream_is_forgiven(blocks, gain, stream, optimiser, sick):
    tokens = torch.randint(0, 40, (32, 8))
    found = severities(
        Reads(blocks, gain, stream=stream),
        tokens,
        targets=tokens.roll(1, 1),
        loss=lambda o, t: F.cross_entropy(o.flatten(0, 1), t.flatten()),
        optimiser=optimiser,
    )
    assert found["one-hot-attention"] == ("unhealthy" if sick else "warning")


class Looked(nn.Module):
    def __init__(self, std, factor):
        super().__init__()
        self.e, self.a, self.b = nn.Embedding(40, 16), nn.Linear(64, 32), nn.Linear(32, 10)
        nn.init.normal_(self.e.weight, std=std)
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, i):
        return self.b(torch.relu(self.a(self.e(i).flatten(1))) * self.factor)


@pytest.mark.parametrize(
    ("std", "factor", "scale", "sick"),
    [(1e-4, 1.0, 1.0, False), (1.0, 1e-3, 1.0, False), (1.0, 1.0, 1e-4, True)],
)
def test_small_gradients_are_the_loss_s_where_the_outputs_get_small_ones(std, factor, scale, sick):
    tokens = torch.randint(0, 40, (64, 4))
    found = told(
        Looked(std, factor),
        tokens,
        targets=LABELS,
        loss=lambda o, t: scale * F.cross_entropy(o, t),
        optimiser="sgd",
    )
    assert ("loss-scale" in found) is sick


def test_cosines_times_a_thousand_train_and_are_a_warning():
    class Pairs(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = (
                nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 32)) for _ in range(2)
            )

        def forward(self, x, y):
            return 1000.0 * F.normalize(self.a(x), dim=1) @ F.normalize(self.b(y), dim=1).T

    found = severities(
        Pairs(),
        (torch.randn(64, 16), torch.randn(64, 16)),
        targets=torch.arange(64),
        loss=lambda o, t: F.cross_entropy(o, t) + F.cross_entropy(o.T, t),
    )
    assert found["logit-scale"] == "warning"
