"""Activations are recognised once: by a key where torch's own functions and plain constants are all there is."""

import torch
from torch import nn

import firstlight
from firstlight.probe.graph._expression import IDENTITY, compose
from firstlight.probe.local import _functions


def twice(act):
    model, x = nn.Sequential(nn.Linear(8, 8), act, nn.Linear(8, 4)), torch.randn(32, 8)
    _functions._recognised.cache_clear()
    first = firstlight.audit(model, x).profile
    seen = _functions._recognised.cache_info()
    second = firstlight.audit(model, x).profile
    assert first == second
    return seen.misses, _functions._recognised.cache_info().hits - seen.hits


class Mine(nn.Module):
    def __init__(self, slope):
        super().__init__()
        self.slope = slope

    def forward(self, x):
        return torch.where(x > 0, x, x * self.slope) + torch.sin(x)


class Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, grad):
        return grad


class WithOwn(nn.Module):
    def forward(self, x):
        return Own.apply(x)


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x):
        return torch.tanh(self.factor * x)


def test_a_number_in_a_tensor_is_a_constant_to_its_last_digit():
    assert twice(Scaled(0.3)) == (1, 1)
    near = [compose(torch.mul, "mul", (torch.tensor(a).double(), IDENTITY), {}) for a in (0.333331, 0.333333)]
    assert near[0].key != near[1].key
    # integers are the caller's own tensors, which the caller may write
    assert not compose(torch.mul, "mul", (torch.tensor(3), IDENTITY), {}).pure


def test_a_composed_function_of_torch_is_recognised_once_for_each_constant():
    assert twice(nn.Tanh()) == (1, 1)
    assert twice(nn.GELU(approximate="tanh")) == (1, 1)
    assert twice(Mine(0.1)) == (1, 1)
    model, x = nn.Sequential(nn.Linear(8, 8), Mine(0.1), nn.Linear(8, 4)), torch.randn(32, 8)
    gentle = firstlight.audit(model, x).profile
    model[1].slope = 0.9
    steep = firstlight.audit(model, x).profile
    assert steep["q_theory"][-1] > gentle["q_theory"][-1]
    _functions._recognised.cache_clear()
    assert firstlight.audit(model, x).profile == steep


def test_a_learned_slope_is_read_in_each_audit():
    assert twice(nn.PReLU()) == (1, 1)
    model, x = nn.Sequential(nn.Linear(8, 8), nn.PReLU(), nn.Linear(8, 4)), torch.randn(32, 8)
    gentle = firstlight.audit(model, x).profile
    with torch.no_grad():
        model[1].weight.add_(1e-6)  # beyond the digits that a tensor shows
    steep = firstlight.audit(model, x).profile
    assert steep["q_theory"][-1] > gentle["q_theory"][-1]
    _functions._recognised.cache_clear()
    assert firstlight.audit(model, x).profile == steep


def test_functions_of_the_callers_are_recognised_anew_in_each_audit():
    assert twice(WithOwn()) == (0, 0)
