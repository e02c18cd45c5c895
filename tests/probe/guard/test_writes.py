"""Whatever a forward, a loss or a backward writes, and however it writes, is as it was afterwards."""

import array
import collections
import random
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import firstlight
from firstlight.errors import AuditError
from firstlight.probe.guard import Guard, _storages

sys.path.insert(0, str(Path(__file__).parent))

from snapshots import differences, snapshot


class Net(nn.Module):
    """A network that does something else before it runs."""

    def __init__(self, act, **held):
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)
        self.act = act
        for name, thing in held.items():
            setattr(self, name, thing)

    def forward(self, x):
        self.act(self, x)
        return self.b(torch.relu(self.norm(self.a(x))))


def quietly(write):
    def act(net, x):
        with torch.no_grad():
            write(net.a.weight)

    return act


WRITES = {
    "a row to zero": lambda w: w[0].zero_(),
    "by index": lambda w: w.__setitem__(0, 0),
    "detached": lambda w: w.detach().mul_(2),
    "a view": lambda w: w.view(-1).add_(1),
    "a chunk of a transpose": lambda w: w.t().chunk(2)[1].fill_(3.0),
    "initialised": nn.init.normal_,
    "orthogonal": nn.init.orthogonal_,
    "foreach": lambda w: torch._foreach_mul_([w], 2.0),
    "foreach copy": lambda w: torch._foreach_copy_([w], [w * 2]),
    "numpy": lambda w: w.detach().numpy().__setitem__(0, 0),
    "numpy array": lambda w: np.asarray(w.detach()).__iadd__(1),
    "dlpack": lambda w: torch.from_dlpack(w.detach()).add_(1),
    "vector to parameters": lambda w: nn.utils.vector_to_parameters(torch.zeros(64), [w]),
    "clamp": lambda w: w.clamp_(-0.1, 0.1),
    "data": lambda w: w.data.mul_(2),
    "data exchanged": lambda w: setattr(w, "data", w.data * 2),
    "out": lambda w: torch.clamp(w, -0.1, 0.1, out=w),
    "set": lambda w: w.data.set_((w * 2).detach()),
    "resized": lambda w: w.data.resize_(2, 2),
    "transposed": lambda w: w.t_(),
    "index put": lambda w: w.index_put_((torch.tensor([0]),), torch.zeros(8)),
    "scatter": lambda w: w.scatter_(0, torch.zeros(1, 8, dtype=torch.long), 1.0),
    "copied": lambda w: w.copy_(w * 2),
    "gradient to zero": lambda w: w.grad.zero_(),
    "gradient scaled": lambda w: torch._foreach_mul_([w.grad], 0.5),
    "gradient gone": lambda w: setattr(w, "grad", None),
    "frozen": lambda w: w.requires_grad_(False),
    "an attribute": lambda w: setattr(w, "note", 1),
}


def spare(net, x):
    net.b(x.detach()).sum().backward()


def step(net, x):
    optimiser = torch.optim.Adam(net.b.parameters(), lr=0.1)
    optimiser.zero_grad()
    net.b(x.detach()).sum().backward()
    optimiser.step()


