"""Gradients: exact where autograd is, and logs that never overflow."""

import math

import pytest
import torch
from torch import nn

from firstlight.probe import probe
from firstlight.probe.trace._backward import log_square, narrow_nodes


def scaled_chain(depth, gain, width=8, dtype=torch.float32):
    """Orthogonal linear layers times a gain: every gradient norm is gain^(layers after)."""
    layers = []
    for _ in range(depth):
        layer = nn.Linear(width, width, bias=False, dtype=dtype)
        nn.init.orthogonal_(layer.weight, gain=gain) if dtype.itemsize >= 4 else layer.weight.data.copy_(
            gain * nn.init.orthogonal_(torch.empty(width, width))
        )
        layers.append(layer)
    return nn.Sequential(*layers)


@pytest.mark.parametrize(("depth", "gain"), [(140, 2.0), (140, 0.5), (3, 1.0)])
def test_log_gradients_do_not_overflow(depth, gain):
    torch.manual_seed(0)
    net = scaled_chain(depth, gain)
    x = torch.randn(4, 8) * (gain ** (-depth / 2))  # keep the forward finite
    rows = probe(net, x).profile.select("weight")
    expected = math.log(gain) * torch.arange(depth - 1, -1, -1, dtype=torch.float64).numpy()
    measured = rows["log_grad"] - rows["log_grad"][-1]
    assert measured == pytest.approx(expected, abs=1e-3 * depth)
    assert (abs(measured[0]) > 88) == (depth > 3)  # past what float32 holds


def test_float16_gradients_that_would_underflow():
    torch.manual_seed(0)
    net = scaled_chain(60, 0.5, dtype=torch.float16)
    rows = probe(net, torch.randn(4, 8).half()).profile.select("weight")
    measured = rows["log_grad"] - rows["log_grad"][-1]
    assert measured[0] == pytest.approx(-59 * math.log(2.0), abs=0.3)


def test_gradients_equal_those_of_autograd():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)).double()
    x, y = torch.randn(32, 8, dtype=torch.float64), torch.randint(0, 4, (32,))
    rows = probe(net, x, targets=y).profile
    z1 = net[0](x).detach().requires_grad_()
    nn.functional.cross_entropy(net[1:](z1).float(), y).backward()
    assert rows["log_grad"][1] == pytest.approx(0.5 * math.log(float((z1.grad**2).mean())), abs=1e-6)
    nn.functional.cross_entropy(net(x).float(), y).backward()
    assert rows["log_weight_grad"][1] == pytest.approx(math.log(float(net[0].weight.grad.norm())), abs=1e-6)


def test_residual_streams_keep_exact_sums_under_rescaling():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in range(90))
            for b in self.blocks:
                nn.init.orthogonal_(b.weight, gain=2.0)

        def forward(self, x):
            for b in self.blocks:
                x = x + b(x)
            return x

    torch.manual_seed(0)
    net, x = Net(), 1e-12 * torch.randn(4, 8)
    result = probe(net, x)
    reference = probe(net.double(), x.double())
    a, b = (r.profile.select("residual")["log_grad"] for r in (result, reference))
    assert a == pytest.approx(b, abs=1e-3)
    assert any("rescaled" in note for note in result.notes)


def test_narrow_nodes_of_a_chain_and_of_a_fork():
    x = torch.randn(3, requires_grad=True)
    a = x * 2
    fork = a.sin() + a.cos()
    nodes = {type(n).__name__ for n in narrow_nodes(fork.exp().sum().grad_fn)}
    assert {"SumBackward0", "ExpBackward0", "AddBackward0", "MulBackward0"} <= nodes
    assert "SinBackward0" not in nodes
    assert "CosBackward0" not in nodes


def test_a_leaf_used_twice_keeps_the_graph_wide_between_its_uses():
    w = torch.randn(3, requires_grad=True)
    x = torch.randn(3, requires_grad=True)
    h = (w * x).exp()
    nodes = [type(n).__name__ for n in narrow_nodes((w * h).sum().grad_fn)]
    assert "SumBackward0" in nodes
    assert "ExpBackward0" not in nodes


