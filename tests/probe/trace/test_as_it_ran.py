"""The audit reports what ran: nothing random or stateful runs twice, rows count calls, and audits repeat themselves."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from firstlight.probe import probe


def names(result, kind=None):
    profile = result.profile if kind is None else result.profile.select(kind)
    return [str(n) for n in profile["name"]]


def same(a, b):
    assert a.columns.keys() == b.columns.keys()
    for name in a.columns:
        if a[name].dtype.kind == "f":
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
        else:
            assert list(a[name]) == list(b[name])


class Counting(nn.Module):
    """A module that counts, remembers and logs each of its calls."""

    def __init__(self, function):
        super().__init__()
        self.function, self.calls, self.seen = function, 0, []
        self.register_buffer("last", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        self.seen.append(tuple(x.shape))
        self.last = x.detach().clone()
        LOG.append(type(self).__name__)
        return self.function(x)


LOG: list[str] = []


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        LOG.append("Sign")
        return torch.sign(x)

    @staticmethod
    def backward(ctx, g):
        return g


FUNCTIONS = {
    "tanh": torch.tanh,
    "by hand": lambda x: x * torch.sigmoid(1.7 * x),
    "unknown by name": torch.special.erf,
    "gammaln": lambda x: torch.special.gammaln(x.abs() + 1.0),
    "numpy": lambda x: x + torch.from_numpy(np.sin(x.detach().numpy())),
    "sorted": lambda x: x.sort(-1).values,
    "maxout": lambda x: x.view(*x.shape[:-1], -1, 2).amax(-1).repeat_interleave(2, -1),
    "custom backward": Sign.apply,
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_module_runs_exactly_once(function):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), Counting(FUNCTIONS[function]), nn.Linear(8, 3))
    x = torch.randn(16, 8)
    model(x)
    plain = list(LOG)
    LOG.clear()
    calls, seen, last = model[1].calls, list(model[1].seen), model[1].last
    result = probe(model, x)
    assert plain == LOG  # one more run logged what one run logs
    LOG.clear()
    assert (model[1].calls, model[1].seen) == (calls, seen)
    assert torch.equal(model[1].last, last)
    assert {"0", "2"} <= set(names(result))
    if function not in ("sorted", "maxout", "gammaln"):
        assert "1" in names(result, "activation")


class DropPath(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if not self.training:
            return x
        kept = x.new_empty((len(x), *[1] * (x.dim() - 1))).bernoulli_(1 - self.rate)
        return x * kept.div_(1 - self.rate)


class GaussianDropout(DropPath):
    def forward(self, x):
        return x * (1 + self.rate * torch.randn_like(x))


class RandomSlope(DropPath):
    def forward(self, x):
        return F.rrelu(x, 0.1, 0.1 + self.rate, training=True)


class RandomBranch(DropPath):
    def forward(self, x):
        return torch.relu(x) if torch.rand(()) < 0.5 else torch.tanh(x)


class NumpyNoise(DropPath):
    def forward(self, x):
        return x + float(np.random.rand()) * 0.01  # noqa: NPY002


class Block(nn.Module):
    def __init__(self, drop):
        super().__init__()
        self.f, self.drop = nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 16)), drop

    def forward(self, x):
        return x + self.drop(self.f(x))


@pytest.mark.parametrize("kind", [DropPath, GaussianDropout, RandomSlope, RandomBranch, NumpyNoise])
def test_random_modules_are_audited_as_they_ran(kind):
    torch.manual_seed(0)
    model = nn.Sequential(*[Block(kind(0.02 * (i + 1))) for i in range(4)], nn.Linear(16, 10))
    x = torch.randn(8, 16)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = probe(model, x), probe(model, x)
    assert torch.equal(before, torch.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()  # noqa: NPY002
    same(first.profile, second.profile)
    squares = {}
    hooks = [
        m.register_forward_hook(lambda m, i, o, n=n: squares.update({n: o.square().mean().item()}))
        for n, m in model.named_modules()
        if isinstance(m, nn.Linear)
    ]
    model.train()
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    model(x)
    for hook in hooks:
        hook.remove()
    rows = dict(zip(names(first), first.profile["q"]))
    for name, q in squares.items():
        assert rows[name] == pytest.approx(q, rel=1e-4), name


class Leaky(nn.Module):
    """A unit that remembers its last output, as spiking and streaming layers do."""

    def __init__(self):
        super().__init__()
        self.state, self.calls = None, 0

    def forward(self, x):
        self.calls += 1
        self.state = x if self.state is None else 0.9 * self.state + x
        return torch.tanh(self.state)


class Spiking(Leaky):
    def forward(self, x):
        self.state = torch.zeros_like(x) if self.state is None else self.state
        self.state = 0.9 * self.state + x
        spike = Sign.apply(self.state - 1.0)
        self.state = self.state - spike.detach()
        return spike


class Centred(Leaky):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(32))

    def forward(self, x):
        self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
        return torch.relu(x - self.mean)


class Recurrent(nn.Module):
    def __init__(self, unit):
        super().__init__()
        self.fc1, self.unit, self.fc2 = nn.Linear(16, 32), unit, nn.Linear(32, 4)

    def forward(self, x):
        self.unit.state = None
        return torch.stack([self.fc2(self.unit(self.fc1(x))) for _ in range(4)]).sum(0)


@pytest.mark.parametrize("unit", [Leaky, Spiking, Centred])
def test_stateful_modules_are_audited_as_they_ran(unit):
    torch.manual_seed(0)
    model, x = Recurrent(unit()), torch.randn(32, 16)
    squares = []
    hook = model.fc2.register_forward_hook(lambda m, i, o: squares.append(o.square().mean().item()))
    if unit is Centred:
        kept = model.unit.mean.clone()
    model(x)
    hook.remove()
    if unit is Centred:
        model.unit.mean.copy_(kept)
    calls = model.unit.calls
    result = probe(model, x)
    rows = dict(zip(names(result), result.profile["q"]))
    assert [rows[n] for n in ("fc2", "fc2#2", "fc2#3", "fc2#4")] == pytest.approx(squares, rel=1e-4)
    assert {"unit", "unit#2", "unit#3", "unit#4"} <= set(names(result, "activation"))
    assert model.unit.calls == calls
    same(result.profile, probe(model, x).profile)


def test_names_count_calls():
    """``act#3`` is the third call of ``act``, though nobody uses what the second gave."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.act = nn.Linear(8, 8), nn.Tanh()

        def forward(self, x):
            first = self.act(self.a(x))
            self.act(x)  # never used
            last = self.act(self.a(first))
            return last + self.act(x)

    torch.manual_seed(0)
    result = probe(Net(), torch.randn(16, 8))
    assert {n for n in names(result) if n.startswith("a")} >= {"a", "a#2", "act", "act#3", "act#4"}
    assert "act#2" not in names(result)


