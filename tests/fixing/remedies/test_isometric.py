"""The remedy on an ordinary batch-normalised model: what explodes before does not after."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from firstlight.builders import ShapedActivation, log_gradients
from firstlight.errors import DomainError
from firstlight.fixing.remedies import make_isometric_


def relu_network(depth, width):
    layers = []
    for _ in range(depth):
        layers += [nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 4))


def test_it_cures_the_explosion():
    torch.manual_seed(0)
    model = relu_network(60, 32).double()
    x = torch.randn(64, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    before = log_gradients(model, x, lambda y: y.square().sum())
    changes = make_isometric_(model, generator=torch.Generator().manual_seed(2))
    after = log_gradients(model, x, lambda y: y.square().sum())
    assert before.trend(skip=5)[0] > 0.15
    assert abs(after.trend(skip=5)[0]) < 0.03
    assert len(changes) == 61
    assert changes[-1] == "61 weights became Haar-orthogonal"
    gains = [m.gain for m in model.modules() if isinstance(m, ShapedActivation)]
    assert gains[0] == 1
    assert gains[59] == pytest.approx(60**-0.4)


def test_smooth_activations_keep_their_kind_and_twice_is_once():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh())
    tanh = model[2]
    make_isometric_(model)
    assert model[2].activation is tanh
    make_isometric_(model)
    assert model[2].activation is tanh


def test_it_is_for_batch_norm_only():
    with pytest.raises(DomainError, match="without one"):
        make_isometric_(nn.Linear(3, 3))


def test_transposed_convolutions_become_orthogonal_and_are_counted():
    model = nn.Sequential(
        *(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Tanh()),
        *(nn.ConvTranspose2d(8, 8, 2, stride=2), nn.BatchNorm2d(8), nn.Tanh(), nn.Flatten(), nn.Linear(8, 2)),
    )
    assert make_isometric_(model)[-1] == "3 weights became Haar-orthogonal"
    # kernel and stride 2: the layer is one matrix from 8 channels to 8 · 4 entries, whose columns are orthonormal
    matrix = model[3].weight.detach().flatten(1)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(8))
