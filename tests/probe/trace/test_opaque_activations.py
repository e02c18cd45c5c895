"""Activations of anything have rows; learned scales, shifts and gates have rows; nested tensors have gradients."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from firstlight.probe import probe


def names(result, kind=None):
    profile = result.profile if kind is None else result.profile.select(kind)
    return [str(n) for n in profile["name"]]


class Net(nn.Module):
    """An activation on whatever ``join`` makes of two layers, and what plain hooks see of it."""

    def __init__(self, join, act):
        super().__init__()
        self.a, self.b, self.act, self.join = nn.Linear(16, 32), nn.Linear(16, 32), act, join
        width = join(torch.zeros(2, 32), torch.zeros(2, 32)).shape[-1]
        self.d, self.shift = nn.Linear(width, 4), 0.0

    def forward(self, x):
        return self.d(self.act(self.join(self.a(x), self.b(x)) + self.shift))


JOINS = {
    "sum": lambda a, b: a + b,
    "difference": lambda a, b: a - b,
    "concatenation": lambda a, b: torch.cat([a, b], 1),
    "product": lambda a, b: a * b,
    "matrix product": lambda a, b: (a @ a.t() / 64) @ b,
    "aggregate": lambda a, b: torch.zeros_like(a).index_add(0, torch.arange(len(a)).flip(0), a),
    "mean pool": lambda a, b: a + a.mean(0, keepdim=True),
    "cumsum": lambda a, b: a.cumsum(1),
    "maximum": lambda a, b: torch.maximum(a, b),
    "stack": lambda a, b: torch.stack([a, b], 2).flatten(1),
    "where": lambda a, b: torch.where(a > b, a, 2 * b),
    "pool": lambda a, b: F.avg_pool1d(a[:, None], 2)[:, 0],
    "sorted": lambda a, b: a.sort(1).values,
    "lerp": lambda a, b: torch.lerp(a, b, 0.3),
    "gate": lambda a, b: a * torch.sigmoid(b),
}
ACTIVATIONS = {
    "relu": nn.ReLU(),
    "tanh": nn.Tanh(),
    "by hand": type("Swish", (nn.Module,), {"forward": lambda self, x: x * torch.sigmoid(x)})(),
    "polynomial": type("Cube", (nn.Module,), {"forward": lambda self, x: 0.5 * x * (1 + 0.1 * x * x)})(),
    "learned": nn.PReLU(),
}


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("join", JOINS)
def test_an_activation_of_anything_has_a_row(join, act):
    torch.manual_seed(0)
    model, x = Net(JOINS[join], ACTIVATIONS[act]), torch.randn(64, 16)
    outputs = []

    def watch(module, args, output):
        outputs.append(output.detach())

    hook = model.act.register_forward_hook(watch)
    model(x)
    hook.remove()
    result = probe(model, x)
    assert names(result).count("act") == 1
    row = next(row for row in result.profile if row["name"] == "act")
    assert row["kind"] == "activation"
    assert row["q"] == pytest.approx(outputs[0].double().square().mean().item(), rel=1e-5)
    assert np.isfinite(row["log_grad"])
    # theory is Gaussian; sums and shuffles are, products and maxima are not
    if join in ("sum", "difference", "concatenation", "stack") and act in ("relu", "tanh"):
        assert row["q_ratio"] == pytest.approx(1.0, abs=0.35)


@pytest.mark.parametrize("join", JOINS)
def test_a_dead_activation_of_anything_is_seen(join):
    torch.manual_seed(0)
    model = Net(JOINS[join], nn.ReLU())
    model.shift = -100.0
    row = next(row for row in probe(model, torch.randn(64, 16)).profile if row["name"] == "act")
    assert row["dead"] == 1.0


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_the_saturation_of_a_recurrent_cell_is_seen(scale):
    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.x2h, self.h2h, self.o, self.act = (
                nn.Linear(8, 32),
                nn.Linear(32, 32),
                nn.Linear(32, 4),
                nn.Tanh(),
            )

        def forward(self, x):
            h = torch.zeros(len(x), 32)
            for t in range(x.shape[1]):
                h = self.act(self.x2h(x[:, t]) + self.h2h(h))
            return self.o(h)

    torch.manual_seed(0)
    model = Cell()
    nn.init.normal_(model.x2h.weight, std=scale)
    result = probe(model, torch.randn(32, 5, 8))
    acts = [row for row in result.profile if str(row["name"]).partition("#")[0] == "act"]
    assert [str(row["name"]) for row in acts] == ["act", "act#2", "act#3", "act#4", "act#5"]
    assert all((row["saturated"] > 0.8) == (scale == 30.0) for row in acts)


class Branch(nn.Module):
    def __init__(self, gate):
        super().__init__()
        self.f, self.g, self.o = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        self.vector = nn.Parameter(torch.full((16,), 0.5))
        self.scalar = nn.Parameter(torch.tensor(0.25))
        self.map = nn.Parameter(torch.randn(16, 16))
        self.gate = gate

    def forward(self, x):
        return self.o(x + self.gate(self, self.f(x)))


GATES = {
    "LayerScale": (lambda s, h: s.vector * h, "vector", "affine"),
    "LayerScale of an activation": (lambda s, h: F.gelu(h) * s.vector, "vector", "affine"),
    "ReZero": (lambda s, h: s.scalar * h, "scalar", "affine"),
    "tanh gate": (lambda s, h: torch.tanh(s.scalar) * h, "scalar", "affine"),
    "sigmoid gate": (lambda s, h: torch.sigmoid(s.vector) * h, "vector", "affine"),
    "bias by hand": (lambda s, h: h + s.vector, "vector", "affine"),
    "positions": (lambda s, h: h + s.map[: len(h)], "map", "affine"),
    "mixture": (lambda s, h: torch.lerp(h, s.g(h), s.vector), "vector", "affine"),
    "mask token": (lambda s, h: torch.where(torch.arange(16) % 2 == 0, h, s.vector), "vector", "affine"),
    "class token": (lambda s, h: torch.cat([h[:-1], s.vector[None]]), "vector", "affine"),
    "distances": (lambda s, h: torch.cdist(h, s.map), "map", "weight"),
    "division": (lambda s, h: h / (1 + s.vector), "vector", "affine"),
    "two numbers": (lambda s, h: s.scalar * h + s.vector, "scalar", "affine"),
}


@pytest.mark.parametrize("gate", GATES)
def test_learned_scales_shifts_and_gates_have_rows(gate):
    torch.manual_seed(0)
    function, name, kind = GATES[gate]
    model = Branch(function)
    result = probe(model, torch.randn(16, 16))
    assert result.coverage.share == 1.0, result.coverage
    assert name in names(result, kind), names(result)
    row = next(row for row in result.profile if row["name"] == name)
    assert np.isfinite(row["log_weight_grad"])
    x = model.get_parameter(name)
    if gate in ("LayerScale", "ReZero"):
        f = next(row for row in result.profile if row["name"] == "f")
        assert row["q_theory"] == pytest.approx(f["q"] * x.detach().square().mean().item(), rel=1e-5)
        assert row["q_ratio"] == pytest.approx(1.0, rel=1e-4)


def test_theory_goes_on_behind_a_learned_scale():
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(256, 256), nn.Linear(256, 256)
            self.scale = nn.Parameter(torch.full((256,), 0.1))

        def forward(self, x):
            return self.b(torch.relu(self.a(x)) * self.scale)

    row = next(row for row in probe(Net(), torch.randn(64, 256)).profile if row["name"] == "b")
    assert row["q_ratio"] == pytest.approx(1.0, abs=0.1)
    assert math.isfinite(row["correlation_theory"])


@pytest.mark.skipif(
    torch.__version__ < "2.13",
    reason="torch before 2.13 keeps sizes inside a jagged tensor that nothing can take away, and the audit says so",
)
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_tensors_have_rows_and_gradients(layout):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.LayerNorm(32), nn.Linear(32, 4))
    parts = [torch.randn(3 + i, 16) for i in range(4)]
    nested = torch.nested.as_nested_tensor(parts, layout=layout)
    found, expected = probe(model, nested), probe(model, torch.cat(parts))
    assert found.coverage.share == found.coverage.gradient_share == 1.0
    for column in ("q", "mean", "dead", "log_grad"):
        np.testing.assert_allclose(found.profile[column], expected.profile[column], rtol=1e-5)
