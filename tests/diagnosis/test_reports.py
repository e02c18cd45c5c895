"""Networks of public reports, small: what teaches nothing or mixes samples is named, and sound twins are not blamed."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from tests.diagnosis.forward import Forward
from torch import nn

import firstlight


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def told(model, batch, targets=None, loss=None, **how):
    return {v.code: v for v in firstlight.audit(model, batch, targets, loss=loss, **how).verdicts}


def sick(found):
    return {code for code, v in found.items() if v.severity in ("unhealthy", "not judged")}


def samples(count=24, units=16):
    x = torch.randn(count, units)
    return x, x[:, :4].argmax(1)


def mlp(*sizes, act=nn.ReLU):
    layers = [step for a, b in itertools.pairwise(sizes) for step in (nn.Linear(a, b), act())]
    return nn.Sequential(*layers[:-1])


# ------------------------------------------------------------------ derivatives in the forward and in the loss
def derivative(order, *, act=nn.Tanh, graph=True):
    """A network of points and the network's derivative there."""

    def forward(s, v):
        v = v.detach().requires_grad_()
        with torch.enable_grad():
            u = s.n(v)
            d = u
            for _ in range(order):
                d = torch.autograd.grad(d.sum(), v, create_graph=graph, retain_graph=True)[0]
        return u, d

    return Forward(forward, n=mlp(2, 16, 16, 1, act=act))


def residual(o, t):
    return (o[1] - 1).square().mean() + o[0].square().mean()


