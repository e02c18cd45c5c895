"""The error of a trend: the spread of its slope over draws of the weights."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from firstlight.builders import mlp
from firstlight.diagnosis import fit


def _ratio(fits):
    """Stated over true: root mean square of the errors over the spread of the slopes."""
    slopes, errors = np.array([t.slope for t in fits]), np.array([t.se for t in fits])
    return math.sqrt(np.mean(errors**2)) / slopes.std(ddof=1)


@pytest.mark.parametrize("memory", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("points", [12, 25, 50])
def test_known_laws_of_the_deviations(memory, points):
    rng = np.random.default_rng(points)
    fits = []
    for _ in range(200):
        u = np.zeros(points)
        for i in range(1, points):
            u[i] = memory * u[i - 1] + 0.2 * rng.standard_normal()
        fits.append(fit(np.arange(float(points)), 0.1 * np.arange(points) + u))
    slopes = np.array([t.slope for t in fits])
    assert abs(slopes.mean() - 0.1) < 5 * slopes.std() / math.sqrt(len(fits))
    if memory == 1:
        assert 0.7 < _ratio(fits) < 1.5
        return
    # few points cannot tell a walk from a law that forgets, and then the walk's larger error is stated
    errors = np.array([t.se for t in fits])
    assert 0.7 < np.median(errors) / slopes.std() < (1.5 if points == 50 else 6.0)


def test_a_transient_is_left_out():
    """A variance that settles from 30 times its fixed point: the later layers have no trend."""
    rng = np.random.default_rng(1)
    depth = np.arange(40.0)
    fits = [fit(depth, math.log(30) * 0.4**depth + 0.05 * rng.standard_normal(40)) for _ in range(200)]
    slopes, errors = np.array([t.slope for t in fits]), np.array([t.se for t in fits])
    assert abs(slopes.mean()) < 2e-3
    assert np.median(errors) < 2e-3
    assert all(t.start >= 2 and t.span == 39 for t in fits)


def test_an_exact_line_has_no_error():
    trend = fit(np.arange(20.0), 0.3 * np.arange(20.0) + 7)
    assert trend.slope == pytest.approx(0.3, abs=1e-12)
    assert trend.se < 1e-12


@pytest.fixture(scope="module")
def starts():
    """16 kinds of networks: inputs, depth, width, activation, σ_w, σ_b, normaliser."""
    from sklearn.datasets import load_digits

    digits = torch.tensor(load_digits().data[:64], dtype=torch.float32)
    digits = digits / digits.square().mean().sqrt()
    noise = torch.randn(64, 64, generator=torch.Generator().manual_seed(3))
    return [
        (digits, 50, 256, "tanh", 1.89, 0.0, None),
        (digits, 50, 64, "tanh", 1.89, 0.0, None),
        (noise, 50, 20, "tanh", 2.5, 0.0, None),
        (digits, 50, 128, "tanh", 1.46**0.5, 0.0125418**0.5, None),
        (digits, 50, 128, "relu", 2**0.5, 0.0, None),
        (digits, 30, 64, "relu", 1.2, 0.0, None),
        (digits, 40, 24, "relu", 2**0.5, 0.0, None),
        (digits, 30, 128, "gelu", 1.5, 0.0, None),
        (noise, 40, 100, "erf", 2.0, 0.3, None),
        (digits, 20, 100, "sigmoid", 1.0, 0.0, None),
        (digits, 30, 128, "relu", 2**0.5, 0.0, "batch"),
        (digits, 30, 64, "tanh", 1.5, 0.0, "batch"),
        (digits, 30, 96, "relu", 2**0.5, 0.0, "layer"),
        (digits, 30, 100, "tanh", 0.9, 0.1, None),
        (digits, 40, 128, "silu", 1.7, 0.0, None),
        (digits, 10, 100, "tanh", 2.0, 0.0, None),
    ]


def _logs(model, x, generator):
    """Ln of the gradient norm of every linear map's output under a random linear loss, and ln of its mean square."""
    kept = []
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(lambda _, __, z: (z.retain_grad(), kept.append(z))[1])
    out = model(x)
    (out * torch.randn(out.shape, generator=generator)).sum().backward()
    gradients = np.array([math.log(float(z.grad.double().norm())) for z in kept])
    return gradients, np.array([math.log(float(z.detach().double().square().mean())) for z in kept])


@pytest.mark.slow
def test_stated_errors_are_the_spread_over_draws_of_the_weights(starts):
    ratios = {"gradient": [], "signal": []}
    for x, depth, width, activation, sigma_w, sigma_b, norm in starts:
        found = {"gradient": [], "signal": []}
        for seed in range(12):
            model = mlp(
                *(x.shape[1], 10),
                depth=depth,
                width=width,
                activation=activation,
                sigma_w=sigma_w,
                sigma_b=sigma_b,
                norm=norm,
                generator=torch.Generator().manual_seed(seed),
            )
            logs = _logs(model, x, torch.Generator().manual_seed(seed))
            for name, values in zip(found, logs):
                found[name].append(fit(np.arange(float(len(values))), values))
        for name, fits in found.items():
            ratios[name].append(_ratio(fits))
    for name, values in ratios.items():
        # the spread over 12 draws is itself known to 1/√22 = 21 %, its mean over 16 kinds to 5 %
        assert 0.7 < math.exp(np.mean(np.log(values))) < 1.5, (name, values)
        assert min(values) > 0.4, (name, values)
        assert max(values) < 2.5, (name, values)
