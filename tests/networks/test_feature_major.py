"""The fused path against the modules called one by one: values, gradients, and when it must step aside."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from firstlight.networks import NormOptions, isometric_mlp, recalibrate_


def build(activation="linear", norm=NormOptions(), seed=0):  # noqa: B008
    generator = torch.Generator().manual_seed(seed)
    return isometric_mlp(
        6, 3, depth=12, width=8, activation=activation, gain_exponent=0.4, norm=norm, generator=generator
    ).double()


def samples(n=20, seed=1):
    return torch.randn(n, 2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("activation", ["linear", "sin", "tanh"])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("frozen", [False, True])
def test_same_numbers(activation, centred, frozen):
    fast = build(activation, NormOptions(centred=centred))
    slow = copy.deepcopy(fast)
    slow.fused = False
    if frozen:
        for model in (fast, slow):
            model.get_submodule("fc3").weight.requires_grad_(False)
    x, z = samples().requires_grad_(), samples().requires_grad_()
    one, two = fast(x), slow(z)
    torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-10)
    one.square().sum().backward()
    two.square().sum().backward()
    torch.testing.assert_close(x.grad, z.grad, rtol=1e-7, atol=1e-9)
    for (name, p), q in zip(fast.named_parameters(), slow.parameters()):
        assert (p.grad is None) == (frozen and name == "fc3.weight")
        if p.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-7, atol=1e-9)


def test_hooks_are_called():
    model = build()
    seen = []
    model.get_submodule("norm5").register_forward_hook(lambda m, a, y: seen.append(y.shape))
    model(samples())
    assert seen == [(20, 8)]


def test_statistics_are_used_and_tracked():
    model = build(norm=NormOptions(track_running_stats=True))
    model.train()(samples())
    assert all(m.holds == "running" for m in model if hasattr(m, "holds"))
    model = recalibrate_(build(), samples()).eval()
    torch.testing.assert_close(model(samples())[:3], model(samples()[:3]), rtol=1e-8, atol=1e-9)


def test_second_derivatives_without_fusing():
    model = build()
    model.fused = False
    x = samples().requires_grad_()
    (g,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
    # the loss does not change when every weight matrix of a normalised layer is scaled
    (h,) = torch.autograd.grad(g.square().sum(), model.get_submodule("fc5").weight)
    assert torch.isfinite(h).all()


def test_changed_models_still_run():
    model = build("tanh")
    model.norm4 = nn.Identity()
    assert model(samples()).shape == (20, 3)
