"""The flow is kept: whatever stands between two layers, both have rows, with what plain hooks measure."""

import numpy as np
import pytest
import torch
from tests.probe.trace.hooked import Net, agrees
from torch import nn

from firstlight.probe import probe


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


class Mapped(nn.Module):
    """A network that treats one sample, over a batch by vmap or as it is."""

    def __init__(self, conv=False):
        super().__init__()
        self.a = nn.Conv2d(3, 16, 3) if conv else nn.Linear(16, 16)
        self.b = nn.Conv2d(16, 16, 3) if conv else nn.Linear(16, 16)
        self.o, self.conv, self.mapped = nn.Linear(16, 3), conv, True

    def one(self, x):
        h = torch.tanh(self.a(x))
        h = torch.relu(self.b(h)).mean((-1, -2)) if self.conv else h + torch.relu(self.b(h))
        return self.o(h)

    def forward(self, x):
        return torch.vmap(self.one)(x) if self.mapped else self.one(x)


@pytest.mark.parametrize("conv", [False, True])
def test_theory_stands_beside_layers_inside_vmap(conv):
    torch.manual_seed(0)
    model, x = Mapped(conv), torch.randn(8, 3, 8, 8) if conv else torch.randn(16, 16)
    inside = probe(model, x).profile.select("weight")
    model.mapped = False
    plain = probe(model, x).profile.select("weight")
    for name in ("q", "q_theory", "correlation_theory", "log_grad", "chi"):
        # the kernels of vmap may sum in another order
        np.testing.assert_allclose(inside[name], plain[name], rtol=1e-4, err_msg=name)
    assert np.isfinite(inside["q_theory"]).all()


def test_layers_are_measured_inside_vmap_where_nothing_may_be_drawn(monkeypatch):
    torch.manual_seed(0)
    model, x = Mapped(), torch.randn(16, 16)
    late = probe(model, x).profile.select("weight")
    monkeypatch.setattr("firstlight.probe.read.reader.PENDING", 0)
    early = probe(model, x).profile.select("weight")
    assert [str(name) for name in early["name"]] == ["a", "b", "o"]
    np.testing.assert_array_equal(early["q"], late["q"])


@pytest.mark.parametrize(
    "like",
    [
        lambda w, h: w.unsqueeze(0).expand_as(h),
        lambda w, h: w.unsqueeze(0).expand(h.shape),
        lambda w, h: w.type_as(h),
        lambda w, h: w.flatten().view_as(h[0]),
    ],
    ids=["expand_as", "expand", "type_as", "view_as"],
)
def test_a_tensor_that_gives_its_shape_alone_is_not_read(like):
    class Weighed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(4, 2)
            self.w = nn.Parameter(torch.randn(4, 8))

        def forward(self, x):
            h = torch.tanh(self.a(x)).unsqueeze(1).expand(-1, 4, -1)
            return self.b((h * like(self.w, h)).sum(2))

    found = probe(Weighed(), torch.randn(16, 6))
    assert found.coverage.gaps == ()
    assert list(found.profile["kind"]) == ["input", "weight", "activation", "affine", "weight"]