ACTS = {name: (quietly(write), {}) for name, write in WRITES.items()} | {
    "a backward inside": (spare, {}),
    "an optimiser inside": (step, {}),
    "gradients to zero": (lambda net, x: net.zero_grad(set_to_none=False), {}),
    "a counter": (lambda net, x: setattr(net, "n", net.n + 1), {"n": 0}),
    "a list": (lambda net, x: net.held.append(1), {"held": []}),
    "a nested dict": (lambda net, x: net.held["a"]["b"].append(1), {"held": {"a": {"b": []}}}),
    "a set": (lambda net, x: net.held.add(len(net.held)), {"held": set()}),
    "a deque": (lambda net, x: net.held.append(1), {"held": collections.deque([0], maxlen=1)}),
    "a Counter": (lambda net, x: net.held.update("ab"), {"held": collections.Counter("a")}),
    "a defaultdict": (
        lambda net, x: net.held["new"].append(1),
        {"held": collections.defaultdict(list)},
    ),
    "an ordered dict": (
        lambda net, x: net.held.move_to_end("a"),
        {"held": collections.OrderedDict(a=1, b=2)},
    ),
    "a bytearray": (lambda net, x: net.held.extend(b"x"), {"held": bytearray(b"ab")}),
    "an array": (lambda net, x: net.held.__setitem__(0, 5), {"held": array.array("d", [1.0, 2.0])}),
    "a numpy array": (lambda net, x: net.held.__iadd__(1), {"held": np.zeros(8)}),
    "a tensor": (lambda net, x: net.held[:, :4].copy_(x[:, :4].detach()), {"held": torch.zeros(16, 8)}),
    "tensors in a list": (lambda net, x: net.held[0].add_(1), {"held": [torch.zeros(3)]}),
    "torch's own generator": (
        lambda net, x: torch.randn(3, generator=net.held),
        {"held": torch.Generator().manual_seed(1)},
    ),
    "numpy's own generator": (lambda net, x: net.held.normal(), {"held": np.random.default_rng(0)}),
    "numpy's old generator": (lambda net, x: net.held.rand(), {"held": np.random.RandomState(0)}),
    "Python's own generator": (lambda net, x: net.held.random(), {"held": random.Random(0)}),
    "an object": (
        lambda net, x: (setattr(net.held, "n", 1), net.held.cache.append(2)),
        {"held": type("Cache", (), {"__init__": lambda self: vars(self).update(n=0, cache=[])})()},
    ),
    "a class": (lambda net, x: setattr(type(net), "shared", 5), {}),
    "a closure": ((lambda box: lambda net, x: box.append(1))([]), {}),
    "a new module": (lambda net, x: setattr(net, "late", nn.Linear(2, 2)), {}),
    "a module deleted": (lambda net, x: delattr(net, "spare"), {"spare": nn.Linear(2, 2)}),
    "a parameter exchanged": (lambda net, x: setattr(net.a, "weight", nn.Parameter(net.a.weight * 2)), {}),
    "a forward hook": (lambda net, x: net.a.register_forward_hook(lambda *a: None), {}),
    "a hook on a parameter": (lambda net, x: net.a.weight.register_hook(lambda g: g), {}),
    "a hook behind a gradient": (
        lambda net, x: net.a.weight.register_post_accumulate_grad_hook(lambda p: None),
        {},
    ),
    "a global hook": (lambda net, x: nn.modules.module.register_module_forward_hook(lambda *a: None), {}),
    "the mode": (lambda net, x: net.norm.eval(), {}),
    "the class of a module": (lambda net, x: setattr(net.norm, "__class__", nn.Identity), {}),
    "the batch": (lambda net, x: x.div_(255.0), {}),
    "the batch resized": (lambda net, x: x.data.mul_(0), {}),
    "all generators": (
        lambda net, x: (torch.manual_seed(5), np.random.seed(5), random.seed(5)),  # noqa: NPY002
        {},
    ),
    "the default dtype": (lambda net, x: torch.set_default_dtype(torch.float64), {}),
    "threads": (lambda net, x: torch.set_num_threads(torch.get_num_threads() + 1), {}),
    "determinism": (lambda net, x: torch.use_deterministic_algorithms(True, warn_only=True), {}),
    "grad mode": (lambda net, x: torch.set_grad_enabled(False), {}),
    "autocast": (lambda net, x: torch.set_autocast_enabled("cpu", True), {}),
    "precision": (lambda net, x: torch.set_float32_matmul_precision("medium"), {}),
    "warnings": (lambda net, x: warnings.simplefilter("ignore"), {}),
    "recursion": (lambda net, x: sys.setrecursionlimit(sys.getrecursionlimit() + 7), {}),
}


def prepared(act, held):
    torch.manual_seed(0)
    net, batch = Net(act, **held), torch.randn(16, 8)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    return net, batch