DERIVATIVES = {
    "no graph": (lambda: derivative(1, graph=False), "cut-gradients", "create_graph"),
    "second derivative of ReLU": (lambda: derivative(2, act=nn.ReLU), "zero-gradients", "linear in pieces"),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives_that_teach_nothing(name):
    build, code, cause = DERIVATIVES[name]
    found = told(build(), torch.randn(24, 2), loss=residual)
    assert sick(found) == {code}
    assert cause in found[code].cause


@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_with_a_graph(order):
    assert not sick(told(derivative(order), torch.randn(24, 2), loss=residual))


def test_forces_of_an_energy_that_begins_at_zero():
    model = derivative(1)
    nn.init.zeros_(model.n[-1].weight)
    found = told(model, torch.randn(24, 2), loss=residual)
    assert not sick(found)
    assert found["zero-gradients"].severity == "note"


def langevin(s, v):
    """A step along a derivative, and a layer behind it."""
    with torch.enable_grad():
        p = v.detach().requires_grad_()
        p = (p - 0.1 * torch.autograd.grad(s.n(p).sum(), p)[0]).detach()
    return s.n(p)


def test_a_step_towards_another_point_needs_no_graph():
    assert not sick(
        told(Forward(langevin, n=mlp(4, 16, 1, act=nn.SiLU)), torch.randn(24, 4), torch.randn(24, 1))
    )


# ------------------------------------------------------------------ what the loss does
def test_a_loss_that_reads_numbers_or_what_was_cut():
    x, y = samples()
    both = Forward(lambda s, v: (s.a(v), s.b(v)), a=mlp(16, 16, 4), b=mlp(16, 16, 4))

    def cut(kind):
        def loss(o, t):
            flat = {
                "number": lambda z: torch.tensor(F.cross_entropy(z, t).item()),
                "detach": lambda z: F.cross_entropy(z.detach(), t),
                "threshold": lambda z: (torch.sigmoid(z) > 0.5).float().mean(),
            }[kind](o[0])
            return flat + F.cross_entropy(o[1], t)

        return loss

    for kind in ("number", "detach", "threshold"):
        found = told(both, x, y, cut(kind))
        assert found["cut-gradients"].severity == "unhealthy", kind
        assert set(found["cut-gradients"].layers) == {"a.0.weight", "a.2.weight"}
    forgotten = told(both, x, y, lambda o, t: F.cross_entropy(o[1], t))["cut-gradients"]
    assert forgotten.severity == "warning"
    assert not sick(told(both, x, y, lambda o, t: F.cross_entropy(o[0], t) + F.cross_entropy(o[1], t)))


def test_a_term_of_the_loss_that_weighs_nothing():
    x, y = samples()
    model = Forward(lambda s, v: (s.a(v), s.b(v)), a=mlp(16, 16, 4), b=mlp(16, 16, 4))
    for weight, grave in ((1e-9, True), (0.1, False)):
        found = told(
            model, x, y, lambda o, t, w=weight: F.cross_entropy(o[0], t) + w * F.cross_entropy(o[1], t)
        )
        assert ("starved-path" in sick(found)) is grave


def test_a_loss_of_zero_is_named():
    x, _ = samples()
    found = told(mlp(16, 16, 4), x, loss=lambda o, t: (o.square().mean() - 100).clamp(min=0))
    assert "exactly zero" in found["constant-loss"].evidence
    assert "margin" in found["constant-loss"].cause


def test_ctc_takes_logarithms_of_laws_over_classes():
    x, y = torch.randn(6, 12, 5), torch.randint(1, 6, (6, 3))
    lengths = torch.full((6,), 12), torch.full((6,), 3)
    ends = {"classes": -1, "time": 0, "scores": None}
    for name, axis in ends.items():
        model = Forward(
            lambda s, v, a=axis: (lambda z: z if a is None else z.log_softmax(a))(s.n(v).transpose(0, 1)),
            n=mlp(5, 16, 6),
        )
        found = told(model, x, y, lambda o, t: F.ctc_loss(o, t, *lengths))
        assert ("unbounded-loss" in sick(found)) is (name != "classes")
        if name == "time":
            assert "axis 0" in found["unbounded-loss"].evidence


def test_a_loss_in_a_loss_that_gets_probabilities():
    x, y = samples()
    model = Forward(lambda s, v: (s.a(v).softmax(1), s.b(v)), a=mlp(16, 16, 4), b=mlp(16, 16, 4))
    found = told(model, x, y, lambda o, t: F.cross_entropy(o[0], t) + F.cross_entropy(o[1], t))
    assert found["squashed-logits"].severity == "warning"


# ------------------------------------------------------------------ samples beside one another
def sequences(count=24, steps=6, units=8):
    x = torch.randn(count, steps, units)
    return x, (x[:, :, 0].mean(1) > 0).long()


def recurrent(function, **how):
    return lambda: Forward(function, r=nn.GRU(8, 16, batch_first=True, **how), o=nn.Linear(32, 2))


def folded(s, v, first):
    h = torch.relu(s.a(v.reshape(-1, 8)))
    return s.o(h.view(24, 6, 24).mean(1) if first else h.view(6, 24, 24).mean(0))


def rows(s, v, axis):
    table = s.p[: len(v)] if axis == 0 else s.p[: v.shape[1]].transpose(0, 1)
    return s.o(torch.relu(s.a(v) + table).mean(1))


def positions(axis):
    model = Forward(lambda s, v: rows(s, v, axis), a=nn.Linear(8, 16), o=nn.Linear(16, 2))
    model.register_buffer("p", torch.randn(40, 1, 16))
    return model


MIXED = {
    "last states of both directions": (
        recurrent(lambda s, v: s.o(s.r(v)[1].reshape(len(v), -1)), bidirectional=True),
        recurrent(lambda s, v: s.o(s.r(v)[1].transpose(0, 1).reshape(len(v), -1)), bidirectional=True),
    ),
    "time first in a layer of samples first": (
        lambda: Forward(
            lambda s, v: s.o(s.r(v.transpose(0, 1))[0][-1]), r=nn.GRU(8, 16, batch_first=True), o=nn.Linear(16, 2)
        ),
        lambda: Forward(lambda s, v: s.o(s.r(v.transpose(0, 1))[0][-1]), r=nn.GRU(8, 16), o=nn.Linear(16, 2)),
    ),
    "unfolded in another order": (
        lambda: Forward(lambda s, v: folded(s, v, False), a=nn.Linear(8, 24), o=nn.Linear(24, 2)),
        lambda: Forward(lambda s, v: folded(s, v, True), a=nn.Linear(8, 24), o=nn.Linear(24, 2)),
    ),
    "positions along the samples": (lambda: positions(0), lambda: positions(1)),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXED)
def test_samples_that_are_mixed(name):
    x, y = sequences()
    bad, good = MIXED[name]
    assert "mixed-samples" in sick(told(bad(), x, y))
    assert not sick(told(good(), x, y))


def pooled(axis):
    return Forward(
        lambda s, v: s.o((s.w(v).softmax(axis) * s.h(v)).sum(1)),
        w=nn.Linear(8, 1),
        h=nn.Linear(8, 16),
        o=nn.Linear(16, 2),
    )


def test_the_axis_of_the_weights_of_a_mean():
    x, y = sequences()
    assert sick(told(pooled(0), x, y)) == {"softmax-axis"}
    assert sick(told(pooled(-1), x, y)) == {"one-unit-softmax"}
    assert not sick(told(pooled(1), x, y))


def test_outputs_that_are_the_same_for_all_samples():
    x, y = samples()
    model = Forward(
        lambda s, v: s.o(torch.relu(s.a(v)).mean(0, keepdim=True).expand(len(v), -1)),
        a=nn.Linear(16, 32),
        o=nn.Linear(32, 4, bias=False),
    )
    found = told(model, x, y)["ordered"]
    assert found.severity == "unhealthy"
    assert "dim=0" in found.cause


# ------------------------------------------------------------------ gradients
class Shrinks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, by):
        ctx.by = by
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return g * ctx.by, None


