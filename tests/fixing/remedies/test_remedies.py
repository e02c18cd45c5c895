"""Each remedy by itself: what it writes, that theory holds afterwards, and where it keeps its hands off."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import firstlight
from firstlight import activations
from firstlight.builders import mlp
from firstlight.fixing import remedies
from firstlight.fixing.remedies._writing import write_normal
from firstlight.probe import probe

SEED = 3


def generator():
    return torch.Generator().manual_seed(SEED)


def chain(activation, *, depth=12, width=64, sigma_w=1.3):
    return mlp(
        32,
        10,
        depth=depth,
        width=width,
        activation=activation,
        sigma_w=sigma_w,
        sigma_b=0.2,
        generator=generator(),
    )


def inputs(count=48, features=32):
    return torch.randn(count, features, generator=generator())


def applied(remedy, net, x):
    profile = probe(net, x).profile
    with torch.no_grad():
        changes = remedy(net, profile, generator())
    return changes, probe(net, x).profile


def test_sites_name_what_each_weight_reads():
    net = nn.Sequential(
        nn.Linear(32, 16), nn.LeakyReLU(0.3), nn.Linear(16, 16), nn.LayerNorm(16), nn.Linear(16, 2)
    )
    found = remedies.sites(net, probe(net, inputs()).profile).found
    assert [s.name for s in found] == ["0", "2", "4"]
    assert [s.reads for s in found] == ["input", "activation", "norm"]
    # the module's own slope, not the operation's default
    assert float(found[1].phi(torch.tensor([-1.0], dtype=torch.float64))[0]) == pytest.approx(-0.3)
    assert found[0].q_in == pytest.approx(float(inputs().square().mean()), rel=1e-5)


def test_what_cannot_be_written_is_named():
    shared = nn.Linear(32, 32)
    frozen = nn.Linear(32, 32).requires_grad_(False)
    rotation = nn.utils.parametrizations.orthogonal(nn.Linear(32, 32))
    net = nn.Sequential(shared, nn.Tanh(), frozen, nn.Tanh(), rotation, nn.Tanh(), shared)
    found = remedies.sites(net, probe(net, inputs()).profile)
    assert [s.name for s in found.found] == ["0"]
    assert sorted(found.left) == ["2: its weight is frozen", "4: its weight is computed, and cannot be set"]


class Products(nn.Module):
    """A layer of functions of one variable each, as in a Kolmogorov–Arnold network: φ(x_i) times a weight, summed."""

    def __init__(self):
        super().__init__()
        self.base, self.gain = nn.Parameter(torch.randn(32, 8)), nn.Parameter(torch.ones(8))

    def forward(self, x):
        return self.gain * (self.base * torch.sigmoid(x).unsqueeze(-1)).sum(1)


def test_weights_that_multiply_entry_by_entry_are_named():
    net = nn.Sequential(Products(), nn.Linear(8, 4))
    found = remedies.sites(net, probe(net, inputs()).profile)
    assert [s.name for s in found.found] == ["1"]
    assert found.left == (
        "0.base: it multiplies entry by entry, and no remedy knows the scale of such weights",
    )


def test_attention_projections_are_found_under_their_own_names():
    net = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    found = remedies.sites(net, probe(net, torch.randn(4, 5, 16, generator=generator())).profile).found
    assert "self_attn.in_proj" in [s.name for s in found]


@pytest.mark.parametrize("name", ["tanh", "gelu", "silu", "elu", "sigmoid", "softplus", "relu"])
def test_critical_scales_lie_on_the_edge(name):
    sigma_w, sigma_b, q = remedies.critical_scales(activations.get(name), 40)
    moments = activations.moments(activations.get(name), q)
    assert sigma_w**2 * float(moments.slope) == pytest.approx(1.0, rel=1e-9)
    if name != "softplus":  # whose edge has no stable point: gradients alone are kept
        assert sigma_w**2 * float(moments.second) + sigma_b**2 == pytest.approx(q, rel=1e-9)


def test_an_activation_with_a_jump_has_no_edge_and_keeps_its_second_moment():
    step = activations.get("sign")
    assert remedies.critical_scales(step) == (pytest.approx(1.0), 0.0, 1.0)
    assert remedies.critical_scales(None) == (1.0, 0.0, 1.0)


def test_critical_keeps_the_direction_of_the_weights():
    net = chain("tanh")
    before = net.fc3.weight.detach().clone()
    changes, after = applied(remedies.critical, net, inputs())
    ratio = net.fc3.weight.detach() / before
    assert float(ratio.std()) < 1e-5 * float(ratio.mean())
    assert abs(float(np.nanmean(after["chi"][2:])) - 1) < 0.1
    assert any("bias Gaussian" in line for line in changes)


def test_looks_linear_is_a_linear_map():
    net = chain("relu")
    changes, profile = applied(remedies.looks_linear, net, inputs())
    assert len(changes) == 13
    x, y = inputs(), inputs().flip(0)
    assert torch.allclose(net(x + 2 * y), net(x) + 2 * net(y), atol=1e-4)
    rows = profile.select("weight")
    assert abs(float(rows["log_grad"][0] - rows["log_grad"][-2])) < 0.5
    assert abs(float(rows["correlation"][-1] - rows["correlation"][0])) < 0.1


@pytest.mark.parametrize("phi", [nn.LeakyReLU(0.2), nn.GELU(), nn.SiLU(), nn.Hardswish(), nn.Softplus()])
def test_looks_linear_is_a_linear_map_for_activations_whose_mirrored_units_carry_their_input(phi):
    net = nn.Sequential(*(m for _ in range(6) for m in (nn.Linear(32, 32), phi)), nn.Linear(32, 5))
    changes, _ = applied(remedies.looks_linear, net, inputs())
    assert len(changes) == 7
    x, y = inputs().double(), inputs().flip(0).double()
    net.double()
    # exact but for the float32 in which the weights were written, and their sums over seven layers
    torch.testing.assert_close(net(x + 2 * y), net(x) + 2 * net(y), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.BatchNorm1d, lambda width: nn.GroupNorm(2, width)])
def test_looks_linear_keeps_mirrored_units_through_normalisers(norm):
    net = nn.Sequential(
        *(m for _ in range(4) for m in (nn.Linear(32, 32), norm(32), nn.ReLU())), nn.Linear(32, 5)
    )
    assert len(applied(remedies.looks_linear, net, inputs())[0]) == 5
    # the network without its activations, in which a half of the units carries u as u₊ − u₋
    x = half = inputs()
    for index in range(0, 12, 3):
        weight = net[index].weight.detach()
        reads = weight[:16, :16] if index else weight[:16]
        z = F.linear(half, reads)
        half = net[index + 1](torch.cat([z, -z], 1))[:, :16]
    torch.testing.assert_close(net(x), F.linear(half, net[12].weight[:, :16]), rtol=1e-3, atol=1e-4)


def test_looks_linear_goes_through_convolutions_and_a_flattened_image():
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * 36, 5),
    )  # fmt: skip
    x = torch.randn(8, 3, 6, 6, generator=generator())
    changes, _ = applied(remedies.looks_linear, net, x)
    assert len(changes) == 3
    assert torch.allclose(net(x) + net(-x), torch.zeros(8, 5), atol=1e-5)


@pytest.mark.parametrize(
    "net",
    [
        chain("tanh"),
        chain("relu", width=63),
        nn.Sequential(
            *(m for _ in range(3) for m in (nn.LayerNorm(32), nn.Linear(32, 32), nn.ReLU())), nn.Linear(32, 2)
        ),
    ],
    ids=["not linear in pairs", "odd width", "normalised inputs"],
)
def test_looks_linear_leaves_other_networks_alone(net):
    before = [p.detach().clone() for p in net.parameters()]
    changes, _ = applied(remedies.looks_linear, net, inputs())
    assert changes == []
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize("name", ["tanh", "gelu", "silu", "sigmoid", "softplus"])
def test_small_signals_keep_size_and_gradient(name):
    net = chain(name, depth=30)
    changes, profile = applied(remedies.small_signals, net, inputs())
    assert changes
    rows = profile.select("weight")
    q, log_grad = rows["q"][:-1], rows["log_grad"][:-1]
    assert q.max() / q.min() < 2.5
    assert log_grad.max() - log_grad.min() < 1.0
    assert rows["q"][-1] == pytest.approx(1.0, rel=0.5)


@pytest.mark.parametrize("name", ["relu", "sign"])
def test_small_signals_need_a_slope_at_zero(name):
    net = chain(activations.get(name) if name == "sign" else name)
    changes, _ = applied(remedies.small_signals, net, inputs())
    assert changes == []


class Block(nn.Module):
    def __init__(self, width, project=False):
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)
        self.project = nn.Linear(width, width) if project else None
        for layer in (self.a, self.b):
            nn.init.kaiming_normal_(layer.weight, generator=generator())

    def forward(self, x):
        branch = self.b(torch.relu(self.a(x)))
        return branch + (x if self.project is None else self.project(x))


def test_branches_are_scaled_and_projections_are_not():
    net = nn.Sequential(nn.Linear(32, 32), *[Block(32, project=i == 1) for i in range(4)])
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    changes, _ = applied(remedies.scaled_branches, net, inputs())
    assert [line.split(":")[0] for line in changes] == ["1.b", "2.b", "3.b", "4.b"]
    for name, parameter in net.named_parameters():
        factor = 0.5 if ".b." in name else 1.0
        assert torch.allclose(parameter, before[name] * factor)


def test_layer_sequential_scaling_reaches_one_in_one_forward():
    net = chain("softsign")
    x = inputs()
    profile = probe(net, x).profile
    calls = []

    def forward(model):
        calls.append(1)
        model(x)

    with torch.no_grad():
        changes = remedies.layer_sequential(net, profile, generator(), forward)
    assert len(calls) == 1
    assert len(changes) == 13
    assert probe(net, x).profile.select("weight")["q"] == pytest.approx([1.0] * 13, rel=1e-3)
    assert not any(module._forward_hooks for module in net.modules())


def test_measured_slope_uses_what_the_audit_saw():
    net = chain("tanh", sigma_w=1.8)
    profile = probe(net, inputs()).profile
    known = profile["chi"][[i for i in range(len(profile)) if profile["name"][i] == "fc4"]]
    before = net.fc5.weight.detach().clone()
    with torch.no_grad():
        remedies.measured_slope(net, profile, generator())
    assert torch.allclose(net.fc5.weight, before / math.sqrt(float(known[0])))


def test_redraw_writes_faulty_weights_only():
    net = chain("relu")
    nn.init.constant_(net.fc2.weight, 0.1)
    nn.init.constant_(net.fc3.weight, math.nan)
    before = net.fc4.weight.detach().clone()
    changes, after = applied(remedies.redraw, net, inputs())
    assert [line.split(":")[0] for line in changes] == ["fc2", "fc3"]
    assert torch.equal(net.fc4.weight, before)
    scale = after["sigma_w"][[i for i in range(len(after)) if after["name"][i] in ("fc2", "fc3")]]
    assert scale == pytest.approx([math.sqrt(2)] * 2, rel=0.05)


def test_zeros_at_the_end_of_a_branch_are_meant():
    net = nn.Sequential(nn.Linear(32, 32), Block(32), Block(32))
    nn.init.zeros_(net[1].b.weight)
    changes, _ = applied(remedies.redraw, net, inputs())
    assert changes == []


def test_depthwise_kernels_are_not_made_orthogonal():
    net = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.Conv2d(8, 4, 1))
    changes, _ = applied(remedies.orthogonal, net, torch.randn(8, 8, 6, 6, generator=generator()))
    assert "groups" in changes[0]
    assert int((net[0].weight != 0).sum()) == net[0].weight.numel()


def test_every_remedy_is_for_a_verdict_of_the_catalogue():
    known = set(firstlight.diagnosis.EXPLANATIONS)
    for remedy in remedies.REMEDIES:
        assert remedy.codes <= known
        assert remedy.source
        assert remedy.summary
    # what no remedy is for is the user's to change: data, tied weights, models that cannot run or be seen
    without = known - frozenset().union(*(r.codes for r in remedies.REMEDIES))
    assert without == {
        *("healthy", "never-initialised", "unused-parameters"),
        *("same-inputs", "not-judged", "target-scale"),
        *("constant-loss", "cut-gradients", "step-function", "one-unit-softmax", "one-entry-norm"),
        *("broadcast-loss", "loss-scale", "softmax-over-samples", "squashed-logits"),
        *("unregistered-parameters", "softmax-axis", "shared-layers", "linear-network", "mixed-samples"),
        *("unbounded-loss", "unreachable-targets", "frozen-model", "heavy-dropout", "drowned-tokens"),
    }


@pytest.mark.parametrize("remedy", remedies.REMEDIES, ids=lambda remedy: remedy.name)
def test_each_remedy_works_outside_no_grad(remedy):
    torch.manual_seed(0)
    smooth = remedy.name == "small-signals"
    normed = remedy.name in ("isometric-batch-norm", "unit-gains")
    phi = nn.Tanh if smooth else nn.ReLU
    norm = nn.BatchNorm1d if normed else nn.Identity
    layers = [layer for _ in range(5) for layer in (nn.Linear(16, 16), norm(16), phi())]
    body = nn.Sequential(*layers, nn.Linear(16, 16))
    nn.init.ones_(body[0].weight)
    if remedy.name == "zero-biases":
        nn.init.constant_(body[3].bias, -5.0)
    factor = {"in-line": (3, 30.0), "small-readout": (-1, 1e3), "unit-gains": (4, 0.0)}.get(remedy.name)
    if factor is not None:
        with torch.no_grad():
            body[factor[0]].weight.mul_(factor[1])
    if remedy.name == "unlike-copies":
        body[6].load_state_dict(body[3].state_dict())
    model = Sum(body) if remedy.name == "scaled-branches" else body
    if remedy.name == "orthogonal-memory":
        model = Steps(body)
    x = torch.randn(32, 16)
    if remedy.name == "drawn-embeddings":
        model = nn.Sequential(nn.Embedding(9, 16), body)
        nn.init.zeros_(model[0].weight)
        x = torch.randint(0, 9, (32,))
    profile = firstlight.audit(model, x).profile
    assert torch.is_grad_enabled()
    changes = remedy.apply(model, profile, torch.Generator().manual_seed(0), lambda net: net(x))
    assert changes
    assert all(p.is_leaf and p.requires_grad for p in model.parameters())
    model(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_recurrent_layers_remember(kind):
    torch.manual_seed(0)
    model = nn.ModuleDict({"memory": kind(4, 32, batch_first=True, num_layers=2)})
    changes = remedies.remember(model, probe(nn.Linear(4, 4), torch.randn(8, 4)).profile, generator())
    assert len(changes) == 1
    for layer in range(2):
        for block in getattr(model["memory"], f"weight_hh_l{layer}").split(32):
            assert torch.allclose(block @ block.T, torch.eye(32), atol=1e-5)  # float32 of a float64 draw
    forget = (
        model["memory"].bias_ih_l0[32:64] + model["memory"].bias_hh_l0[32:64] if kind is nn.LSTM else None
    )
    assert forget is None or bool((forget == 1).all())
    frozen = kind(4, 32).requires_grad_(False)
    assert remedies.remember(frozen, probe(nn.Linear(4, 4), torch.randn(8, 4)).profile, generator()) == []


class Steps(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.memory, self.body = nn.LSTM(4, 16, batch_first=True), body

    def forward(self, x):
        return self.body(self.memory(x.view(-1, 4, 4))[0][:, -1])


class Sum(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return x + self.body(x)


def test_transposed_convolutions_are_drawn_with_their_own_fan_in():
    """A decoder that vanishes is brought to the edge, and the variance of its outputs is σ_w² of white noise."""
    torch.manual_seed(0)
    decoder = nn.Sequential(
        *(nn.ConvTranspose2d(16, 16, 4, stride=2, padding=1), nn.Tanh()),
        *(nn.ConvTranspose2d(16, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 8, 3, padding=1)),
    )
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(0.02)
    x = torch.randn(16, 16, 8, 8)
    assert not firstlight.audit(decoder, x).healthy
    fixed = firstlight.fix(decoder, x)
    assert fixed.after.healthy
    assert not torch.equal(fixed.model[0].weight, decoder[0].weight)
    found = remedies.sites(decoder, probe(decoder, x).profile)
    assert (found.left, [s.fan_in for s in found.found]) == ((), [64, 144, 72])
    draws = generator()
    for site in found.found:
        write_normal(site, 1.5, draws)
    noise = torch.randn(64, 16, 12, 12, generator=draws)
    for layer in (decoder[0], decoder[2]):
        inner = torch.nn.functional.conv_transpose2d(noise, layer.weight, None, layer.stride, layer.padding)
        # 2048 or 2304 weights of variance σ_w²/fan-in: their sum of squares spreads by √(2/2048) = 3 %; five of them
        assert inner[..., 2:-2, 2:-2].var().item() == pytest.approx(1.5**2, rel=0.16)
