"""A zero that is meant: at the end of a branch or of the network, in a gate or an adapter. It is a note at most."""

import pytest
import torch
import torch.nn.functional as F
from tests.diagnosis.forward import Forward
from tests.diagnosis.layers import parameter, samples, zero
from tests.diagnosis.severities import severities
from torch import nn


@pytest.fixture
def x():
    return samples()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class ZeroBranch(nn.Module):
    def __init__(self, end):
        super().__init__()
        self.body, self.end = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16)), end

    def forward(self, v):
        return v + self.end(self.body(v))


class Gate(nn.Module):
    """A tanh gate that starts closed."""

    def __init__(self):
        super().__init__()
        self.f, self.g = nn.Linear(16, 16), zero(nn.Linear(16, 16))

    def forward(self, v):
        return v + torch.tanh(self.g(v)) * self.f(v)


class Coupling(nn.Module):
    """An affine coupling of a flow whose log-scale starts at zero."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), zero(nn.Linear(32, 16)))

    def forward(self, v):
        a, b = v.chunk(2, 1)
        s, t = self.net(a).chunk(2, 1)
        return torch.cat([b * torch.exp(s) + t, a], 1)


class Decay(nn.Module):
    """A learned decay that starts at zero inside an exponential."""

    def __init__(self):
        super().__init__()
        self.dt, self.a, self.o = nn.Linear(16, 16), nn.Parameter(torch.zeros(16)), nn.Linear(16, 16)

    def forward(self, v):
        return v + self.o(torch.exp(self.a * F.softplus(self.dt(v))) * v)


class Adapter(nn.Module):
    """LoRA beside a frozen layer."""

    def __init__(self):
        super().__init__()
        self.base, self.a, self.b = nn.Linear(16, 16), parameter(4, 16), nn.Parameter(torch.zeros(16, 4))
        self.base.requires_grad_(False)

    def forward(self, v):
        return torch.tanh(self.base(v) + F.linear(F.linear(v, self.a), self.b))


def _ended(end):
    return nn.Sequential(nn.Linear(16, 16), ZeroBranch(end()), ZeroBranch(end()), nn.Linear(16, 4))


SOUND = {
    "softmax regression from zero": lambda: zero(nn.Linear(16, 4)),
    "head from zero": lambda: nn.Sequential(nn.Linear(16, 32), nn.ReLU(), zero(nn.Linear(32, 4))),
    "last layer of a branch": lambda: _ended(lambda: zero(nn.Linear(16, 16))),
    "gain of a branch's last normaliser": lambda: _ended(lambda: zero(nn.BatchNorm1d(16))),
    "ReZero": lambda: nn.Sequential(
        *[Forward(lambda s, v: v + s.g * torch.tanh(s.l(v)), l=nn.Linear(16, 16), g=nn.Parameter(torch.zeros(1)))
          for _ in range(3)], nn.Linear(16, 4),
    ),
    "layer scale of zero": lambda: nn.Sequential(
        *[Forward(lambda s, v: v + s.g * F.gelu(s.l(v)), l=nn.Linear(16, 16), g=nn.Parameter(torch.zeros(16)))
          for _ in range(3)], nn.Linear(16, 4),
    ),
    "tanh gate": lambda: nn.Sequential(nn.Linear(16, 16), Gate(), Gate(), nn.Linear(16, 4)),
    "coupling": lambda: nn.Sequential(nn.Linear(16, 16), Coupling(), Coupling(), nn.Linear(16, 4)),
    "decay": lambda: nn.Sequential(nn.Linear(16, 16), Decay(), Decay(), nn.Linear(16, 4)),
    "LoRA": lambda: nn.Sequential(Adapter(), Adapter(), nn.Linear(16, 4)),
    "straight through a sign": lambda: Forward(
        lambda s, v: s.b(torch.tanh(F.linear(v, s.w + (s.w.sign() / 4 - s.w).detach()))),
        w=parameter(16, 16), b=nn.Linear(16, 4),
    ),
    "zero end behind a zero output": lambda: nn.Sequential(
        nn.Linear(16, 16), ZeroBranch(zero(nn.Linear(16, 16))), ZeroBranch(zero(nn.Linear(16, 16))),
        zero(nn.Linear(16, 4)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SOUND)
def test_a_zero_that_is_meant_is_a_note_at_most(name, x):
    model = SOUND[name]()
    targets = torch.arange(32) % 4
    found = severities(model, x, targets=targets)
    assert set(found.values()) <= {"healthy", "note"}, found
    # the second way: it trains
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2)
    losses = []
    for _ in range(60):
        loss = F.cross_entropy(model(x), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]
