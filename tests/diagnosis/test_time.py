"""Time: what a recurrent layer, or a layer that is called step by step, forgets or blows up, is judged along time."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.diagnosis.severities import severities
from torch import nn

import firstlight
from firstlight.diagnosis.findings import Findings
from firstlight.probe import probe


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class Sequence(nn.Module):
    """A recurrent layer read at its last step, or at every step."""

    def __init__(self, layer, width, every=False):
        super().__init__()
        self.r, self.o, self.every = layer, nn.Linear(width, 1), every

    def forward(self, x):
        h = self.r(x)[0]
        return self.o(h if self.every else h[:, -1])


class Cell(nn.Module):
    """A cell called once a step."""

    def __init__(self, cell, width):
        super().__init__()
        self.cell, self.o, self.width = cell, nn.Linear(width, 1), width

    def forward(self, x):
        state = x.new_zeros(len(x), self.width)
        if isinstance(self.cell, nn.LSTMCell):
            state = (state, torch.zeros_like(state))
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return self.o(state[0] if isinstance(state, tuple) else state)


class ByHand(nn.Module):
    """h = φ(W h + U x), with σ_w as given."""

    def __init__(self, width, sigma_w, phi=torch.tanh):
        super().__init__()
        self.w, self.u, self.o = nn.Linear(width, width), nn.Linear(4, width), nn.Linear(width, 1)
        self.phi = phi
        nn.init.normal_(self.w.weight, std=sigma_w / math.sqrt(width))

    def forward(self, x):
        h = x.new_zeros(len(x), self.w.in_features)
        for t in range(x.shape[1]):
            h = self.phi(self.w(h) + self.u(x[:, t]))
        return self.o(h)


def rnn(sigma_w, width=32, **how):
    layer = nn.RNN(4, width, batch_first=True, **how)
    nn.init.normal_(layer.weight_hh_l0, std=sigma_w / math.sqrt(width))
    return layer


class Packed(nn.Module):
    """An LSTM over packed sequences."""

    def __init__(self):
        super().__init__()
        self.r, self.o = nn.LSTM(4, 16, batch_first=True), nn.Linear(16, 1)

    def forward(self, x):
        lengths = torch.tensor([x.shape[1]] * (len(x) - 1) + [x.shape[1] // 2])
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        return self.o(self.r(packed)[1][0][-1])


FORGETS = {
    "LSTM": lambda: Sequence(nn.LSTM(4, 16, batch_first=True), 16),
    "GRU": lambda: Sequence(nn.GRU(4, 16, batch_first=True), 16),
    "RNN": lambda: Sequence(nn.RNN(4, 16, batch_first=True), 16),
    "LSTM read at every step": lambda: Sequence(nn.LSTM(4, 16, batch_first=True), 16, every=True),
    "two layers, both directions": lambda: Sequence(
        nn.GRU(4, 16, num_layers=2, bidirectional=True, batch_first=True), 32
    ),
    "packed LSTM": lambda: Packed(),
    "RNN of σ_w .4": lambda: Sequence(rnn(0.4), 32),
    "by hand, σ_w .4": lambda: ByHand(32, 0.4),
    "RNN cell": lambda: Cell(nn.RNNCell(4, 16), 16),
    "LSTM cell": lambda: Cell(nn.LSTMCell(4, 16), 16),
}


EXPLODES = {
    "RNN of σ_w 3.2": lambda: Sequence(rnn(3.2, 64), 64),
    "ReLU of σ_w 2.2": lambda: Sequence(rnn(2.2, nonlinearity="relu"), 32),
    "by hand, σ_w 3.2": lambda: ByHand(64, 3.2),
}


@pytest.mark.parametrize("name", FORGETS)
def test_a_recurrence_that_forgets(name):
    steps = 60 if "hand" in name or "cell" in name else 400
    assert severities(FORGETS[name](), torch.randn(8, steps, 4))["vanishing-through-time"] == "unhealthy"


@pytest.mark.parametrize("name", EXPLODES)
def test_a_recurrence_that_explodes(name):
    steps = 40 if "hand" in name else 100
    found = severities(EXPLODES[name](), torch.randn(8, steps, 4))
    assert found["exploding-through-time"] == "unhealthy"
    assert "residual-growth" not in found


class Stepwise(nn.Module):
    """A recurrent layer whose loss reads every step: fused, packed, or a cell."""

    def __init__(self, form):
        super().__init__()
        self.r = nn.LSTMCell(4, 16) if form == "cell" else nn.LSTM(4, 16, batch_first=form != "time first")
        self.o, self.form = nn.Linear(16, 1), form

    def forward(self, x):
        if self.form == "packed":
            lengths = torch.tensor([x.shape[1]] * len(x))
            return self.o(self.r(nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True))[0].data)
        if self.form == "time first":
            return self.o(self.r(x.transpose(0, 1))[0].transpose(0, 1))
        if self.form == "fused":
            return self.o(self.r(x)[0])
        state, found = None, []
        for t in range(x.shape[1]):
            state = self.r(x[:, t], state)
            found.append(state[0])
        return self.o(torch.stack(found, 1))


@pytest.mark.parametrize("form", ["fused", "time first", "packed", "cell"])
def test_an_answer_at_every_step_needs_less_memory(form):
    x = torch.randn(8, 60, 4)

    # packed sequences come in the order of their steps
    def loss(out, targets):
        return F.mse_loss(out.flatten(), targets.flatten())

    (found,) = (
        v
        for v in firstlight.audit(Stepwise(form), x, torch.randn_like(x[..., :1]), loss=loss).verdicts
        if v.code == "vanishing-through-time"
    )
    assert found.measured > 9.0  # beyond the line of plain gradient descent where the last step alone is read
    assert found.severity == "warning"
    assert "The loss reads 100% of the steps directly" in found.evidence


def test_a_stream_around_a_recurrent_layer_keeps_what_the_layer_forgets():
    class Around(nn.Module):
        """As between the encoder and the decoder of an audio codec."""

        def __init__(self):
            super().__init__()
            self.i, self.r, self.o = nn.Linear(4, 16), nn.LSTM(16, 16, batch_first=True), nn.Linear(16, 4)

        def forward(self, x):
            h = self.i(x)
            return self.o(h + self.r(h)[0])

    x = torch.randn(8, 60, 4)
    assert severities(Around(), x)["vanishing-through-time"] == "warning"
    assert severities(Sequence(nn.LSTM(4, 16, batch_first=True), 16, every=True), x) == {
        "vanishing-through-time": "unhealthy"
    }


def test_forgetting_that_adaptive_optimisers_forgive_says_so():
    model, x = Sequence(nn.LSTM(4, 16, batch_first=True), 16), torch.randn(8, 60, 4)
    sides = {o: firstlight.audit(model, x, optimiser=o).verdicts[0] for o in (None, "sgd", "adam")}
    assert [sides[o].severity for o in sides] == ["unhealthy", "unhealthy", "warning"]
    assert sides[None].evidence.endswith("adaptive optimisers such as Adam forgive it.")


def test_a_recurrence_at_the_edge_of_chaos_remembers():
    layer = nn.RNN(4, 32, batch_first=True)
    nn.init.orthogonal_(layer.weight_hh_l0)
    nn.init.normal_(layer.weight_ih_l0, std=0.01)
    for name, p in layer.named_parameters():
        if "bias" in name:
            nn.init.zeros_(p)
    found = severities(Sequence(layer, 32), 0.5 * torch.randn(8, 60, 4))
    assert "vanishing-through-time" not in found
    assert "exploding-through-time" not in found


@pytest.mark.parametrize("sigma_w", [0.577, 1.0])
def test_a_short_recurrence_is_time_and_no_depth(sigma_w):
    torch.manual_seed(0)
    model, x = ByHand(32, sigma_w), torch.randn(16, 8, 4)
    assert set(severities(model, x)) == {"healthy"}
    # one layer that reads nothing but what it gave is a depth with shared weights
    found = Findings(probe(model, x))
    assert found.loops == ("w",)
    assert Findings(probe(Again(32, 8), x[:, 0])).loops == ()
    # all calls of a layer count as one that reads the whole sequence: the norms' squares add up
    rows = [str(n).startswith("u") for n in found.profile["name"]]
    square = (np.exp(2 * found.profile["log_grad"][rows]) * 16 * 32).sum()
    first = found.log_gradient_norms[[str(n) for n in found.weights["name"]].index("u")]
    assert first == pytest.approx(0.5 * math.log(square))


class Again(nn.Module):
    """One layer that is called again on what it gave, and nothing comes in."""

    def __init__(self, width, calls):
        super().__init__()
        self.first, self.w, self.calls = nn.Linear(4, width), nn.Linear(width, width), calls

    def forward(self, x):
        h = torch.tanh(self.first(x))
        for _ in range(self.calls):
            h = torch.tanh(self.w(h))
        return h


def test_an_lstm_cell_remembers_by_its_cell_state():
    torch.manual_seed(0)
    model, x = Cell(nn.LSTMCell(4, 16), 16), torch.randn(8, 20, 4)
    nn.init.constant_(model.cell.bias_hh[16:32], 6.0)  # open forget gates: the cell state lasts
    logs = probe(model, x).meta["time"]["cell"]["logs"]
    # independently: what the last hidden state owes to the cell state of each step, by plain autograd
    state, cells = (torch.zeros(8, 16), torch.zeros(8, 16)), []
    for t in range(20):
        state = model.cell(x[:, t], state)
        cells.append(state[1])
    direction = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    owed = torch.autograd.grad(state[0], cells, direction)
    own = [float(g.norm().log()) for g in owed]
    # the hidden state's own part comes on top, and here it is small
    assert all(0 <= a - b < 0.5 for a, b in zip(logs[:-1], own[:-1]))
    assert severities(model, x).get("vanishing-through-time") is None


class Decoder(nn.Module):
    """A cell that reads its own output, as sequences are written step by step."""

    def __init__(self, steps):
        super().__init__()
        self.cell, self.o, self.steps = nn.GRUCell(4, 32), nn.Linear(32, 4), steps

    def forward(self, x):
        h, y, out = x.new_zeros(len(x), 32), x, []
        for _ in range(self.steps):
            h = self.cell(y, h)
            y = self.o(h)
            out.append(y)
        return torch.stack(out, 1)


class Gates(nn.Module):
    """An LSTM written by hand, one layer for all gates, with its forget gate open."""

    def __init__(self, width, steps, bias):
        super().__init__()
        self.w, self.o, self.steps, self.width = (
            nn.Linear(4 + width, 4 * width),
            nn.Linear(width, 1),
            steps,
            width,
        )
        nn.init.constant_(self.w.bias[width : 2 * width], bias)

    def forward(self, x):
        h = c = x.new_zeros(len(x), self.width)
        for t in range(self.steps):
            i, f, g, o = self.w(torch.cat([x[:, t], h], 1)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.o(h)


def test_loops_are_no_depth_for_signals_and_gates():
    torch.manual_seed(0)
    assert Findings(probe(Decoder(8), torch.randn(16, 4))).loops == ("o",)
    assert "unhealthy" not in severities(Decoder(8), torch.randn(16, 4)).values()
    found = severities(Gates(16, 12, 4.0), torch.randn(16, 12, 4))
    assert "unhealthy" not in found.values()


class Scan(nn.Module):
    """h = a h + b u or lerp, with no layer in the loop; a gate of the input, or learned."""

    def __init__(self, kind, start):
        super().__init__()
        self.u, self.z, self.o = nn.Linear(4, 16), nn.Linear(4, 16), nn.Linear(16, 1)
        self.a, self.kind = nn.Parameter(torch.full((16,), start)), kind
        nn.init.constant_(self.z.bias, start)

    def forward(self, x):
        u, z, a = self.u(x), torch.sigmoid(self.z(x)), torch.sigmoid(self.a)
        h = x.new_zeros(len(x), 16)
        for t in range(x.shape[1]):
            if self.kind == "learned":
                h = a * h + (1 - a * a).sqrt() * u[:, t]
            elif self.kind == "gate":
                h = z[:, t] * h + (1 - z[:, t]) * torch.tanh(u[:, t])
            elif self.kind == "lerp":
                h = torch.lerp(u[:, t], h, z[:, t])
            else:
                h = 1.2 * h + u[:, t]
        return self.o(h)


@pytest.mark.parametrize("kind", ["learned", "gate", "lerp"])
def test_a_state_that_decays_is_judged_along_time(kind):
    x = torch.randn(4, 60, 4)
    found = severities(Scan(kind, -1.0), x)
    assert found["vanishing-through-time"] == "unhealthy"
    # a state that lasts, of the same sums, is no residual stream and has no fault
    found = severities(Scan(kind, 5.0), x)
    assert not {"vanishing-through-time", "channel-means", "residual-growth", "rank-collapse"} & set(found)


def test_the_rate_of_a_scan_is_its_factor():
    result = firstlight.audit(Scan("fixed", 0.0), torch.randn(4, 40, 4))
    logs = probe(Scan("fixed", 0.0), torch.randn(4, 40, 4)).meta["time"]["scan"]["logs"]
    steps = [b - a for a, b in itertools.pairwise(logs)]
    assert steps == pytest.approx([-math.log(1.2)] * len(steps), abs=1e-5)  # float32 products
    assert {v.code: v.severity for v in result.verdicts}["exploding-through-time"] == "unhealthy"


def test_a_short_sequence_through_an_lstm_is_sound():
    assert firstlight.audit(Sequence(nn.LSTM(8, 32, batch_first=True), 32), torch.randn(64, 20, 8)).healthy


def test_the_rate_through_time_is_that_of_plain_autograd():
    model = Sequence(nn.GRU(4, 16, batch_first=True), 16)
    x = torch.randn(8, 30, 4)
    logs = probe(model, x).meta["time"]["r"]["logs"]
    moved = x[:4].clone().requires_grad_()
    last = model.r(moved)[0][:, -1]
    direction = torch.randn(last.shape, generator=torch.Generator().manual_seed(0))
    (last * direction).sum().backward()
    by_hand = moved.grad.norm(dim=(0, 2)).log().tolist()
    assert logs == pytest.approx(by_hand, abs=1e-4)  # float32 sums