@pytest.mark.parametrize("kind", ACTS)
@pytest.mark.parametrize("copied_at_once", [True, False], ids=["copied", "on write"])
def test_what_a_forward_changes_is_as_it_was(kind, copied_at_once, monkeypatch):
    if not copied_at_once:
        monkeypatch.setattr(_storages, "AT_ONCE", 0)
    net, batch = prepared(*ACTS[kind])
    before = snapshot(net, batch, versions=True)
    refused = ""
    try:
        firstlight.audit(net, batch)
    except AuditError as error:  # a forward that cannot go on after what it did
        refused = str(error)
    left = differences(before, snapshot(net, batch, versions=True))
    assert not left, (left, refused)
    assert "while putting" not in refused


@pytest.mark.parametrize("where", ["loss", "gradient hook", "module hook", "backward hook"])
@pytest.mark.parametrize("kind", ["a row to zero", "detached", "gradient scaled", "foreach", "numpy"])
def test_writes_beside_the_forward_are_taken_back(where, kind, monkeypatch):
    monkeypatch.setattr(_storages, "AT_ONCE", 0)
    net, batch = prepared(lambda net, x: None, {})

    def write(*given):
        with torch.no_grad():
            WRITES[kind](net.a.weight)

    def loss(output, targets):
        write()
        return output.square().mean()

    if where == "gradient hook":
        net.b.weight.register_hook(write)
    if where == "module hook":
        net.b.register_forward_hook(write)
    if where == "backward hook":
        net.b.register_full_backward_hook(write)
    before = snapshot(net, batch, versions=True)
    firstlight.audit(net, batch, loss=loss if where == "loss" else None)
    assert not differences(before, snapshot(net, batch, versions=True))


def test_a_loss_with_a_state_is_guarded():
    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))
            self.calls = 0

        def forward(self, output, targets):
            self.seen += 1
            self.calls += 1
            targets.mul_(2)
            return (output - targets).square().mean()

    net, batch = prepared(lambda net, x: None, {})
    loss, targets = Weighted(), torch.randn(16, 4)
    before = targets.clone()
    firstlight.audit(net, batch, targets, loss=loss)
    assert (float(loss.seen), loss.calls) == (0.0, 0)
    assert torch.equal(targets, before)


class Reversible(torch.autograd.Function):
    """Runs a backward of its own inside the backward, which adds to ``.grad``."""

    @staticmethod
    def forward(ctx, x, inner):
        ctx.inner = inner
        ctx.save_for_backward(x)
        return inner(x).detach()

    @staticmethod
    def backward(ctx, gradient):
        with torch.enable_grad():
            x = ctx.saved_tensors[0].detach().requires_grad_()
            y = ctx.inner(x)
        torch.autograd.backward(y, gradient)
        return x.grad, None


@pytest.mark.parametrize("at_once", [0, _storages.AT_ONCE])
def test_a_backward_that_fills_gradients_by_itself_leaves_them(at_once, monkeypatch):
    monkeypatch.setattr(_storages, "AT_ONCE", at_once)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(8, 8), nn.Tanh())

        def forward(self, x):
            return Reversible.apply(x, self.inner)

    model, x = nn.Sequential(nn.Linear(8, 8), Block(), nn.Linear(8, 2)), torch.randn(16, 8)
    model(x).sum().backward()
    before = snapshot(model, x, versions=True)
    firstlight.audit(model, x)
    assert not differences(before, snapshot(model, x, versions=True))


@pytest.mark.parametrize("training", [True, False])
def test_a_backward_that_is_pending_still_runs_after_an_audit(training):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)), torch.randn(16, 8)
    model.train(training)
    loss = model(x).sum()
    firstlight.audit(model, x)
    loss.backward()
    got = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model(x).sum().backward()
    assert all(map(torch.equal, got, [p.grad for p in model.parameters()]))


