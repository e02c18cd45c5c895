"""The flow is kept: whatever stands between two layers, both have rows, with what plain hooks measure."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from firstlight.probe import probe


def by_hooks(model, batch, seed=0):
    """Second moment and log rms gradient of every Linear, call by call, without any audit."""
    torch.manual_seed(seed)
    squares, gradients = {}, {}

    def watch(name):
        def hook(module, args, out):
            calls = squares.setdefault(name, [])
            calls.append(out.detach().double().square().mean().item())
            key = name if len(calls) == 1 else f"{name}#{len(calls)}"
            if out.requires_grad:
                out.register_hook(lambda g: gradients.__setitem__(key, g.double().square().mean().item()))

        return hook

    hooks = [m.register_forward_hook(watch(n)) for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    total(model(*batch) if isinstance(batch, tuple) else model(batch), None).backward()
    for hook in hooks:
        hook.remove()
    model.zero_grad()
    named = {n if k == 0 else f"{n}#{k + 1}": q for n, calls in squares.items() for k, q in enumerate(calls)}
    return named, gradients


def total(output, targets):
    return output.square().sum()


def agrees(model, batch):
    """Audit a model, and compare every Linear with what hooks measure; returns the measurement."""
    squares, gradients = by_hooks(model.train(), batch)
    result = probe(model, batch, loss=total)
    rows = {str(row["name"]): row for row in result.profile}
    assert squares.keys() <= rows.keys(), sorted(rows)
    for name, q in squares.items():
        assert rows[name]["q"] == pytest.approx(q, rel=1e-4), name  # float32 sums in another order
        if gradients.get(name, 0.0) > 0.0:
            assert rows[name]["log_grad"] == pytest.approx(0.5 * math.log(gradients[name]), abs=1e-3), name
    assert result.coverage.share == 1.0, result.coverage
    assert not result.coverage.blocked
    return result


class Net(nn.Module):
    """Four Linear layers, three of them behind the step."""

    def __init__(self, step):
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(16, n) for n in (16, 16, 16, 4))
        self.act, self.step = nn.ReLU(), step

    def forward(self, x):
        return self.d(self.act(self.c(self.act(self.b(self.step(self.a(x)))))))


def halves(h):
    out = torch.zeros_like(h)
    out[:8] = h[:8]
    out[8:] = 2 * h[8:]
    return out


def into_empty(h):
    out = torch.empty_like(h)
    out.copy_(h)
    return out


def into_view(h):
    out = torch.zeros(2, *h.shape)
    out[1].copy_(h)
    return out.sum(0)


def into_view_of_view(h):
    out = torch.zeros(4, *h.shape)
    out[1:3][1].add_(h)
    return out[2]


def by_index_copy(h):
    return torch.zeros(len(h), 16).index_copy_(0, torch.arange(len(h)).flip(0), h)


def by_scatter(h):
    return torch.zeros_like(h).scatter(1, torch.arange(16).flip(0).expand_as(h), h)


def by_scatter_add(h):
    return torch.zeros_like(h).scatter_add_(0, torch.arange(len(h))[:, None].expand_as(h), h)


def by_index_put(h):
    out = torch.zeros_like(h)
    return out.index_put_((torch.arange(len(h)),), h, accumulate=True)


def masked(h):
    out, mask = torch.zeros_like(h), torch.ones(len(h), dtype=torch.bool)
    out[mask] = h[mask]
    return out


def by_masked_scatter(h):
    return torch.zeros_like(h).masked_scatter(torch.ones_like(h, dtype=torch.bool), h)


def with_out(h):
    with torch.no_grad():
        table = torch.empty(16)
        torch.mul(torch.ones(16), 2.0, out=table)
    return h * table


def rows_in_a_loop(h):
    out = torch.empty_like(h)
    for i in range(len(h)):
        out[i] = h[i] * (1 + i % 2)
    return out


class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        return g


class Numpy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.from_numpy(np.array(x.detach().numpy() * 1.0))

    @staticmethod
    def backward(ctx, g):
        return g


class TwoOutputs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.from_numpy(x.detach().numpy() + 1.0), torch.from_numpy(x.detach().numpy() - 1.0)

    @staticmethod
    def backward(ctx, g, h):
        return g + h


class InPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        x.mul_(2.0)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx, g):
        return 2.0 * g


def packed(h):
    sequence = nn.utils.rnn.pack_padded_sequence(
        h[:, None], torch.ones(len(h), dtype=torch.long), batch_first=True
    )
    return nn.utils.rnn.pad_packed_sequence(sequence, batch_first=True)[0][:, 0]


def packed_data(h):
    return nn.utils.rnn.pack_sequence([h[:9], h[9:]]).data[:16]


def nested(h):
    jagged = torch.nested.as_nested_tensor([h[:5], h[5:]], layout=torch.jagged)
    return (jagged * 2.0).values()


def jitted(h):
    return _scripted(h)


@torch.jit.script
def _scripted(h):
    return h * 2.0 + 1.0


def sparse(h):
    eye = torch.eye(16).to_sparse_coo()
    return torch.sparse.mm(eye, h)


def sparse_rows(h):
    return torch.eye(16).to_sparse_csr() @ h


STEPS = {
    "setitem": halves,
    "copy into empty": into_empty,
    "copy into a view": into_view,
    "add into a view of a view": into_view_of_view,
    "index_copy": by_index_copy,
    "scatter": by_scatter,
    "scatter_add": by_scatter_add,
    "index_put": by_index_put,
    "boolean setitem": masked,
    "masked_scatter": by_masked_scatter,
    "out=": with_out,
    "rows in a loop": rows_in_a_loop,
    "straight-through": Rounded.apply,
    "numpy function": Numpy.apply,
    "two outputs": lambda h: torch.add(*TwoOutputs.apply(h)),
    "in-place function": lambda h: InPlace.apply(h.clone()),
    "list of tensors": lambda h: torch.stack([torch.stack(list(r)) for r in h]),
    "real FFT": lambda h: torch.fft.irfft(torch.fft.rfft(h), n=16),
    "FFT and magnitude": lambda h: torch.fft.fft(h).abs() / 4,
    "polar": lambda h: torch.polar(h.exp(), h).real,
    "view as complex": lambda h: torch.view_as_real(torch.view_as_complex(h.view(-1, 8, 2)) * 1j).flatten(1),
    "complex product": lambda h: torch.view_as_real(torch.complex(h[:, :8], h[:, 8:]) ** 2).flatten(1),
    "as_strided": lambda h: h.as_strided(h.shape, h.stride()),
    "packed sequence": packed,
    "packed data": packed_data,
    "nested": nested,
    "sparse COO": sparse,
    "sparse CSR": sparse_rows,
    "scripted function": jitted,
    "vmap": lambda h: torch.vmap(lambda r: r * 2)(h),
    "vmap over columns": lambda h: torch.vmap(lambda r: r.cumsum(0), in_dims=1, out_dims=1)(h),
    "vmap twice": lambda h: torch.vmap(torch.vmap(torch.sin))(h),
    "jvp": lambda h: torch.func.jvp(torch.sin, (h,), (torch.ones_like(h),))[1],
    "sort": lambda h: h.sort(1).values,
    "cumsum": lambda h: h.cumsum(1),
    "unfold and fold": lambda h: h.unfold(1, 4, 4).flatten(1),
    "checkpoint": lambda h: torch.utils.checkpoint.checkpoint(torch.sin, h, use_reentrant=False),
    "reentrant checkpoint": lambda h: torch.utils.checkpoint.checkpoint(torch.sin, h, use_reentrant=True),
    "autocast": lambda h: torch.autocast("cpu", dtype=torch.bfloat16)(lambda: h @ torch.eye(16))().float(),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.parametrize("step", STEPS)
def test_the_flow_is_kept(step):
    torch.manual_seed(0)
    result = agrees(Net(STEPS[step]), torch.randn(16, 16))
    names = [str(n) for n in result.profile["name"]]
    assert {"act", "act#2"} <= set(names)
    assert not any(w.entries for w in result.coverage.without_row)
    depths = dict(zip(names, result.profile["depth"]))
    assert [depths[n] for n in "abcd"] == [1, 2, 3, 4]


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
