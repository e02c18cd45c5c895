"""Weights that are equal, copied, shared, unused or of a scale of their own, and layers with nothing between them."""

import math

import pytest
import torch
from tests.diagnosis.severities import severities_of
from torch import nn

import firstlight


@pytest.mark.parametrize(
    ("spoil", "code", "severity"),
    [
        (lambda w: w.fill_(0.0), "zero-weights", "warning"),
        # the layer above is random, so the units get different gradients and part on the first step
        (lambda w: w.fill_(0.1), "constant-weights", "warning"),
        (lambda w: w[0].fill_(math.nan), "non-finite-weights", "unhealthy"),
    ],
)
@pytest.mark.parametrize("width", [32, 512])
def test_faults_of_weights(deep_mlp, digits, spoil, code, severity, width):
    net = deep_mlp(3, width, nn.Tanh, 1.2)
    assert code not in severities_of(firstlight.audit(net, digits))
    with torch.no_grad():
        spoil(net[2].weight)
    assert severities_of(firstlight.audit(net, digits))[code] == severity


@pytest.mark.parametrize("value", ["one", "copies"])
def test_units_that_are_equal_on_both_sides_stay_equal(deep_mlp, digits, value):
    net = deep_mlp(3, 32, nn.Tanh, 1.2)
    before, after = net[2], net[4]
    with torch.no_grad():
        before.bias.zero_()
        before.weight.copy_(before.weight[:1].expand_as(before.weight).clone())
        after.weight.copy_(after.weight[:, :1].expand_as(after.weight).clone())
        if value == "one":
            before.weight.fill_(0.1)
    code = "constant-weights" if value == "one" else "cloned-units"
    assert severities_of(firstlight.audit(net, digits))[code] == "unhealthy"


def test_copies_whose_gradients_differ_are_no_clones(digits):
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 16 * 4, 1)
    with torch.no_grad():  # the start of sub-pixel convolutions: copies go to different places
        conv.weight.copy_(conv.weight[:16].repeat_interleave(4, 0))
        conv.bias.zero_()
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.SiLU(), conv, nn.PixelShuffle(2), nn.Conv2d(16, 3, 3, padding=1)
    )
    assert "cloned-units" not in severities_of(firstlight.audit(net, digits[:16].view(16, 1, 8, 8)))


class LearnedQuery(nn.Module):
    """A pooling head: a learned query that is repeated over the batch meets the keys in a product."""

    def __init__(self):
        super().__init__()
        self.probe = nn.Parameter(torch.randn(1, 1, 32))
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.fc = nn.Linear(32, 10)

    def forward(self, x):
        return self.fc(self.attention(self.probe.repeat(len(x), 1, 1), x, x)[0][:, 0])


def test_a_learned_query_is_no_clone():
    torch.manual_seed(0)
    assert firstlight.audit(LearnedQuery(), torch.randn(16, 12, 32)).healthy


def test_a_stack_of_copies_is_a_warning():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
    stack = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    found = {v.code: v for v in firstlight.audit(stack, torch.randn(8, 6, 16)).verdicts}
    assert found["copied-layers"].severity == "warning"
    for inner in stack.layers:
        for p in inner.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)
    assert "copied-layers" not in severities_of(firstlight.audit(stack, torch.randn(8, 6, 16)))


def test_one_layer_in_several_places_is_a_warning():
    torch.manual_seed(0)
    layer = nn.Linear(16, 16)
    shared = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), *[layer, nn.Tanh()] * 3, nn.Linear(16, 4))
    found = {v.code: v for v in firstlight.audit(shared, torch.randn(32, 16)).verdicts}
    assert found["shared-layers"].severity == "warning"
    assert found["shared-layers"].layers == ("2", "4", "6")
    anew = nn.Sequential(*[m for _ in range(4) for m in (nn.Linear(16, 16), nn.Tanh())], nn.Linear(16, 4))
    assert "shared-layers" not in severities_of(firstlight.audit(anew, torch.randn(32, 16)))

    class Heads(nn.Module):
        """One head that reads every layer, as detectors have."""

        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
            self.heads = nn.ModuleList([nn.Linear(16, 4)] * 3)

        def forward(self, x):
            out = []
            for layer, head in zip(self.layers, self.heads):
                x = torch.tanh(layer(x))
                out.append(head(x))
            return torch.stack(out, 1)

    heads = severities_of(firstlight.audit(Heads(), torch.randn(32, 16)))
    assert heads.get("shared-layers") != "unhealthy"


@pytest.mark.parametrize(
    ("build", "linear"),
    [
        (lambda: nn.Sequential(nn.Linear(16, 64), nn.Linear(64, 64), nn.Linear(64, 4)), True),
        (
            lambda: nn.Sequential(nn.Linear(16, 64), nn.Dropout(0.1), nn.BatchNorm1d(64), nn.Linear(64, 4)),
            True,
        ),
        (lambda: nn.Sequential(nn.Linear(16, 64), nn.Hardshrink(), nn.Linear(64, 4)), False),
        (lambda: nn.Sequential(nn.Linear(16, 64), nn.MaxPool1d(2), nn.Linear(32, 4)), False),
        (lambda: nn.Sequential(nn.Linear(16, 64), nn.LayerNorm(64), nn.Linear(64, 4)), False),
        (lambda: nn.Sequential(nn.Linear(16, 2), nn.Linear(2, 16)), False),
        (lambda: nn.Linear(16, 4), False),
    ],
)
def test_layers_with_nothing_between_them_are_noted(build, linear):
    torch.manual_seed(0)
    result = firstlight.audit(build(), torch.randn(32, 16))
    assert result.healthy
    assert (severities_of(result).get("linear-network") == "note") is linear


def test_a_small_readout_and_a_router_make_no_gradient_vanish():
    """A detector's head of deviation .01 scales all that is below, as a head of zeros does, and grows by itself."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    for layer in net[::2]:
        nn.init.kaiming_normal_(layer.weight)
    nn.init.normal_(net[4].weight, std=1e-3)
    assert "vanishing-gradients" not in severities_of(firstlight.audit(net, torch.randn(64, 16)))
    # a small layer in the middle does
    nn.init.kaiming_normal_(net[4].weight)
    deep = nn.Sequential(*[m for _ in range(6) for m in (nn.Linear(16, 16), nn.Tanh())], nn.Linear(16, 4))
    for layer in deep[::2]:
        nn.init.normal_(layer.weight, std=0.03)
    assert severities_of(firstlight.audit(deep, torch.randn(64, 16)))["vanishing-gradients"] == "unhealthy"


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_a_first_and_a_last_layer_of_a_scale_of_their_own_are_no_part_of_a_role(digits, optimiser):
    """The recipe that takes signals down, passes them through nearly linear layers and brings them back trains."""
    net = nn.Sequential(*[m for _ in range(30) for m in (nn.Linear(64, 64), nn.Tanh())], nn.Linear(64, 10))
    generator = torch.Generator().manual_seed(0)
    firstlight.initialise_(net, "small-signals", digits[:64], generator=generator)
    found = severities_of(firstlight.audit(net, digits[:64], optimiser=optimiser))
    assert "exploding-gradients" not in found, found


def test_unused_parameters_are_named(digits):
    class Spare(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.spare = nn.Linear(64, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.used(x)

    result = firstlight.audit(Spare(), digits)
    note = next(v for v in result.verdicts if v.code == "unused-parameters")
    assert note.layers == ("spare.weight", "spare.bias")
    assert result.healthy