def test_nothing_stops_the_rest_from_being_put_back():
    """A buffer is resized, and a parameter frozen: before, torch refused the first and the second stayed."""

    class Resizes(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("kept", torch.zeros(0, 8))
            self.a, self.norm = nn.Linear(8, 8), nn.BatchNorm1d(8)

        def forward(self, x):
            self.kept.resize_(16, 8).copy_(x)
            self.a.requires_grad_(False)
            return self.norm(self.a(x))

    model, x = Resizes(), torch.randn(16, 8)
    before = snapshot(model, x)
    firstlight.audit(model, x)
    assert not differences(before, snapshot(model, x))


HANDED_OUT = []  # of the program, where no walk from the model leads


def test_what_cannot_be_put_back_is_named_and_the_rest_is_put_back(monkeypatch):
    """A write through memory that was handed out earlier, into a storage too large to be copied beforehand."""
    monkeypatch.setattr(_storages, "AT_ONCE", 0)
    net, batch = prepared(lambda net, x: (HANDED_OUT[0].fill(7.0), net.b.requires_grad_(False)), {})
    HANDED_OUT[:] = [net.a.weight.detach().numpy()]
    statistics = net.norm.running_mean.clone()
    with pytest.raises(AuditError, match=r"while putting Net back .* the values of a\.weight") as caught:
        firstlight.audit(net, batch)
    assert "the write was not seen" in str(caught.value)
    assert torch.equal(net.norm.running_mean, statistics)
    assert net.b.weight.requires_grad


def test_a_large_buffer_costs_nothing_and_is_put_back_when_written(monkeypatch):
    monkeypatch.setattr(_storages, "AT_ONCE", 1 << 10)
    copies = []
    copy_ = _storages.Kept.copy
    monkeypatch.setattr(
        _storages.Kept,
        "copy",
        lambda kept: (copies.append(kept.name) if kept.copied is None else None, copy_(kept)),
    )

    class Queue(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("big", torch.zeros(1000, 8))
            self.register_buffer("queue", torch.zeros(1000, 8))
            self.a = nn.Linear(8, 8)

        def forward(self, x):
            self.queue[:4] = x[:4].detach()
            return self.a(x) + self.big[0]

    model, x = Queue(), torch.randn(16, 8)
    before = snapshot(model, x, versions=True)
    firstlight.audit(model, x)
    assert not differences(before, snapshot(model, x, versions=True))
    assert "queue" in copies
    assert "big" not in copies


@pytest.mark.parametrize("size", [0, 1, 7, 8, 65_536, 65_537, 200_003])
def test_a_checksum_tells_bytes_apart(size):
    flat = torch.randint(0, 256, (size,), dtype=torch.uint8, generator=torch.Generator().manual_seed(size))
    first = _storages.checksum(flat)
    assert torch.equal(first, _storages.checksum(flat.clone()))
    for place in {0, size // 2, size - 1} if size else ():
        other = flat.clone()
        other[place] ^= 1
        assert not torch.equal(first, _storages.checksum(other))


def test_hooks_of_an_audit_do_not_count_as_hooks_of_the_caller(monkeypatch):
    """A parameter that once had a hook keeps an empty dictionary, into which the audit's own hooks go."""
    monkeypatch.setattr("firstlight.probe.guard._storages.AT_ONCE", 0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4))
    for parameter in net.parameters():
        parameter.register_hook(lambda gradient: None).remove()
    seen = []
    own = Guard._runs_python
    monkeypatch.setattr(Guard, "_runs_python", lambda self, graph: seen.append(own(self, graph)) or seen[-1])
    firstlight.audit(net, torch.randn(16, 8))
    net[0].weight.register_hook(lambda gradient: None)
    firstlight.audit(net, torch.randn(16, 8))
    assert seen == [False, True]


def test_seeding_leaves_no_calls_waiting_for_accelerators_that_are_not_there():
    waiting = [torch.cuda._queued_calls, torch.xpu._queued_calls]
    before = list(map(len, waiting))
    firstlight.audit(nn.Linear(4, 2), torch.randn(8, 4))
    assert torch.cuda.is_available() or list(map(len, waiting)) == before
