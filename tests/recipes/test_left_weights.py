"""Which weights a recipe writes once, and which it leaves with a reason: tied, bare, frozen, quantised, computed."""

import copy
from contextlib import nullcontext

import pytest
import torch
from tests.recipes.networks import bits, seeded, tanh_chain
from torch import nn
from torch.nn.utils import parametrizations, prune

import firstlight
from firstlight.errors import DomainError


def test_tied_weights_are_written_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.mix = nn.Embedding(500, 64), nn.Linear(64, 64)
            self.head = nn.Linear(64, 500, bias=False)
            self.head.weight = self.table.weight

        def forward(self, x):
            return self.head(torch.tanh(self.mix(self.table(x))))

    net = Tied()
    done = firstlight.initialise_(net, "lecun", generator=seeded())
    assert net.head.weight is net.table.weight
    assert [line.name for line in done.lines] == ["table.weight", "mix.weight", "mix.bias"]
    assert any(left.name == "head.weight" and "shares" in left.reason for left in done.left)
    # the head multiplies by it: 1/64, not the 1 of a table
    assert float(net.table.weight.detach().square().mean()) == pytest.approx(1 / 64, rel=0.05)
    firstlight.initialise_(net, "critical", torch.randint(0, 500, (4, 6)), generator=seeded())
    assert float(net.table.weight.detach().square().mean()) < 3 / 64


def test_a_table_that_is_the_head_is_never_zero():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.a, self.b = nn.Embedding(50, 32), nn.Linear(32, 32), nn.Linear(32, 32)
            self.head = nn.Linear(32, 50, bias=False)
            self.head.weight = self.table.weight

        def forward(self, x):
            z = self.table(x)
            return self.head(z + self.b(torch.relu(self.a(z))))

    for word in ("fixup", "zero", "idinit"):
        net = Tied()
        firstlight.initialise_(
            net, word, torch.randint(0, 50, (4, 6), generator=seeded()), generator=seeded()
        )
        assert bool(net.table.weight.any())