@pytest.mark.parametrize(("by", "grave"), [(1e-9, True), (-0.1, False)])
def test_a_backward_that_shrinks_the_gradient_of_a_short_chain(by, grave):
    x, y = samples()
    model = Forward(
        lambda s, v: s.o(Shrinks.apply(torch.relu(s.a(v)), by)), a=nn.Linear(16, 32), o=nn.Linear(32, 4)
    )
    found = told(model, x, y)
    assert ("vanishing-gradients" in sick(found)) is grave
    if grave:
        assert found["vanishing-gradients"].layers == ("a",)
        assert found["vanishing-gradients"].measured == pytest.approx(
            9.0, abs=1.0
        )  # half of the entries of ReLU are zero


@pytest.mark.parametrize("std", [1e-3, 1e-6])
def test_two_small_layers_grow(std):
    """Measured: both optimisers take such a start of two layers to a loss below .003, and no one of three (SGD)."""
    x, y = samples()
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 4))
    for layer in model:
        nn.init.normal_(layer.weight, std=std)
        nn.init.zeros_(layer.bias)
    assert not sick(told(model, x, y))


def written(s, v):
    s.m.weight.data.copy_(s.h(s.z).view(16, 16))
    return s.o(torch.relu(s.m(v)))


def test_weights_that_are_written_into_a_parameter_are_cut():
    x, y = samples()
    parts = {
        "z": nn.Parameter(torch.randn(8)),
        "h": nn.Linear(8, 256),
        "m": nn.Linear(16, 16),
        "o": nn.Linear(16, 4),
    }
    found = told(Forward(written, **parts), x, y)["cut-gradients"]
    assert (found.severity, found.layers) == ("unhealthy", ("h.weight",)) or "h.weight" in found.layers


# ------------------------------------------------------------------ graphs, tokens
def test_nodes_that_become_one_are_not_blamed_on_one_layer():
    x, adjacency = torch.randn(40, 16), (torch.rand(40, 40) < 0.1).float() + torch.eye(40)
    adjacency /= adjacency.sum(1, keepdim=True)

    def forward(s, v, a):
        for layer in s.layers:
            v = torch.relu(a @ layer(v))
        return s.o(v)

    for depth, grave in ((8, True), (2, False)):
        layers = nn.ModuleList(nn.Linear(16 if i == 0 else 32, 32) for i in range(depth))
        for layer in layers:
            nn.init.xavier_uniform_(layer.weight)
        found = told(
            Forward(forward, layers=layers, o=nn.Linear(32, 2)), (x, adjacency), (x[:, 0] > 0).long()
        )
        assert ("rank-collapse" in sick(found)) is grave


@pytest.mark.parametrize(("scale", "grave"), [(30.0, True), (1.0, False)])
def test_positions_in_a_buffer_without_a_normaliser(scale, grave):
    model = Forward(
        lambda s, v: s.o(torch.relu(s.a(s.e(v) + s.p)).flatten(1)),
        e=nn.Embedding(20, 16),
        a=nn.Linear(16, 16),
        o=nn.Linear(96, 4),
    )
    model.register_buffer("p", torch.randn(1, 6, 16) * scale)
    v = torch.randint(0, 20, (24, 6))
    found = told(model, v, v[:, 2] % 4)
    assert ("drowned-tokens" in sick(found)) is grave
    if grave:
        assert found["drowned-tokens"].measured == pytest.approx(math.sqrt(1 + scale**2), rel=0.2)
