"""Recalibration: layer by layer by hand, torch's own batch norm, loaders, and restoring what it found."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from firstlight.builders import BatchNorm, NormOptions, isometric_mlp, mlp, recalibrate_
from firstlight.errors import DomainError


def samples(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", ["sqrt_n", "unit"])
@pytest.mark.parametrize("centred", [True, False])
def test_layer_by_layer_by_hand(scale, centred):
    norm = NormOptions(centred=centred, scale=scale)
    model = isometric_mlp(6, 3, depth=4, width=8, activation="tanh", gain_exponent=0.2, norm=norm).double()
    x = samples(90, 6).double()
    recalibrate_(model, x)
    model.eval()
    h = x
    for module in model:
        if isinstance(module, BatchNorm):
            torch.testing.assert_close(module.mean, h.mean(0) if centred else torch.zeros(8).double())
            torch.testing.assert_close(module.square, h.var(0, correction=0) if centred else (h**2).mean(0))
            assert module.holds == "recalibrated"
        h = module(h)
    # one sample alone now gives what it gives among the others
    torch.testing.assert_close(model(x[:1]), h[:1])


@pytest.mark.parametrize("momentum", [0.1, None])
def test_torch_batch_norm_gets_the_statistics_of_the_data(momentum):
    model = mlp(5, 2, depth=3, width=7, norm="batch").double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = momentum
    x = samples(60, 5).double()
    with torch.no_grad():
        whole = model.train()(x)
        recalibrate_(model, x)
        torch.testing.assert_close(model.eval()(x), whole)
    assert all(m.momentum == momentum for m in model.modules() if isinstance(m, nn.BatchNorm1d))


def test_convolutions():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU())
    x = samples(20, 64).view(20, 1, 8, 8)
    whole = model(x).detach()
    recalibrate_(model, x)
    torch.testing.assert_close(model.eval()(x).detach(), whole, rtol=1e-4, atol=1e-5)


def test_loaders_pairs_and_limits():
    x, y = samples(50, 6), torch.zeros(50)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=16)
    one, two = (
        isometric_mlp(6, 3, depth=3, width=6, generator=torch.Generator().manual_seed(0)) for _ in range(2)
    )
    recalibrate_(one, loader)
    recalibrate_(two, x)
    torch.testing.assert_close(one.eval()(x), two.eval()(x))
    recalibrate_(one, loader, max_samples=20)
    recalibrate_(two, x[:20])
    torch.testing.assert_close(one(x), two(x))


def test_modes_and_dropout_are_left_as_found():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), BatchNorm(4), nn.Linear(4, 2))
    model.train()
    model[1].eval()
    recalibrate_(model, samples(30, 4))
    assert [m.training for m in model] == [True, False, True, True]


def test_refusals():
    with pytest.raises(DomainError, match="without one"):
        recalibrate_(nn.Linear(3, 3), samples(10, 3))
    with pytest.raises(DomainError, match="at least two samples"):
        recalibrate_(isometric_mlp(3, 2, depth=1, width=3), samples(1, 3))
    with pytest.raises(DomainError, match="inputs as a tensor"):
        recalibrate_(isometric_mlp(3, 2, depth=1, width=3), ["a"])
