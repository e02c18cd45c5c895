"""Paths: what is said of ∂L/∂W along a role is the norm over that of the weight, by a plain backward pass."""

import itertools
import math

import pytest
import torch
from torch import nn

import firstlight
from firstlight.diagnosis.findings import Findings
from firstlight.diagnosis.rules._paths import paths, starved
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


class Two(nn.Module):
    """Two paths, the second times a factor, that meet in a sum or side by side."""

    def __init__(self, factor, *, beside=True):
        super().__init__()
        self.a, self.b = (
            nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU()) for _ in "ab"
        )
        self.o, self.factor, self.beside = nn.Linear(64 if beside else 32, 4), factor, beside

    def forward(self, x):
        a, b = self.a(x), self.factor * self.b(x)
        return self.o(torch.cat([a, b], 1) if self.beside else a + b)


@pytest.mark.parametrize("beside", [True, False])
def test_a_constant_that_keeps_a_path_out(beside):
    torch.manual_seed(0)
    x, y = torch.randn(64, 16), torch.randint(0, 4, (64,))

    def told(factor, optimiser=None):
        torch.manual_seed(1)
        verdicts = firstlight.audit(Two(factor, beside=beside), x, targets=y, optimiser=optimiser).verdicts
        return {v.code: v.severity for v in verdicts}.get("starved-path")

    assert told(1.0) is None
    assert told(0.1) is None
    assert told(1e-3) == "unhealthy"
    assert (told(1e-3, "adam"), told(1e-7, "adam")) == ("warning", "unhealthy")
    # a factor that is learned grows by itself
    assert told(nn.Parameter(torch.tensor(1e-7))) is None


def test_the_share_of_a_starved_path_is_that_of_plain_gradients():
    torch.manual_seed(0)
    model, x = Two(1e-5), torch.randn(64, 16)

    def loss(output, _):
        return output.square().mean()

    path = starved(Findings(probe(model, x, loss=loss)))
    assert path is not None
    loss(model(x), None).backward()
    ratio = [float((s[2].weight.grad.norm() / s[2].weight.detach().norm()).log()) for s in (model.a, model.b)]
    # the smaller of two distances: that of ∂L/∂W beside the weight is one of them
    assert math.log(1e4) < path.less <= ratio[0] - ratio[1] + 1e-4


