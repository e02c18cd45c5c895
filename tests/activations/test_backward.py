"""Backward passes that are not the derivative: moments, theory, ensembles and audits use the slope really used."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import firstlight
from firstlight import RandomNetwork, activations, predict
from firstlight.builders import activation_module
from firstlight.theory import LayerMap


class Hysteresis(torch.autograd.Function):
    """A user's own HeLU."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.relu()

    @staticmethod
    def backward(ctx, grad):
        return grad * (ctx.saved_tensors[0] > -0.5).to(grad.dtype)


def ndtr(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


@pytest.mark.parametrize(("alpha", "q"), [(0.05, 1.0), (0.05, 2.0), (0.5, 0.7)])
def test_helu_grows_by_twice_phi_of_alpha(alpha, q):
    layer = LayerMap.of(f"helu({alpha})", sigma_w=math.sqrt(2))
    assert float(layer.chi(q)) == pytest.approx(2 * ndtr(alpha / math.sqrt(q)), rel=1e-12)
    assert float(layer.slope(q)) == pytest.approx(1.0, rel=1e-9)  # the forward pass is ReLU's


def test_the_growth_of_helu_that_the_paper_overlooks():
    """×49.9 over 100 layers at q = 1, and 16 to 19 at the q = 2 that He's weights keep for inputs of unit square."""
    assert (2 * ndtr(0.05)) ** 100 == pytest.approx(49.9, abs=0.05)
    net = RandomNetwork(depth=101, width=100, activation="helu(0.05)", sigma_w=math.sqrt(2))
    profile = predict(net, q0=1.0)
    assert profile["q"] == pytest.approx(np.full(101, 2.0), rel=1e-12)
    assert 16 < math.exp(2 * profile["log_grad"][0]) < 19
    assert firstlight.edge_of_chaos("helu(0.05)").at(sigma_b=0.2)[0].sigma_w < math.sqrt(2)


CASES = {
    "custom function": Hysteresis.apply,
    "detached": lambda x: x.relu() + (nn.functional.relu(x + 0.5) - nn.functional.relu(x + 0.5).detach())
    - (x.relu() - x.relu().detach()),
    "module": activations.get("helu(0.5)").module(),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_callable_tells_its_backward(name):
    phi = activations.get(CASES[name])
    x = torch.tensor([-1.0, -0.3, -0.1, 2.0], dtype=torch.float64)
    assert phi.gradient_slope(x).tolist() == [0, 1, 1, 1]
    assert phi.derivative(x) == pytest.approx([0, 0, 0, 1], abs=1e-9)
    assert float(activations.moments(phi, 1.0).slope) == pytest.approx(ndtr(0.5), rel=1e-9)
    leaf = x.clone().requires_grad_()
    phi(leaf).sum().backward()
    assert leaf.grad.tolist() == [0, 1, 1, 1]


def test_ordinary_functions_have_none():
    rough = lambda x: x + torch.sin(300 * x) / 300  # noqa: E731
    for f in (torch.tanh, torch.relu, nn.GELU(), np.arctan, torch.special.erf, rough, torch.sign):
        assert activations.get(f).backward is None


@pytest.mark.parametrize("name", ["helu(0.5)", "spike(3)", "sign_ste(1)", "quantise(2, 2)"])
def test_moments_by_the_gradients_of_a_module(name):
    """E of the squared slope that autograd uses on a million normal numbers, z-scored."""
    module = activation_module(name)
    z = torch.randn(10**6, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    module(z).sum().backward()
    squares = z.grad.square()
    expected = float(activations.moments(activations.get(name), 1.0).slope)
    assert abs(float(squares.mean()) - expected) < 5 * float(squares.std()) / 1e3


def test_an_ensemble_sends_gradients_back_by_the_same_slope():
    net = RandomNetwork(depth=6, width=200, activation="helu(0.5)", sigma_w=math.sqrt(2))
    measured = firstlight.simulate(
        net, torch.randn(2, 30, generator=torch.Generator().manual_seed(0)), nets=100, seed=1, gradients=True
    )
    theory = predict(net, q0=1.0)
    growth = np.diff(2 * measured["log_grad"])
    # 100 networks of width 200: the mean of a log whose deviation is about √(5/200) a layer, times 5
    assert -growth == pytest.approx(theory["growth"][:-1], abs=0.08)


@pytest.mark.parametrize("make", [lambda: activations.get("helu(0.5)").module(), lambda: CustomModule()])
def test_an_audit_reads_the_slope_that_was_used(make):
    torch.manual_seed(0)
    layers = []
    for _ in range(5):
        linear = nn.Linear(400, 400, bias=False)
        nn.init.normal_(linear.weight, 0, math.sqrt(2 / 400))
        layers += [linear, make()]
    profile = firstlight.audit(nn.Sequential(*layers, nn.Linear(400, 400)), torch.randn(64, 400)).profile
    rows = profile.select("weight")
    # z² of a layer of width 400 is known to √(2·5/400)
    expected = 2 * ndtr(0.5 / math.sqrt(2))
    assert rows["chi"][:4] == pytest.approx(np.full(4, expected), rel=0.1)
    assert np.isfinite(rows["growth_theory"][:5]).all()
    assert rows["gradient_ratio"][:5] == pytest.approx(np.ones(5), rel=0.15)


class CustomModule(nn.Module):
    """A user's module around a custom function."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Hysteresis.apply(x)
