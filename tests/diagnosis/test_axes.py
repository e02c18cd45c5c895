"""Time, tokens, attention and channels: what happens along axes other than depth is judged there."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import firstlight
from firstlight.probe import probe


def severities(model, batch, **how):
    return {v.code: v.severity for v in firstlight.audit(model, batch, **how).verdicts}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


# ------------------------------------------------------------------ time
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


# ------------------------------------------------------------------ tokens
class Attention(nn.Module):
    def __init__(self, d, heads, scale=None, gain=1.0, fused=False):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.heads, self.scale, self.fused = heads, scale, fused
        for layer in (self.q, self.k, self.v, self.o):
            nn.init.normal_(layer.weight, std=d**-0.5)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.q.weight.mul_(gain)
            self.k.weight.mul_(gain)

    def forward(self, x):
        b, t = x.shape[:2]
        q, k, v = (f(x).view(b, t, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        scale = self.scale if self.scale is not None else q.shape[-1] ** -0.5
        if self.fused:
            h = F.scaled_dot_product_attention(q, k, v, scale=scale)
        else:
            h = (q @ k.transpose(-2, -1) * scale).softmax(-1) @ v
        return self.o(h.transpose(1, 2).flatten(2))


class Chain(nn.Module):
    """Normalise, attend; with or without a skip."""

    def __init__(self, depth, skip, d=32, **how):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(depth))
        self.layers = nn.ModuleList(Attention(d, 4, **how) for _ in range(depth))
        self.skip, self.head = skip, nn.Linear(d, 2)

    def forward(self, x):
        for norm, layer in zip(self.norms, self.layers):
            h = layer(norm(x))
            x = x + h if self.skip else h
        return self.head(x)


@pytest.mark.parametrize("fused", [False, True])
def test_attention_without_skips_makes_one_token(fused):
    x = torch.randn(8, 12, 32)
    assert severities(Chain(12, False, fused=fused), x)["token-collapse"] == "unhealthy"
    assert "token-collapse" not in severities(Chain(12, True, fused=fused), x)


class Pooled(Chain):
    """A stream, here a weak one, passes the attention by, and the mean over tokens is read out."""

    def forward(self, x):
        for norm, layer in zip(self.norms, self.layers):
            x = 0.01 * x + layer(norm(x))
        return self.head(x.mean(1))


def test_tokens_that_are_read_out_together_behind_a_stream_may_be_alike():
    torch.manual_seed(0)
    assert severities(Pooled(12, True), torch.randn(8, 12, 32))["token-collapse"] == "warning"


class Windows(nn.Module):
    """Attention among the tokens of a map (samples × height × width × units), whose stream keeps that shape."""

    def __init__(self, depth, d=32):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(depth))
        self.layers = nn.ModuleList(Attention(d, 4, gain=0.1) for _ in range(depth))
        self.head = nn.Linear(d, 2)

    def forward(self, x):
        for norm, layer in zip(self.norms, self.layers):
            x = x + layer(norm(x).flatten(1, 2)).view_as(x)
        return self.head(x)


def test_ends_of_branches_in_which_attention_averages_are_no_collapse_of_the_stream():
    x, model = torch.randn(8, 3, 4, 32), Windows(6)
    rows = probe(model, x).profile
    ends = np.array([name.endswith(".o") for name in rows["name"]])
    assert (rows["token_correlation"][ends] > 0.95).all()
    stream = x
    for norm, layer in zip(model.norms, model.layers):  # the stream by hand: its tokens stay apart
        stream = stream + layer(norm(stream).flatten(1, 2)).view_as(stream)
    tokens = F.normalize(stream.flatten(1, 2), dim=-1)
    assert (tokens @ tokens.transpose(1, 2)).triu(1).sum() / (8 * 66) < 0.9
    assert "token-collapse" not in severities(model, x)


class Stem(nn.Module):
    """A stem of one column, and a head of one unit: whose tokens have cosines of ±1 whatever they say."""

    def __init__(self):
        super().__init__()
        self.i, self.a, self.b, self.o = (
            nn.Linear(1, 16),
            nn.Linear(16, 16),
            nn.Linear(16, 16),
            nn.Linear(16, 1),
        )

    def forward(self, x):
        h = torch.tanh(self.i(x[..., None]))
        return self.o(torch.tanh(self.b(torch.tanh(self.a(h)))))[..., 0]


class Streams(nn.Module):
    """Copies of one stream, which branches write into."""

    def __init__(self):
        super().__init__()
        self.i, self.f = nn.Linear(16, 32), nn.ModuleList(nn.Linear(32, 32) for _ in range(4))
        self.w, self.o = nn.Parameter(torch.ones(4)), nn.Linear(32, 2)

    def forward(self, x):
        h = self.i(x)[:, None].expand(-1, 4, -1)
        for f in self.f:
            h = h + self.w[:, None] * torch.tanh(f(h.mean(1)))[:, None]
        return self.o(h.sum(1))


@pytest.mark.parametrize("build", [Stem, Streams])
def test_tokens_of_one_unit_and_copies_of_a_stream_do_not_collapse(build):
    assert "token-collapse" not in severities(build(), torch.randn(16, 16))


def test_token_columns_against_their_definition():
    x = torch.randn(4, 6, 16)
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
    row = probe(model, x).profile
    z = model[0](x).detach()
    unit = F.normalize(z, dim=-1)
    off = ~torch.eye(6, dtype=torch.bool)
    cosines = torch.stack([(u @ u.T)[off].mean() for u in unit]).mean()
    at = list(row["name"]).index("0")
    assert row["token_correlation"][at] == pytest.approx(float(cosines), abs=1e-5)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    ("how", "sharp"), [({}, False), ({"scale": 1.0, "gain": 2.0}, True), ({"gain": 60.0}, True)]
)
def test_attention_that_is_one_hot_at_the_start(fused, how, sharp):
    model = nn.Sequential(Attention(64, 1, fused=fused, **how), nn.Linear(64, 2))
    found = severities(model, torch.randn(8, 10, 64))
    assert ("one-hot-attention" in found) is sharp
    if sharp:
        assert found["one-hot-attention"] == "unhealthy"


@pytest.mark.parametrize("causal", [False, True])
def test_the_weights_of_a_fused_kernel_are_those_of_its_formula(causal):
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.Linear(16, 16)

        def forward(self, x):
            h = self.l(x).view(4, 10, 2, 8).transpose(1, 2)
            return F.scaled_dot_product_attention(h, h, h, is_causal=causal).transpose(1, 2).flatten(2)

    model, x = Fused(), torch.randn(4, 10, 16)
    h = model.l(x).detach().view(4, 10, 2, 8).transpose(1, 2)
    logits = h @ h.transpose(-2, -1) / math.sqrt(8)
    if causal:
        logits = logits.masked_fill(torch.ones(10, 10).triu(1).bool(), -math.inf)
    weights = logits.softmax(-1)[..., 5:, :]
    row = probe(model, x).profile.select("attention")
    assert row["attention_max"][0] == pytest.approx(float(weights.amax(-1).mean()), abs=1e-5)
    assert row["attention_entropy"][0] == pytest.approx(
        float(-(weights * weights.clamp_min(1e-30).log()).sum(-1).mean() / math.log(10)), abs=1e-5
    )


def test_rows_of_fused_attention_have_the_layout_that_the_projection_reads():
    d, x = 32, torch.randn(16, 6, 32) + 1.0
    model = Attention(d, 4, fused=True)
    profile = probe(model, x).profile
    h = {}
    model.o.register_forward_pre_hook(lambda m, args: h.update(read=args[0].detach()))
    model(x)
    unit = F.normalize(h["read"].reshape(-1, d), dim=-1)
    mean = float((unit @ unit.T)[~torch.eye(len(unit), dtype=torch.bool)].mean())
    row = profile.select("attention")
    # 64 of 96 rows are read: the mean over pairs keeps to within its own error
    assert row["correlation"][0] == pytest.approx(mean, abs=0.1)


# ------------------------------------------------------------------ channels
class Residual(nn.Module):
    def __init__(self, standardise, normalise=False, blocks=10, width=64):
        super().__init__()
        self.a = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(blocks))
        self.b = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(blocks))
        self.n = nn.ModuleList(nn.BatchNorm1d(width) if normalise else nn.Identity() for _ in range(blocks))
        for layer in (*self.a, *self.b):
            w = torch.randn(width, width)
            if standardise:
                w = (w - w.mean(1, keepdim=True)) / w.std(1, keepdim=True)
            layer.weight.data.copy_(
                w * math.sqrt(1 / width) * (1.7129 if layer not in [*self.a][:0] else 1.0)
            )
        self.o = nn.Linear(width, 2)

    def forward(self, x):
        size = 1.0
        for a, b, n in zip(self.a, self.b, self.n):
            x = x + 0.5 * b(torch.relu(a(torch.relu(n(x / size)))))
            size = math.sqrt(size**2 + 0.25)
        return self.o(x)


def test_channel_means_that_grow_are_named():
    x = torch.randn(64, 64)
    assert severities(Residual(False), x)["channel-means"] == "warning"
    assert "channel-means" not in severities(Residual(True), x)
    assert "channel-means" not in severities(Residual(False, normalise=True), x)


def test_channel_columns_against_their_definition():
    x = torch.randn(32, 8)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    row = probe(model, x).profile
    z = model[0](x).detach().double()
    assert row["channel_var"][1] == pytest.approx(float(z.var(0).mean()), rel=1e-4)
    assert row["channel_mean_square"][1] == pytest.approx(
        float((z.mean(0).square() - z.var(0) / 32).mean()), rel=1e-3
    )


# ------------------------------------------------------------------ the axis of a softmax
class Weighs(nn.Module):
    """Attention by hand whose softmax is taken over a given axis."""

    def __init__(self, axis, then=lambda w: w):
        super().__init__()
        self.p, self.o, self.axis, self.then = nn.Linear(16, 48), nn.Linear(16, 2), axis, then

    def forward(self, x):
        q, k, v = self.p(x).chunk(3, -1)
        return self.o(self.then((q @ k.mT / 4).softmax(self.axis)) @ v)


@pytest.mark.parametrize(("axis", "named"), [(-1, False), (2, False), (0, True), (1, True), (-2, True)])
def test_a_softmax_over_another_axis_than_the_sum_is_named(axis, named):
    result = firstlight.audit(Weighs(axis), torch.randn(8, 6, 16))
    found = {v.code: v for v in result.verdicts}
    assert ("softmax-axis" in found) is named
    if named:
        assert found["softmax-axis"].severity == "warning"
        assert ("samples" in found["softmax-axis"].evidence) is (axis == 0)


def test_slots_that_compete_for_tokens_are_normalised_again():
    slots = Weighs(-2, lambda w: w / w.sum(-1, keepdim=True))
    assert "softmax-axis" not in severities(slots, torch.randn(8, 6, 16))