def test_a_module_with_two_rows_a_call():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 8))

        def forward(self, x):
            return F.linear(torch.tanh(F.linear(x, self.weight)), self.weight)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.two = Two()

        def forward(self, x):
            return self.two(self.two(x))

    found = names(probe(Net(), torch.randn(16, 8)))
    assert len(set(found)) == len(found)
    assert {"two", "two#2"} <= set(found)
    assert len([n for n in found if n.startswith("two")]) == 6


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_parts_have_every_gradient(reentrant):
    from torch.utils import checkpoint

    class Net(nn.Module):
        def __init__(self, save):
            super().__init__()
            self.i, self.o, self.save = nn.Linear(16, 32), nn.Linear(32, 4), save
            self.l = nn.ModuleList([nn.Sequential(nn.Linear(32, 32), nn.Tanh()) for _ in range(5)])

        def forward(self, x):
            x = self.i(x)
            for layer in self.l:
                x = checkpoint.checkpoint(layer, x, use_reentrant=reentrant) if self.save else layer(x)
            return self.o(x)

    before = checkpoint.CheckpointFunction
    model, x = Net(True), torch.randn(32, 16)
    result = probe(model, x)
    model.save = False
    same(result.profile, probe(model, x).profile)
    assert result.coverage.gradient_share == 1.0
    assert checkpoint.CheckpointFunction is before


class OwnCheckpoint(torch.autograd.Function):
    """A checkpoint written by hand, as in reversible networks and older libraries."""

    @staticmethod
    def forward(ctx, x, part):
        ctx.part = part
        ctx.save_for_backward(x)
        return part(x).detach()

    @staticmethod
    def backward(ctx, g):
        with torch.enable_grad():
            x = ctx.saved_tensors[0].detach().requires_grad_()
            y = ctx.part(x)
        torch.autograd.backward(y, g)
        return x.grad, None


def test_checkpoints_written_by_hand_have_every_gradient():
    class Net(nn.Module):
        def __init__(self, save):
            super().__init__()
            self.i, self.o, self.save = nn.Linear(16, 16), nn.Linear(16, 4), save
            self.l = nn.ModuleList([nn.Sequential(nn.Linear(16, 16), nn.Tanh()) for _ in range(4)])

        def forward(self, x):
            x = self.i(x)
            for layer in self.l:
                x = OwnCheckpoint.apply(x, layer) if self.save else layer(x)
            return self.o(x)

    torch.manual_seed(0)
    model, x = Net(True), torch.randn(32, 16)
    result = probe(model, x).profile.select("weight")
    model.save = False
    expected = probe(model, x).profile.select("weight")
    assert list(result["name"]) == list(expected["name"])
    np.testing.assert_allclose(result["q"], expected["q"], rtol=1e-6)
    np.testing.assert_allclose(result["log_grad"], expected["log_grad"], atol=1e-5)
    np.testing.assert_allclose(result["log_weight_grad"], expected["log_weight_grad"], atol=1e-5)
