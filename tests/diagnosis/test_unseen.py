"""What no optimiser moves although it takes part: weights that are not registered, and choosers behind integers."""

import pytest
import torch
import torch.nn.functional as F
from tests.diagnosis.forward import Forward
from torch import nn

import firstlight
from firstlight.probe.trace._origins import Picks


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def x():
    return torch.randn(32, 16)


def told(model, batch, targets=None, **how):
    return {v.code: v for v in firstlight.audit(model, batch, targets, **how).verdicts}


# ------------------------------------------------------------------ weights that are not registered
def _blocks(s, v):
    for layer in s.blocks:
        v = torch.relu(layer(v))
    return s.o(v)


UNREGISTERED = {
    "layers in a list": (
        lambda: Forward(_blocks, blocks=[nn.Linear(16, 16), nn.Linear(16, 16)], o=nn.Linear(16, 4)),
        {"blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "blocks.1.bias"},
    ),
    "layers in lists of a dict": (
        lambda: Forward(
            lambda s, v: s.o(torch.tanh(s.d["a"][0](v))), d={"a": [nn.Conv1d(16, 8, 1)]}, o=nn.LazyLinear(2)
        ),
        {"d.a.0.weight", "d.a.0.bias"},
    ),
    "a parameter in a tuple": (
        lambda: Forward(lambda s, v: s.o(v @ s.t[0]), t=(nn.Parameter(torch.randn(16, 8)),), o=nn.Linear(8, 2)),
        {"t.0"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREGISTERED)
def test_weights_that_the_model_does_not_list_are_named(name, x):
    build, names = UNREGISTERED[name]
    model = build()
    batch = x[..., None] if "dict" in name else x
    model(batch)
    assert not names & {n for n, _ in model.named_parameters()}
    found = told(model, batch)["unregistered-parameters"]
    assert found.severity == "unhealthy"
    assert set(found.layers) == names


def test_a_layer_that_every_forward_builds_is_unhealthy(x):
    model = Forward(lambda s, v: s.o(torch.relu(nn.Linear(16, 8)(v))), o=nn.Linear(8, 4))
    found = told(model, x)["unregistered-parameters"]
    assert found.severity == "unhealthy"
    assert "8×16" in found.evidence


def test_a_plain_tensor_as_a_weight_is_a_warning(x):
    model = Forward(lambda s, v: s.o(v @ s.w), w=torch.randn(16, 8, requires_grad=True), o=nn.Linear(8, 4))
    assert told(model, x)["unregistered-parameters"].severity == "warning"
    model.w = nn.Parameter(model.w.detach())
    assert "unregistered-parameters" not in told(model, x)


def _forces(s, v):
    v = v.detach().requires_grad_()
    with torch.enable_grad():
        return -torch.autograd.grad(s.n(v).sum(), v, create_graph=True)[0]


class Margin(nn.Module):
    """A loss with a weight of its own, which its user gives to the optimiser."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(4, 8))

    def forward(self, o, t):
        return F.cross_entropy(o @ self.w.T, t)


def test_points_of_a_forward_and_weights_of_a_loss_are_not_the_models(x):
    forces = Forward(_forces, n=nn.Sequential(nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 1)))
    assert "unregistered-parameters" not in told(forces, x)
    assert "unregistered-parameters" not in told(nn.Linear(16, 8), x, torch.arange(32) % 4, loss=Margin())


# ------------------------------------------------------------------ choosers behind integers
def pick(s, v):
    return s.o(s.e(s.a(v).argmax(1)))


CHOOSERS = {
    "argmax into an embedding": pick,
    "a drawn class": lambda s, v: s.o(s.e(torch.multinomial(s.a(v).softmax(1), 1)[:, 0])),
    "topk of the input": lambda s, v: s.o(v.gather(1, s.a(v).topk(8, 1).indices)),
    "an index of a tensor": lambda s, v: s.o(torch.relu(s.b(v))[s.a(v)[:, 0].argsort()]),
    "a table by its rows": lambda s, v: s.o(s.e.weight[s.a(v).argmax(1)]),
}  # fmt: skip


def chooser(function):
    return Forward(function, a=nn.Linear(16, 8), e=nn.Embedding(8, 8), b=nn.Linear(16, 8), o=nn.Linear(8, 4))


@pytest.mark.parametrize("name", CHOOSERS)
def test_a_chooser_behind_integers_is_cut(name, x):
    model = chooser(CHOOSERS[name])
    # the second way: plain autograd
    model(x).sum().backward()
    assert model.a.weight.grad is None
    found = told(model, x)["cut-gradients"]
    assert found.severity == "unhealthy"
    assert "a.weight" in found.layers
    assert "integers" in found.evidence


CHOSEN = {
    "times its probability": lambda s, v: s.o(s.e(s.a(v).argmax(1)) * s.a(v).softmax(1).amax(1, keepdim=True)),
    "straight through": lambda s, v: s.o(F.gumbel_softmax(s.a(v), hard=True) @ s.e.weight),
    "given as well": lambda s, v: (pick(s, v), s.a(v)),
    "a class that is only told": lambda s, v: (s.o(s.b(v)), s.a(v).argmax(1)),
}  # fmt: skip


@pytest.mark.parametrize("name", CHOSEN)
def test_a_chooser_that_can_learn_is_not_cut(name, x):
    assert "cut-gradients" not in told(chooser(CHOSEN[name]), x)


def test_a_drawn_zero_or_one_is_a_step(x):
    model = Forward(
        lambda s, v: s.o(torch.bernoulli(torch.sigmoid(s.a(v)))), a=nn.Linear(16, 8), o=nn.Linear(8, 4)
    )
    assert told(model, x)["step-function"].severity == "unhealthy"


# ------------------------------------------------------------------ samples that a shape mixes
def folded(h):
    return h.transpose(1, 2).reshape(32, -1)


SHAPES = {
    "channels first, not put back": (lambda h: h.transpose(0, 1).reshape(32, -1), True),
    "sizes in another order": (lambda h: h.view(8, 32, 5).transpose(0, 1).reshape(32, -1), True),
    "places first, flattened": (lambda h: h.permute(2, 0, 1).reshape(32, 40), True),
    "behind an activation": (lambda h: torch.relu(h.transpose(0, 1)).reshape(32, -1), True),
    "flattened": (lambda h: h.flatten(1), False),
    "exchanged and put back": (lambda h: h.transpose(0, 1).transpose(0, 1).reshape(32, -1), False),
    "channels last": (folded, False),
    "every place a sample": (lambda h: h.transpose(1, 2).reshape(-1, 8).view(32, -1), False),
    "groups of channels": (lambda h: h.view(32, 2, 4, 5).transpose(1, 2).reshape(32, -1), False),
    "places first, each by itself": (
        lambda h: h.permute(2, 0, 1).reshape(160, 8).view(5, 32, 8).mean(0).repeat(1, 5),
        False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_that_mixes_samples_is_unhealthy(name):
    shape, mixes = SHAPES[name]
    model = Forward(lambda s, v: s.o(shape(s.c(v))), c=nn.Conv1d(4, 8, 1), o=nn.Linear(40, 3))
    v = torch.randn(32, 4, 5)
    # the second way: another sample changes this one's output
    other = v.clone()
    other[1:] += 1.0
    assert bool((model(v)[0] - model(other)[0]).abs().max() > 1e-4) is mixes
    found = told(model, v)
    assert ("mixed-samples" in found) is mixes
    if mixes:
        assert found["mixed-samples"].severity == "unhealthy"


LAYERS = {
    "LSTM": (lambda **first: nn.LSTM(6, 8, **first), lambda layer, v: layer(v)[0]),
    "GRU": (lambda **first: nn.GRU(6, 8, **first), lambda layer, v: layer(v)[0]),
    "attention": (lambda **first: nn.MultiheadAttention(6, 2, **first), lambda layer, v: layer(v, v, v)[0]),
    "encoder": (
        lambda **first: nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, **first),
        lambda layer, v: layer(v),
    ),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("first", [True, False])
def test_a_layer_that_takes_samples_for_steps_of_time_is_unhealthy(layer, first):
    make, run = LAYERS[layer]
    size = 8 if layer in ("LSTM", "GRU") else 6
    model = Forward(
        lambda s, v: s.o(run(s.l, v.view(32, 5, 6)).mean(1)), l=make(batch_first=first), o=nn.Linear(size, 3)
    )
    v = torch.randn(32, 30)
    other = v.clone()
    other[:16] += 1.0  # an LSTM reads samples in order
    assert bool((model(v)[-1] - model(other)[-1]).abs().max() > 1e-5) is not first
    found = told(model, v)
    assert ("mixed-samples" in found) is not first
    if not first:
        assert "batch_first=True" in found["mixed-samples"].remedy


def test_time_first_is_no_mistake_where_the_data_come_so():
    steps = torch.randn(12, 32, 6)
    last = Forward(lambda s, v: s.o(s.l(v)[0][-1]), l=nn.GRU(6, 8), o=nn.Linear(8, 3))
    every = Forward(lambda s, v: s.o(s.l(v)[0]), l=nn.GRU(6, 8), o=nn.Linear(8, 3))
    turned = Forward(lambda s, v: s.o(s.l(v.transpose(0, 1))[0][-1]), l=nn.GRU(6, 8), o=nn.Linear(8, 3))
    points = Forward(
        lambda s, v: s.o(s.l(*[v.unsqueeze(1)] * 3)[0].squeeze(1)),
        l=nn.MultiheadAttention(6, 2),
        o=nn.Linear(6, 3),
    )
    for model, v in (
        (last, steps),
        (every, steps),
        (turned, steps.transpose(0, 1)),
        (points, torch.randn(32, 6)),
    ):
        assert "mixed-samples" not in told(model, v)


def test_picks_know_nothing_of_other_steps():
    assert Picks().reaching([]) == []