@pytest.mark.parametrize("scale", [1e-40, 1e-25, 1.0, 1e25, 3e38])
def test_log_square_over_the_whole_range(scale):
    g = torch.full((10,), scale, dtype=torch.float32)
    assert log_square(g) == pytest.approx(math.log(10) + 2 * math.log(float(g[0])), abs=1e-5)


def test_log_square_of_nothing_and_of_infinity():
    assert log_square(torch.zeros(3)) == -math.inf
    assert log_square(torch.tensor([1.0, math.inf])) == math.inf
    assert math.isnan(log_square(torch.tensor([1.0, math.nan])))
    assert log_square(torch.zeros(0)) == -math.inf


class Silent(torch.autograd.Function):
    """A step that hands no gradient on."""

    @staticmethod
    def forward(ctx, x):
        return x.relu()

    @staticmethod
    def backward(ctx, gradient):
        return None


class Recomputed(torch.autograd.Function):
    """A block that keeps no graph and is run again in the backward pass, as reversible networks do."""

    @staticmethod
    def forward(ctx, x, block, *parameters):
        ctx.block, ctx.parameters = block, parameters
        ctx.save_for_backward(x)
        return x + block(x)

    @staticmethod
    def backward(ctx, gradient):
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            y = x + ctx.block(x)
        first, *others = torch.autograd.grad(y, (x, *ctx.parameters), gradient)
        return first, None, *others


class Through(nn.Module):
    def __init__(self, step):
        super().__init__()
        self.step, self.a, self.b, self.o = step, nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 4)

    def forward(self, x):
        return self.o(self.step(self, self.a(x)))


def loss(output, _):
    return output.square().mean()


def test_a_function_that_hands_no_gradient_on_is_a_cut():
    torch.manual_seed(0)
    result = probe(Through(lambda m, h: Silent.apply(m.b(h))), torch.randn(32, 64), loss=loss)
    states = {name: g.state for name, g in result.gradients.items()}
    assert {states[name] for name in ("a.weight", "a.bias", "b.weight", "b.bias")} == {"absent"}
    assert states["o.weight"] == "finite"


def test_a_backward_inside_a_functions_backward_keeps_its_gradients():
    torch.manual_seed(0)
    model = Through(lambda m, h: Recomputed.apply(h, m.b, *m.b.parameters()))
    x = torch.randn(32, 64)
    result = probe(model, x, loss=loss)
    loss(model(x), None).backward()
    for name, p in model.named_parameters():
        assert result.gradients[name].log_norm == pytest.approx(float(p.grad.norm().log()), abs=1e-4)


class Divergence(nn.Module):
    """A layer and the trace of its Jacobian, row by row or all rows at once."""

    def __init__(self, together):
        super().__init__()
        self.a, self.b, self.together = nn.Linear(3, 8), nn.Linear(8, 3), together

    def forward(self, x):
        with torch.enable_grad():
            x = x.requires_grad_()
            y = self.b(torch.tanh(self.a(x)))
            unit = torch.eye(3)[:, None].expand(3, len(x), 3)
            if self.together:
                (rows,) = torch.autograd.grad(y, x, unit, create_graph=True, is_grads_batched=True)
            else:
                rows = torch.stack([torch.autograd.grad(y, x, u, create_graph=True)[0] for u in unit])
        return y + rows.diagonal(dim1=0, dim2=2).sum(1, keepdim=True)


def test_several_gradients_at_once_inside_the_forward_are_not_measured():
    torch.manual_seed(0)
    x, one, all_ = torch.randn(16, 3), Divergence(False), Divergence(True)
    all_.load_state_dict(one.state_dict())
    found, expected = probe(all_, x), probe(one, x)
    assert found.coverage.gradient_share == 1.0
    for name, gradient in expected.gradients.items():
        assert found.gradients[name].log_norm == pytest.approx(gradient.log_norm, abs=1e-4)


def test_a_matrix_without_entries_is_no_copy():
    class Empty(nn.Module):
        def __init__(self):
            super().__init__()
            self.l, self.none = nn.Linear(4, 4), nn.Parameter(torch.empty(0, 4, 4))

        def forward(self, x):
            return torch.cat([self.l(x).flatten(), (x @ self.none).flatten()])

    assert probe(Empty(), torch.randn(8, 4)).coverage.blocked == ""
