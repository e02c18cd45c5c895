"""Theory beside each row: against closed forms, against Monte Carlo, and exactly where it is exact."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from firstlight.probe import Budget, probe
from firstlight.probe.read._weight import coverage

WIDTH, SAMPLES = 1024, 32


def two_layers(activation, *, scale=1.0, sigma_w=1.3, sigma_b=0.2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    first, second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
    for layer in (first, second):
        nn.init.normal_(layer.weight, 0, sigma_w / math.sqrt(WIDTH), generator=generator)
        nn.init.normal_(layer.bias, 0, sigma_b, generator=generator)
    x = scale * torch.randn(SAMPLES, WIDTH, generator=generator)
    return nn.Sequential(first, activation, second), x


class Custom(nn.Module):
    def forward(self, x):
        return x * torch.sin(3.0 * x).clamp(min=-0.5)


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU(),
        nn.Tanh(),
        nn.GELU(),
        nn.SiLU(),
        nn.Sigmoid(),
        nn.ELU(),
        nn.LeakyReLU(0.1),
        nn.Hardtanh(),
        nn.PReLU(),
        Custom(),
    ],
    ids=lambda a: type(a).__name__,
)
def test_one_step_of_theory_agrees_with_measurement(activation):
    net, x = two_layers(activation)
    rows = probe(net, x, budget=Budget(units=WIDTH)).profile
    z, phi, out = 1, 2, 3
    # 32 samples share 1024 units: relative error of a second moment about √(2·ρ/1024), ρ the samples' overlap
    tolerance = 5 * math.sqrt(4 / WIDTH)
    assert rows["q_ratio"][phi] == pytest.approx(1.0, abs=tolerance)
    assert rows["q_ratio"][out] == pytest.approx(1.0, abs=tolerance)
    assert rows["gradient_ratio"][z] == pytest.approx(1.0, abs=tolerance)
    assert rows["correlation_theory"][out] == pytest.approx(rows["correlation"][out], abs=tolerance)


def test_relu_correlation_is_the_arc_cosine_kernel():
    # nearly parallel inputs, so that c is far from zero
    generator = torch.Generator().manual_seed(1)
    net, _ = two_layers(nn.ReLU(), sigma_b=0.0)
    base = torch.randn(1, WIDTH, generator=generator)
    x = base + 0.5 * torch.randn(8, WIDTH, generator=generator)
    rows = probe(net, x).profile
    c = rows["correlation"][1]
    expected = (math.sqrt(1 - c * c) + (math.pi - math.acos(c)) * c) / math.pi
    assert rows["correlation_theory"][2] == pytest.approx(expected, abs=2e-3)
    assert rows["chi"][1] == pytest.approx(1.3**2 / 2, rel=0.02)


@pytest.mark.parametrize("q", [1e-6, 1.0, 1e4])
def test_every_scale(q):
    net, x = two_layers(nn.Tanh(), scale=math.sqrt(q), sigma_b=0.0)
    rows = probe(net, x).profile
    assert rows["q_ratio"][3] == pytest.approx(1.0, abs=0.2)


def test_dropout_adds_its_noise():
    generator = torch.Generator().manual_seed(0)
    first, second = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
    for layer in (first, second):
        nn.init.normal_(layer.weight, 0, 1 / math.sqrt(WIDTH), generator=generator)
    net = nn.Sequential(first, nn.ReLU(), nn.Dropout(0.5), second)
    rows = probe(net, torch.randn(SAMPLES, WIDTH, generator=generator)).profile
    assert rows["q_theory"][3] == pytest.approx(rows["q"][1], rel=0.1)  # ½ from ReLU, ×2 from dropout
    assert rows["q_ratio"][3] == pytest.approx(1.0, abs=0.15)
    assert rows["gradient_ratio"][1] == pytest.approx(1.0, abs=0.15)


def test_batch_norm_has_its_gradient_factor():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 64))
    x = torch.randn(128, 64)
    rows = probe(net, x).profile
    z = net[0](x).detach()
    gain = float((1 / z.var(0, correction=0)).mean()) * (1 - 2 / 128)
    assert rows["norm_gain"][2] == pytest.approx(gain, rel=1e-4)
    assert rows["gradient_ratio"][1] == pytest.approx(1.0, abs=0.1)
    assert rows["correlation_theory"][2] == pytest.approx(-1 / 127)


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "padding", "dilation"),
    [(8, 3, 1, 1, 1), (9, 3, 2, 1, 1), (7, 5, 1, 2, 1), (12, 3, 1, 4, 3), (5, 3, 1, 0, 1)],
)
def test_coverage_counts_the_taps_on_the_signal(length, kernel, stride, padding, dilation):
    ones = torch.ones(1, 1, length)
    taps = F.conv1d(ones, torch.ones(1, 1, kernel), stride=stride, padding=padding, dilation=dilation)
    share, idle = coverage(length, taps.shape[-1], kernel, stride, padding, dilation)
    assert share == pytest.approx(float(taps.mean()) / kernel)
    assert not idle


@pytest.mark.parametrize("where", [(0, 0), (2000, 3), (-1, -1)])
def test_one_infinite_weight_anywhere_is_found(where):
    """Large weights are read in part, and in whole where the output or an idle tap gives reason to."""
    dense, conv = nn.Linear(64, 4096), nn.Conv2d(64, 128, 3, padding=1)
    with torch.no_grad():
        dense.weight[where] = math.inf
        conv.weight[-1, -1, 0, 0] = math.nan  # on a map of one place this tap reads only padding
    rows = probe(dense, torch.randn(8, 64)).profile
    assert rows["weight_flags"][1] == "non-finite"
    assert probe(conv, torch.randn(8, 64, 1, 1)).profile["weight_flags"][1] == "non-finite"


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm2d(32), (16, 32, 6, 6)),
        (nn.GroupNorm(4, 32), (16, 32, 6, 6)),
        (nn.LayerNorm(64), (32, 64)),
        (nn.InstanceNorm2d(32), (16, 32, 12, 12)),
        (nn.RMSNorm(64), (32, 64)),
    ],
)
def test_gradient_factor_of_every_normaliser(norm, shape):
    """‖∂L/∂x‖²/‖∂L/∂y‖² for a random direction, by autograd, against the factor theory uses."""
    x = (3.0 * torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 1.0).requires_grad_()
    y = norm(x)
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((y * direction).sum(), x)
    expected = gradient.square().sum() / direction.square().sum()
    conv = nn.Identity()
    net = nn.Sequential(conv, norm, nn.Flatten(), nn.Linear(y[0].numel(), 8))
    rows = probe(net, x.detach()).profile
    here = list(rows["kind"]).index("norm")
    # 512 groups or more, each variance known to some percent
    assert rows["norm_gain"][here] == pytest.approx(expected.item(), rel=0.05)


def test_padded_convolutions_are_not_off_by_their_border():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(16, 256, 5, padding=2, bias=False), nn.ReLU(), nn.Conv2d(256, 256, 5, padding=2)
    )
    rows = probe(net, torch.randn(8, 16, 8, 8)).profile
    assert rows["q_ratio"][3] == pytest.approx(1.0, abs=0.15)
    assert rows["gradient_ratio"][1] == pytest.approx(1.0, abs=0.15)


def test_transposed_convolutions():
    torch.manual_seed(0)
    net = nn.Sequential(nn.ConvTranspose2d(64, 64, 2, stride=2, bias=False), nn.Tanh(), nn.Conv2d(64, 8, 1))
    rows = probe(net, torch.randn(8, 64, 6, 6)).profile
    assert rows["fan_in"][1] == 64
    assert rows["q_ratio"][1] == pytest.approx(1.0, abs=0.1)


def test_residual_streams_sum_their_gradients():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

        def forward(self, x):
            x = self.a(x)
            return x + self.b(torch.tanh(x))

    torch.manual_seed(0)
    rows = probe(Net(), torch.randn(SAMPLES, WIDTH)).profile
    assert rows["gradient_ratio"][1] == pytest.approx(1.0, abs=0.1)


def test_theory_is_missing_not_wrong_where_it_cannot_follow():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 9, 4))
    rows = probe(net, torch.randn(4, 3, 8, 8)).profile
    assert np.isnan(rows["gradient_ratio"][2])  # through the pooling
    assert np.isfinite(rows["q_theory"][3])  # from the measured input of the last layer
    assert np.isnan(rows["correlation_theory"][3])


def test_a_function_that_cannot_be_integrated_is_listed():
    class Log(nn.Module):
        def forward(self, x):
            return torch.log(x)  # NaN for half of the Gaussian

    net = nn.Sequential(nn.Linear(8, 8), nn.Sigmoid(), Log(), nn.Linear(8, 4))
    torch.manual_seed(0)
    result = probe(net, torch.randn(16, 8))
    assert np.isfinite(result.profile["q"]).all()


def test_subsampling_states_its_error():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(256, 512)), torch.randn(512, 256)
    full = probe(net, x, budget=Budget(entries=10**9)).profile
    part = probe(net, x, budget=Budget(entries=2**12)).profile
    assert full["q_se"][1] == 0.0
    assert part["q_se"][1] > 0.0
    assert abs(part["q"][1] - full["q"][1]) < 5 * part["q_se"][1]
