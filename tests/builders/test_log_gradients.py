"""Log gradient norms against plain backpropagation, and with what they refuse."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from firstlight.builders import LogGradients, NormOptions, isometric_mlp, log_gradients, mlp
from firstlight.errors import DomainError
from firstlight.measure import isometry_gap


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("build", ["isometric", "mlp", "plain"])
def test_agrees_with_backward(build):
    if build == "isometric":
        model = isometric_mlp(
            6, 3, depth=30, width=8, activation="tanh", gain_exponent=0.4, generator=seeded()
        )
    elif build == "mlp":
        model = mlp(6, 3, depth=40, width=8, sigma_w=1.2, generator=seeded())
    else:
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    model = model.double()
    x = torch.randn(12, 6, generator=seeded(1), dtype=torch.float64)
    model.zero_grad()
    loss = model(x).square().sum()
    loss.backward()
    want = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    result = log_gradients(model, x, lambda y: y.square().sum(), keep=True)
    assert result.loss == pytest.approx(loss.item(), rel=1e-12)
    assert result.names == tuple(n for n, p in model.named_parameters() if p.ndim == 2)
    for name, log_norm in zip(result.names, result.log_norms.tolist()):
        assert log_norm == pytest.approx(math.log(want[name].norm().item()), abs=1e-10)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, want[name], rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("n", [8, 13])
def test_gaps_are_those_of_the_features(n):
    norm = NormOptions(centred=False)
    model = isometric_mlp(8, None, depth=5, width=8, norm=norm, generator=seeded())
    x = torch.randn(n, 8, generator=seeded(1))
    result = log_gradients(model, x, lambda y: y.sum(), gaps=True)
    h = x
    for name, module in model.named_children():
        h = module(h)
        if name.startswith("norm"):
            assert result.gaps[name] == pytest.approx(isometry_gap(h.detach()).item(), rel=1e-5)
    assert len(result.gaps) == 5
    sparse = log_gradients(model, x, lambda y: y.sum(), gaps=2)
    assert sparse.gaps == {name: result.gaps[name] for name in ("norm1", "norm3", "norm5")}


def test_slope_and_error_of_a_random_walk():
    steps = 0.1 + 0.05 * torch.randn(400, generator=seeded(2), dtype=torch.float64)
    result = LogGradients(tuple(map(str, range(400))), steps.cumsum(0).flip(0), 0.0)
    assert abs(result.slope - 0.1) < 5 * result.slope_se
    assert result.slope_se >= 0.05 / math.sqrt(400) * 0.8


def test_frozen_weights_are_left_out_and_gradients_pass_through():
    model = mlp(6, 3, depth=30, width=8, generator=seeded())
    model[1].weight.requires_grad_(False)
    result = log_gradients(model, torch.randn(5, 6, generator=seeded(1)), lambda y: y.sum())
    assert "fc1.weight" not in result.names
    assert len(result.names) == 30
    assert torch.isfinite(result.log_norms).all()


@pytest.mark.parametrize(
    ("x", "loss", "says"),
    [
        (torch.full((4, 6), math.nan), lambda y: y.sum(), "NaN"),
        (torch.ones(4, 6), lambda y: y, "scalar"),
        (torch.ones(4, 6), lambda y: torch.zeros(()), "depends on the weights"),
    ],
)
def test_refusals(x, loss, says):
    with pytest.raises(DomainError, match=says):
        log_gradients(mlp(6, 3, depth=2, width=4), x, loss)


@pytest.mark.parametrize("activation", ["step", "sign"])
def test_weights_that_no_gradient_reaches_have_a_log_norm_of_minus_infinity(activation):
    model = isometric_mlp(8, 3, depth=3, width=5, activation=activation, generator=seeded())
    x = torch.randn(9, 8, generator=seeded(1))
    found = log_gradients(model, x, lambda y: y.square().sum())
    assert len(found.names) == len([p for p in model.parameters() if p.ndim >= 2])
    assert found.log_norms[:-1].tolist() == [-math.inf] * 3
    assert math.isfinite(found.log_norms[-1])
    assert math.isnan(found.slope)


def test_a_network_of_one_layer_has_one_gap():
    model = isometric_mlp(8, None, depth=1, width=4, generator=seeded())
    found = log_gradients(model, torch.randn(9, 8, generator=seeded(1)), lambda y: y[:, 0].sum(), gaps=True)
    assert len(found.gaps) == 1
