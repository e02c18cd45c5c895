"""The fused path against the modules called one by one: values, gradients, and when it must step aside."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from firstlight.builders import NormOptions, isometric_mlp, recalibrate_


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


@pytest.mark.parametrize("activation", ["linear", "tanh"])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("momentum", [0.1, 1.0])
def test_running_averages_are_those_of_the_modules(activation, centred, momentum):
    norm = NormOptions(centred=centred, track_running_stats=True, momentum=momentum)
    fast = build(activation, norm)
    slow = copy.deepcopy(fast)
    slow.fused = False
    for seed, n in enumerate((20, 20, 31)):
        for model in (fast, slow):
            model(3 + samples(n, seed))
    for (name, one), two in zip(fast.named_buffers(), slow.buffers()):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-10, msg=name)


@pytest.mark.parametrize("weights", ["orthogonal", "normal"])
@pytest.mark.parametrize("n", [10, 25, 40])
def test_centring_now_and_then_is_as_exact_as_centring_everywhere(weights, n):
    """A hundred layers in float32, inputs far from mean zero: no further from float64 than the modules are.

    Rounding grows as gradients do (e^5 with ten samples); which of the two paths it hits harder is chance, so a
    factor is allowed.
    """
    generator = torch.Generator().manual_seed(4)
    model = isometric_mlp(24, 3, depth=100, width=24, weights=weights, generator=generator)
    x = 50 + torch.randn(n, 24, generator=generator)
    outputs, gradients = {}, {}
    for name, fused, dtype in (
        ("fast", True, torch.float32),
        ("slow", False, torch.float32),
        ("true", False, torch.float64),
    ):
        copied = copy.deepcopy(model).to(dtype)
        copied.fused = fused
        y = copied(x.to(dtype))
        y.square().sum().backward()
        outputs[name] = y.detach().double()
        gradients[name] = torch.cat([p.grad.double().flatten() for p in copied.parameters()])
    for found in (outputs, gradients):
        size = torch.linalg.vector_norm(found["true"])
        fast, slow = (
            torch.linalg.vector_norm(found[name] - found["true"]) / size for name in ("fast", "slow")
        )
        assert fast < 4 * slow + 1e-5


@pytest.mark.parametrize("eps", [0.0, 1e-12, 0.3])
@pytest.mark.parametrize("centred", [True, False])
def test_every_epsilon(eps, centred):
    fast = build(norm=NormOptions(centred=centred, eps=eps))
    slow = copy.deepcopy(fast)
    slow.fused = False
    x = 0.2 * samples()
    torch.testing.assert_close(fast(x), slow(x), rtol=1e-9, atol=1e-10)
    for model in (fast, slow):
        model(x).pow(3).sum().backward()
    for p, q in zip(fast.parameters(), slow.parameters()):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("centred", [True, False])
def test_second_derivatives(centred):
    fast = build(norm=NormOptions(centred=centred))
    slow = copy.deepcopy(fast)
    slow.fused = False
    found = []
    for model in (fast, slow):
        x = samples().requires_grad_()
        (g,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(g.square().sum(), model.get_submodule("fc5").weight)[0])
    torch.testing.assert_close(found[0], found[1], rtol=1e-7, atol=1e-8)
    small = isometric_mlp(3, None, depth=2, width=3, norm=NormOptions(centred=centred)).double()
    assert torch.autograd.gradgradcheck(small, (samples(5)[:, 0].clone().requires_grad_(),))


def test_low_precision_runs_its_modules():
    model = build().to(torch.bfloat16)
    assert model(samples().to(torch.bfloat16)).dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert build().float()(samples().float()).dtype == torch.bfloat16


def test_changed_models_still_run():
    model = build("tanh")
    model.norm4 = nn.Identity()
    assert model(samples()).shape == (20, 3)
