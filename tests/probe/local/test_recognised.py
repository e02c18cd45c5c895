"""Activations are recognised once: by a key where torch's own functions and plain constants are all there is."""

import torch
from torch import nn

import firstlight
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


def test_learned_slopes_and_functions_of_the_callers_are_read_anew_in_each_audit():
    assert twice(nn.PReLU()) == (0, 0)
    assert twice(WithOwn()) == (0, 0)