class Branch(nn.Module):
    """x + last(φ(first(x)))."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(16, 16), nn.Linear(16, 16, bias=False)

    def forward(self, x):
        return x + self.last(torch.relu(self.first(x)))


@pytest.mark.parametrize("factor", [1e-2, 1e-4])
def test_a_small_layer_inside_a_branch_starves_no_path(factor):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), *[Branch() for _ in range(6)], nn.Linear(16, 4))
    with torch.no_grad():
        model[3].first.weight.mul_(factor)
        model[3].first.bias.zero_()
    # the small layer itself gets a gradient of the usual size, so that its branch grows
    audit = firstlight.audit(model, torch.randn(64, 16), targets=torch.randint(0, 4, (64,)))
    assert "starved-path" not in {v.code for v in audit.verdicts}


def codes(model, x, classes=10):
    y = torch.arange(len(x)) % classes
    return {v.code: v.severity for v in firstlight.audit(model, x, targets=y).verdicts}


class Mixture(nn.Module):
    """Experts that start as copies of one layer, weighed by a softmax, or each with its part of the samples."""

    def __init__(self, *, parts=False):
        super().__init__()
        self.gate, self.parts = nn.Linear(32, 4), parts
        self.experts = nn.ModuleList(nn.Linear(32, 32) for _ in range(4))
        for expert in () if parts else self.experts:
            expert.load_state_dict(self.experts[0].state_dict())
        self.o = nn.Linear(32, 10)

    def forward(self, x):
        share = self.gate(x).softmax(-1)
        if not self.parts:
            return self.o(sum(share[:, i : i + 1] * torch.relu(e(x)) for i, e in enumerate(self.experts)))
        out = torch.zeros_like(x)
        for expert, rows in zip(self.experts, torch.arange(len(x)).split([2, 4, 28, len(x) - 34])):
            out = out.index_add(0, rows, torch.relu(expert(x[rows])))
        return self.o(out)


# Measured (digits, 64 wide, 200 steps): both kinds end at .002 by gradient descent and below 10⁻⁴ by Adam.
@pytest.mark.parametrize("parts", [False, True])
def test_what_decides_between_copies_and_an_expert_of_few_samples_are_not_starved(parts):
    torch.manual_seed(0)
    found = codes(Mixture(parts=parts), torch.randn(256, 32))
    assert "unhealthy" not in found.values()
    assert ("copied-layers" in found) is not parts


class Highway(nn.Module):
    """Layers beside gates, with or without the way that carries x past them."""

    def __init__(self, bias, *, carry=True):
        super().__init__()
        self.carry, self.e, self.o = carry, nn.Linear(32, 32), nn.Linear(32, 10)
        self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(6))
        self.gates = nn.ModuleList(nn.Linear(32, 32) for _ in range(6))
        for gate in self.gates:
            nn.init.constant_(gate.bias, bias)

    def forward(self, x):
        x = torch.tanh(self.e(x))
        for layer, gate in zip(self.layers, self.gates):
            g = torch.sigmoid(gate(x))
            x = g * torch.relu(layer(x)) + ((1 - g) * x if self.carry else 0 * g)
        return self.o(x)


def test_closed_gates_are_no_fault_beside_a_way_that_stays_open():
    torch.manual_seed(0)
    x = torch.randn(128, 32)
    found = codes(Highway(-12.0), x)
    # measured as above: .005 by gradient descent, below 10⁻⁴ by Adam
    assert found["saturation"] == "warning"
    assert "unhealthy" not in found.values()
    assert codes(Highway(-12.0, carry=False), x)["saturation"] == "unhealthy"


@pytest.mark.parametrize("choice", [True, False])
def test_infinities_that_a_choice_throws_away_are_a_warning(choice):
    torch.manual_seed(0)

    class Logs(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.o = nn.Linear(32, 32), nn.Linear(32, 10)

        def forward(self, x):
            z = torch.relu(self.a(x))
            return self.o(torch.where(z > 0, z.log(), torch.zeros_like(z)) if choice else z.log())

    # measured (digits, 200 steps): .35 by gradient descent, .05 by Adam with the choice
    found = codes(Logs(), torch.randn(128, 32))
    assert found["non-finite-activations"] == ("warning" if choice else "unhealthy")


class Saturated(nn.Module):
    """Layers of tanh with large weights, as branches of a stream or one behind another."""

    def __init__(self, *, skip):
        super().__init__()
        self.skip, self.e, self.o = skip, nn.Linear(32, 32), nn.Linear(32, 10)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32)) for _ in range(6)
        )
        for first, _, last in self.layers:
            nn.init.normal_(first.weight, std=10 / 32**0.5)
            nn.init.normal_(last.weight, std=(6 if skip else 1) ** -0.5 / 32**0.5)

    def forward(self, x):
        x = self.e(x)
        for layer in self.layers:
            x = x + layer(x) if self.skip else layer(x)
        return self.o(x)


@pytest.mark.parametrize(("skip", "severity"), [(True, "warning"), (False, "unhealthy")])
def test_saturated_branches_are_no_fault_where_a_stream_goes_around(skip, severity):
    torch.manual_seed(0)
    verdicts = firstlight.audit(Saturated(skip=skip), torch.randn(128, 32)).verdicts
    found = next(v for v in verdicts if v.code == "saturation")
    # twenty such blocks, measured: .15 by gradient descent with the stream, 2.2 without it
    assert found.severity == severity
    assert ("6 of them stand on branches" in found.evidence) is skip


class Mixer(nn.Module):
    """x + γ · layer(norm(half of x beside a mixed half)), with a small learned γ, as InceptionNeXt starts."""

    def __init__(self, gamma):
        super().__init__()
        self.mix, self.norm, self.layer = nn.Linear(16, 16), nn.BatchNorm1d(32), nn.Linear(32, 32)
        self.gamma = nn.Parameter(torch.full((32,), gamma))

    def forward(self, x):
        kept, mixed = x.chunk(2, 1)
        return x + self.gamma * self.layer(self.norm(torch.cat([kept, self.mix(mixed)], 1)))


def test_a_stream_that_goes_around_a_meeting_starves_nothing_there():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), *[Mixer(1e-6) for _ in range(3)], nn.Linear(32, 4))
    assert "starved-path" not in codes(model, torch.randn(64, 16), classes=4)
