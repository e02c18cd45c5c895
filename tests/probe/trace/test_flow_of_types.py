"""The flow is kept for values of every type: casts, integers, complex numbers, sparse and batched products."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.probe.trace.hooked import Net, agrees
from torch import nn

CASTS = {
    "to integers and back": lambda h: (h * 100).long().float() / 100,
    "rounded": lambda h: h.round().int().to(torch.float32),
    "boolean": lambda h: (h > 0).float(),
    "argmax": lambda h: F.one_hot(h.argmax(1), 16).float(),
    "quantised": lambda h: (h.clamp(-1, 1) * 127).to(torch.int8).float() / 127,
    "logical": lambda h: ((h > 0) & (h < 1)).to(h.dtype),
}


@pytest.mark.parametrize("cast", CASTS)
def test_layers_behind_a_cast_have_rows(cast):
    """No gradient passes a cast, but the layers behind it are measured as they ran."""
    torch.manual_seed(0)
    result = agrees(Net(CASTS[cast]), torch.randn(16, 16))
    assert {"a", "b", "c", "d"} <= {str(n) for n in result.profile["name"]}


class Times(nn.Module):
    """The time path of a diffusion model."""

    def __init__(self, embed):
        super().__init__()
        self.t1, self.t2, self.a, self.o = (
            nn.Linear(16, 32),
            nn.Linear(32, 16),
            nn.Linear(16, 16),
            nn.Linear(16, 16),
        )
        self.embed = embed

    def forward(self, x, t):
        return self.o(torch.relu(self.a(x) + self.t2(F.silu(self.t1(self.embed(t))))))


def sinusoids(t):
    e = t[:, None].float() * torch.exp(-math.log(1e4) * torch.arange(8) / 8)[None]
    return torch.cat([e.sin(), e.cos()], 1)


@pytest.mark.parametrize(
    "embed",
    [
        sinusoids,
        lambda t: F.one_hot(t % 16, 16).float(),
        lambda t: (t / 1000.0)[:, None].expand(-1, 16),
        lambda t: torch.stack([(t >> i) & 1 for i in range(16)], 1).to(torch.get_default_dtype()),
        lambda t: t.to(torch.float32).reshape(-1, 1).repeat(1, 16) * 1e-3,
    ],
    ids=["sinusoids", "one-hot", "scaled", "bits", "repeated"],
)
def test_integer_time_steps_flow(embed):
    torch.manual_seed(0)
    batch = (torch.randn(16, 16), torch.randint(0, 1000, (16,)))
    result = agrees(Times(embed), batch)
    inputs = [str(n) for n in result.profile.select("input")["name"]]
    assert inputs == ["input0", "input1"]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.int16, torch.bool])
def test_pixels_of_any_integer_type_have_rows(dtype):
    """The input's row is what the first weight reads: pixels over 255."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 4))

    class Pixels(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = body

        def forward(self, x):
            return self.f(x.float() / 255.0)

    x = (torch.rand(16, 3, 4, 4) * 255).to(dtype)
    result = agrees(Pixels(), x)
    assert [str(k) for k in result.profile["kind"]] == ["input", "weight", "activation", "weight"]
    expected = (x.double() / 255).square().mean().item()
    assert result.profile["q"][0] == pytest.approx(expected, rel=1e-6)


class Born(nn.Module):
    """Signals that begin inside the forward: noise, learned queries, constants."""

    def __init__(self, birth):
        super().__init__()
        self.birth = birth
        self.query = nn.Parameter(torch.randn(1, 16))
        self.a, self.b, self.c, self.norm = (
            nn.Linear(16, 16),
            nn.Linear(16, 16),
            nn.Linear(16, 4),
            nn.LayerNorm(16),
        )

    def forward(self, x):
        return self.c(torch.tanh(self.a(x)) + F.gelu(self.b(self.norm(self.birth(self, x)))))


@pytest.mark.parametrize(
    "birth",
    [
        lambda s, x: torch.randn(len(x), 16) + 0 * s.query,
        lambda s, x: s.query.expand(len(x), -1),
        lambda s, x: s.query.repeat(len(x), 1) + torch.arange(16.0) / 16,
        lambda s, x: torch.linspace(0, 1, 16).expand(len(x), 16) * s.query,
        lambda s, x: torch.stack([s.query[0]] * len(x)).requires_grad_(),
        lambda s, x: torch.empty(len(x), 16).normal_() * s.query.exp(),
    ],
    ids=["noise", "query", "query and positions", "grid", "stacked", "scaled noise"],
)
def test_what_is_born_inside_the_forward_has_rows(birth):
    torch.manual_seed(0)
    result = agrees(Born(birth), torch.randn(16, 16))
    kinds = dict(zip((str(n) for n in result.profile["name"]), result.profile["kind"]))
    assert {"norm", "gelu", "tanh"} <= kinds.keys()
    assert not any(str(v) == "weight" for n, v in kinds.items() if n not in "abc")


@pytest.mark.parametrize(
    "product",
    [
        lambda s, x: torch.einsum("bi,gio->bgo", x, s.w),
        lambda s, x: torch.bmm(x.expand(3, -1, -1), s.w).transpose(0, 1),
        lambda s, x: torch.matmul(x[None], s.w).transpose(0, 1),
        lambda s, x: torch.baddbmm(torch.zeros(1), x.expand(3, -1, -1), s.w).transpose(0, 1),
        lambda s, x: torch.stack([x @ s.w[i] for i in range(3)], 1),
        lambda s, x: torch.stack([F.linear(x, s.w[i].t()) for i in range(3)], 1),
        lambda s, x: torch.tensordot(x, s.w, dims=([1], [1])),
        lambda s, x: torch.stack(list(torch.vmap(lambda w: x @ w)(s.w)), 1),
    ],
    ids=["einsum", "bmm", "matmul", "baddbmm", "loop", "linear", "tensordot", "vmap"],
)
def test_batched_experts_have_rows_and_theory(product):
    torch.manual_seed(0)

    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.i, self.o = nn.Linear(32, 32), nn.Linear(96, 4)
            self.w = nn.Parameter(torch.randn(3, 32, 32) / 32**0.5)

        def forward(self, x):
            return self.o(torch.relu(product(self, self.i(x))).flatten(1))

    result = agrees(Experts(), torch.randn(64, 32))
    rows = [row for row in result.profile if str(row["name"]).startswith("w")]
    assert rows
    assert all(row["kind"] == "weight" for row in rows)
    ratios = [row["q_ratio"] for row in rows if np.isfinite(row["q_ratio"])]
    # q over theory, with 32 inputs a unit: 1 ± the sampling error of the squares of 3 · 32 · 32 weights
    assert all(0.7 < ratio < 1.4 for ratio in ratios)
    known = product.__code__.co_consts
    if any("bgo" in str(c) for c in known):
        assert ratios


def test_complex_weights_have_rows_and_theory():
    """A spectral layer: FFT, a complex weight, and back; Parseval carries q through."""
    torch.manual_seed(0)

    class Spectral(nn.Module):
        def __init__(self):
            super().__init__()
            self.i, self.o = nn.Linear(32, 32), nn.Linear(32, 4)
            self.w = nn.Parameter(torch.randn(32, 32, dtype=torch.cfloat) / 32**0.5)

        def forward(self, x):
            z = torch.fft.fft(self.i(x), norm="ortho")
            return self.o(torch.fft.ifft(z @ self.w, norm="ortho").real)

    result = agrees(Spectral(), torch.randn(64, 32))
    row = next(row for row in result.profile if row["name"] == "w")
    assert row["kind"] == "weight"
    assert row["fan_in"] == 64  # each part of a complex result sums two products of real numbers an input
    assert row["q_ratio"] == pytest.approx(1.0, abs=0.2)
    assert np.isfinite(row["log_weight_grad"])


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_sparse_inputs_have_rows(layout):
    torch.manual_seed(0)
    dense = torch.randn(16, 16) * (torch.rand(16, 16) < 0.3)

    class Sparse(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.o = nn.Parameter(torch.randn(16, 16) / 4), nn.Linear(16, 4)

        def forward(self, x):
            return self.o(torch.sparse.mm(x, self.w).relu())

    result = agrees(Sparse(), dense.to_sparse_coo() if layout == "coo" else dense.to_sparse_csr())
    names = [str(n) for n in result.profile["name"]]
    assert names == ["input", "w", "relu", "o"]
    assert result.profile["q"][0] == pytest.approx(dense.square().mean().item(), rel=1e-5)