def test_bare_parameters_are_written_where_a_product_uses_them():
    class Loose(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.matrix = nn.Parameter(torch.zeros(1, 4, 32)), nn.Parameter(torch.ones(32, 16))
            self.head = nn.Linear(16, 4)

        def forward(self, x):
            return self.head(torch.tanh((x + self.token) @ self.matrix))

    net, x = Loose(), torch.randn(8, 4, 32, generator=seeded())
    done = firstlight.initialise_(net, "lecun", generator=seeded())
    assert {left.name for left in done.left} == {"token", "matrix"}
    done = firstlight.initialise_(net, "lecun", x, generator=seeded())
    assert not bool(net.token.any())
    squares = net.matrix.detach().double().square().flatten()
    assert abs(float((squares.mean() - 1 / 32) / (squares.std() / len(squares) ** 0.5))) < 5
    assert "no matrix product" in next(left.reason for left in done.left if left.name == "token")


def test_learning_rates_reach_a_compiled_model():
    net = tanh_chain()
    wrapped = torch.compile(net)
    done = firstlight.initialise_(wrapped, "spectral", generator=seeded())
    rates = sorted(group["lr"] for group in done.parameter_groups(wrapped, 1.0))
    assert rates == sorted(group["lr"] for group in done.parameter_groups(net, 1.0))
    assert len(rates) > 1


def test_frozen_and_integer_weights_are_left():
    net = tanh_chain()
    net[0].weight.requires_grad_(False)
    net[2].bias.requires_grad_(False)
    net[4].weight = nn.Parameter(torch.ones(10, 64, dtype=torch.int8), requires_grad=False)
    before = bits(net)
    done = firstlight.initialise_(net, "he", generator=seeded())
    reasons = {left.name: left.reason for left in done.left}
    assert "frozen" in reasons["0.weight"]
    assert "quantised" in reasons["4.weight"]
    assert [line.name for line in done.lines] == ["2.weight"]
    assert torch.equal(net[2].bias, before["2.bias"])
    assert torch.equal(net[4].weight, before["4.weight"])


@pytest.mark.filterwarnings("ignore:.*deprecated:UserWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_quantised_modules_are_left():
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
    small = torch.ao.nn.quantized.dynamic.Linear(64, 8)
    net[2] = small
    done = firstlight.initialise_(net, "he", generator=seeded())
    assert [line.name for line in done.lines] == ["0.weight", "0.bias"]
    assert any("quantised" in left.reason for left in done.left)


@pytest.mark.parametrize("old", [False, True])
def test_weight_norm_holds_what_was_written(old):
    net = tanh_chain()
    plain = copy.deepcopy(net)
    with pytest.warns(FutureWarning) if old else nullcontext():
        (nn.utils.weight_norm if old else parametrizations.weight_norm)(net[2])
    net(torch.zeros(1, 64))
    firstlight.initialise_(net, "he", generator=seeded())
    firstlight.initialise_(plain, "he", generator=seeded())
    net(torch.zeros(1, 64))  # the old kind computes its weight before a forward
    torch.testing.assert_close(net[2].weight.detach(), plain[2].weight.detach(), rtol=1e-5, atol=1e-7)


def test_parametrisations_that_cannot_hold_a_value_are_left():
    net = tanh_chain()
    parametrizations.spectral_norm(net[2])
    prune.l1_unstructured(net[4], "weight", 0.5)
    before = bits(net)
    done = firstlight.initialise_(net, "he", generator=seeded())
    reasons = {left.name: left.reason for left in done.left}
    assert "parametrisation" in reasons["2.weight"]
    assert "pruned" in reasons["4.weight"]
    after = bits(net)
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith(("2.", "4.")))


def test_orthogonal_parametrisation_takes_orthogonal_weights_alone():
    net = tanh_chain()
    parametrizations.orthogonal(net[2])
    done = firstlight.initialise_(net, "he", generator=seeded())
    assert any(left.name == "2.weight" for left in done.left)
    done = firstlight.initialise_(net, "orthogonal(gain=1.0)", generator=seeded())
    assert not any(left.name == "2.weight" for left in done.left)
    torch.testing.assert_close(net[2].weight @ net[2].weight.T, torch.eye(64), atol=1e-5, rtol=0)


def test_meta_and_lazy_weights_are_refused_with_the_reason():
    with torch.device("meta"):
        net = tanh_chain()
    with pytest.raises(DomainError, match="to_empty"):
        firstlight.initialise_(net, "he")
    with pytest.raises(DomainError, match="run one batch first"):
        firstlight.initialise_(nn.Sequential(nn.LazyLinear(8)), "he")


def test_adapters_keep_their_zero_factor():
    class Adapted(nn.Module):
        """A frozen layer with a low-rank adapter, under names of its own."""

        def __init__(self):
            super().__init__()
            self.base = nn.Linear(64, 64).requires_grad_(False)
            self.down, self.up = nn.Linear(64, 4, bias=False), nn.Linear(4, 64, bias=False)
            nn.init.zeros_(self.up.weight)

        def forward(self, x):
            return self.base(x) + self.up(self.down(x))

    class Headed(Adapted):
        """With a head of as few units as the adapter has."""

        def __init__(self):
            super().__init__()
            self.head = nn.Linear(64, 4)

        def forward(self, x):
            return self.head(torch.relu(super().forward(x)))

    done = firstlight.initialise_(Headed(), "he", torch.randn(8, 64), generator=seeded())
    assert sorted(line.name for line in done.lines) == ["head.bias", "head.weight"]
    net = nn.Sequential(Adapted(), nn.Tanh(), nn.Linear(64, 10))
    before = bits(net)
    done = firstlight.initialise_(net, "critical", torch.randn(8, 64), generator=seeded())
    assert sorted(line.name for line in done.lines) == ["2.bias", "2.weight"]
    assert torch.equal(net[0].up.weight, before["0.up.weight"])
    assert sum("adapter" in left.reason for left in done.left) == 2


def test_fresh_low_rank_layers_are_written():
    """A bottleneck in a fresh network is no adapter: nothing beside it is frozen."""
    net = nn.Sequential(nn.Linear(64, 4), nn.Linear(4, 64), nn.Linear(64, 64))
    nn.init.zeros_(net[1].weight)
    assert len(firstlight.initialise_(net, "he", generator=seeded()).lines) == 6


def test_weights_that_share_a_part_of_their_memory_are_written_once_and_reverted_bit_for_bit():
    """A slice of another weight is left; slices beside each other are both written."""
    whole = torch.randn(16, 16)
    model = nn.Sequential(nn.Linear(16, 16, bias=False), nn.ReLU(), nn.Linear(16, 4, bias=False))
    model[0].weight.data, model[2].weight.data = whole, whole[:4]
    before = whole.clone()
    done = firstlight.initialise_(model, "he")
    assert [line.name for line in done.lines] == ["0.weight"]
    assert "memory with 0.weight" in {left.name: left.reason for left in done.left}["2.weight"]
    done.revert_()
    assert torch.equal(whole, before)
    model[0].weight.data, model[2].weight.data = whole[:, :8], whole[:4, 8:]
    model[0].in_features, model[2].in_features = 8, 8
    done = firstlight.initialise_(model, "he")
    assert len(done.lines) == 2
    done.revert_()
    assert torch.equal(whole, before)


def test_every_parameter_is_written_or_named():
    """Frozen biases, keys and values of attention without a layer, raw parameters of computed weights."""
    attention = nn.MultiheadAttention(8, 2, add_bias_kv=True)
    lin = nn.Linear(8, 8)
    lin.bias.requires_grad_(False)
    model = nn.ModuleDict({"a": attention, "b": lin, "c": parametrizations.spectral_norm(nn.Linear(8, 8))})
    done = firstlight.initialise_(model, "he")
    reasons = {left.name: left.reason for left in done.left}
    assert reasons["b.bias"] == "it is frozen"
    assert "no value" in reasons["a.bias_k"]
    assert "weight of its layer is left" in reasons["c.bias"]
    named = {line.name for line in done.lines} | set(reasons)
    plain = {
        n.replace("parametrizations.", "").removesuffix(".original") for n, _ in model.named_parameters()
    }
    assert plain <= named


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.parametrize("recipe", ["torch-default", "idinit", "orthogonal", "weight-scale"])
def test_weights_without_entries_are_left(recipe):
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 0))
    done = firstlight.initialise_(model, recipe, torch.randn(4, 8))
    assert "no entries" in {left.name: left.reason for left in done.left}["2.weight"]
