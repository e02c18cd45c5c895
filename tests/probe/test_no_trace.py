"""An audit leaves parameters, buffers, gradients, modes, hooks, caches and generators exactly as found."""

import copy
import io
import random
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from firstlight.errors import AuditError
from firstlight.probe import probe
from firstlight.probe.graph._site import Origin
from firstlight.probe.guard import random_state
from firstlight.probe.trace._ledger import Origins


class Restless(nn.Module):
    """Writes to everything a forward may write to."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(8)
        self.layer = nn.Linear(8, 8)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("count", torch.zeros(()))
        self.calls, self.cache, self.history = 0, None, []

    def forward(self, x):
        self.calls += 1
        self.count += 1
        self.cache = self.drop(self.layer(self.norm(x)))
        self.history.append(self.calls)
        self.added = torch.ones(3)
        with torch.no_grad():
            self.layer.weight.mul_(0.9)
            self.layer.bias.data += 1.0
        return self.cache + float(np.random.randn() + random.random())  # noqa: NPY002


def state(model):
    return {
        "tensors": {k: v.clone() for k, v in model.state_dict().items()},
        "identities": [id(p) for p in (*model.parameters(), *model.buffers())],
        "training": [m.training for m in model.modules()],
        "hooks": [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in model.modules()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "backward_hooks": [p._backward_hooks and dict(p._backward_hooks) for p in model.parameters()],
        "plain": (model.calls, model.cache, list(model.history), hasattr(model, "added")),
        "random": (torch.random.get_rng_state(), np.random.get_state()[1].tolist()),  # noqa: NPY002
    }


def same(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    return a == b


@pytest.mark.parametrize("training", [True, False, None])
@pytest.mark.parametrize("with_gradients", [False, True])
def test_nothing_is_left_behind(training, with_gradients):
    model = Restless()
    model.drop.eval()
    x = torch.randn(16, 8)
    if with_gradients:
        nn.functional.linear(x, model.layer.weight).sum().backward()
    before = state(model)
    probe(model, x, training=training)
    after = state(model)
    for key, value in before.items():
        assert same(value, after[key]) or not (value or after[key]), key
    assert vars(x) == {}
    assert x.grad is None
    assert x.requires_grad is False


def test_nothing_is_left_behind_when_the_forward_raises():
    class Breaks(Restless):
        def forward(self, x):
            super().forward(x)
            raise RuntimeError("on purpose")

    model, x = Breaks(), torch.randn(16, 8)
    before = state(model)
    with pytest.raises(AuditError, match="on purpose"):
        probe(model, x)
    for key in ("tensors", "training", "plain", "identities", "random"):
        assert same(before[key], state(model)[key]), key
    assert vars(x) == {}
    assert torch.relu(x).shape == x.shape  # no mode is left on the stack


def test_the_same_seed_gives_the_same_numbers():
    model, x = Restless(), torch.randn(16, 8)
    first, second = probe(model, x, seed=3), probe(model, x, seed=3)
    assert first.profile.to_dict()["columns"] == second.profile.to_dict()["columns"]
    assert first.profile["log_grad"][2] != probe(model, x, seed=4).profile["log_grad"][2]


def test_activations_are_not_kept():
    import gc
    import weakref

    kept = []

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x):
            y = self.layer(x)
            kept.append(weakref.ref(y))
            return y.tanh()

    result = probe(Watched(), torch.randn(4, 8))
    gc.collect()
    assert len(result.profile) == 3
    assert kept[0]() is None


def test_every_generator_is_given_back():
    # beartype draws from Python's generator, so it is watched around the guard alone
    before = random.getstate()
    with random_state(5):
        drawn = (random.random(), np.random.rand(), torch.rand(()).item())  # noqa: NPY002
    assert random.getstate() == before
    with random_state(5):
        assert drawn == (random.random(), np.random.rand(), torch.rand(()).item())  # noqa: NPY002


class OwnStatistics(nn.Module):
    """Writes a buffer in place, as averages, codebooks and queues do."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x):
        return x - self.mean.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)


class Casts(nn.Module):
    """Returns its own parameter from an operation: a cast to the dtype it has."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(8))

    def forward(self, x):
        return x * torch.exp(self.gain.float())


class Clips(nn.Linear):
    def forward(self, x):
        with torch.no_grad():
            self.weight.clamp_(-1, 1)
        return super().forward(x)


def spectral(width):
    return nn.utils.parametrizations.spectral_norm(nn.Linear(width, width))


@pytest.mark.parametrize("inner", [OwnStatistics, Casts, lambda: Clips(8, 8), lambda: spectral(8)])
def test_nothing_is_written_on_tensors_and_a_second_audit_is_the_first(inner):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(8, 8), inner(), nn.Tanh(), nn.Linear(8, 4)), torch.randn(16, 8)
    first, second = probe(model, x), probe(model, x)
    assert first.profile.to_dict()["columns"] == second.profile.to_dict()["columns"]
    assert all(vars(t) == {} for t in (x, *model.parameters(), *model.buffers()))
    copied = copy.deepcopy(model)
    torch.save(copied.state_dict(), io.BytesIO())
    assert probe(copied, x).profile.to_dict()["columns"] == first.profile.to_dict()["columns"]


def test_origins_do_not_outlive_their_tensors():
    origins, kept = Origins(), torch.zeros(3)
    origins.put(kept, Origin(label="kept"))
    for _ in range(40):
        tensors = [torch.zeros(3) for _ in range(100)]
        for i, tensor in enumerate(tensors):
            origins.put(tensor, Origin(label=str(i)))
        assert [origins.get(t).label for t in tensors] == [str(i) for i in range(100)]
        gone = weakref.ref(tensor)
        del tensor, tensors
        assert gone() is None
        # an address may be used again: a new tensor there is unknown
        assert all(origins.get(torch.zeros(3)) is None for _ in range(10))
    # 4000 tensors came and went; the map is searched whenever it has doubled, from 1024 entries on
    assert len(origins) <= 1025
    assert origins.get(kept).label == "kept"
