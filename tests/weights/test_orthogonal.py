"""Haar matrices: orthogonality, uniformity, determinant, rectangles, convolutions, and refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from firstlight import weights
from firstlight.errors import DomainError
from firstlight.weights import delta_orthogonal_, haar, orthogonal_
from firstlight.weights.haar import _orthonormalise


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (7, 7), (100, 100), (9, 4), (4, 9)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
def test_orthonormal(shape, dtype, tolerance):
    q = haar(*shape, count=70, generator=seeded(), dtype=dtype)
    assert q.dtype == dtype
    assert q.shape == (70, *shape)
    gram = q.mT @ q if shape[0] >= shape[1] else q @ q.mT
    torch.testing.assert_close(
        gram, torch.eye(min(shape), dtype=dtype).expand_as(gram), rtol=0, atol=tolerance
    )


def test_it_is_the_sign_fixed_qr_of_its_gaussian():
    """Second route: LAPACK's Householder QR with the signs of R's diagonal mended."""
    gaussian = torch.randn(40, 30, 30, generator=seeded(), dtype=torch.float32).double()
    q, r = torch.linalg.qr(gaussian)
    want = q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
    got = haar(30, count=40, generator=seeded(), dtype=torch.float64)
    # both differ from the exact Q by eps times the condition of the Gaussian, below 1e5 in 40 draws
    torch.testing.assert_close(got, want, rtol=0, atol=1e-10)


def test_an_ill_conditioned_draw_is_orthogonal_all_the_same():
    a = torch.randn(3, 6, 6, generator=seeded(), dtype=torch.float64)
    a[1, :, 5] = a[1, :, 4] + 1e-9 * a[1, :, 5]
    a[2, :, 5] = a[2, :, 4]
    for exact in (True, False):
        q = _orthonormalise(a.clone(), exact=exact)
        assert (q.mT @ q - torch.eye(6, dtype=torch.float64)).abs().max() < 1e-11


@pytest.mark.parametrize("d", [2, 3, 8])
def test_uniform_moments(d):
    """Second and fourth moments of Haar entries (Weingarten), z-scored over independent draws."""
    q = haar(d, count=20_000, generator=seeded(d), dtype=torch.float64)
    for values, exact in [
        (q[:, 0, 0] ** 2, 1 / d),
        (q[:, 0, 0] ** 4, 3 / (d * (d + 2))),
        (q[:, 0, 0] ** 2 * q[:, 0, 1] ** 2, 1 / (d * (d + 2))),
        (q[:, 0, 0] ** 2 * q[:, 1, 1] ** 2, (d + 1) / (d * (d - 1) * (d + 2))),
        (q[:, 0, 0] * q[:, 0, 1] * q[:, 1, 0] * q[:, 1, 1], -1 / (d * (d - 1) * (d + 2))),
        # a Householder QR without the sign fix has a biased diagonal
        (q[:, 0, 0], 0.0),
        (q.diagonal(dim1=-2, dim2=-1).sum(-1) ** 2, 1.0),
    ]:
        z = (values.mean() - exact) / (values.std() / math.sqrt(len(values)))
        assert abs(z.item()) < 5


@pytest.mark.parametrize("det", [1, -1])
def test_determinant(det):
    q = haar(5, count=100, det=det, generator=seeded(), dtype=torch.float64)
    torch.testing.assert_close(torch.linalg.det(q), torch.full((100,), float(det)).double())


def test_both_determinants_are_equally_likely():
    signs = torch.linalg.det(haar(4, count=4000, generator=seeded(), dtype=torch.float64)).sign()
    assert abs(signs.mean().item()) * math.sqrt(4000) < 5


def test_same_seed_same_matrices():
    torch.testing.assert_close(haar(6, generator=seeded(3)), haar(6, generator=seeded(3)), rtol=0, atol=0)


def test_a_whole_network_at_once():
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Linear(8, 3))
    biases = [layer.bias.clone() for layer in model if isinstance(layer, nn.Linear)]
    assert orthogonal_(model, gain=2.0, generator=seeded()) is model
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    for layer in layers:
        gram = layer.weight @ layer.weight.T
        torch.testing.assert_close(gram, 4 * torch.eye(len(gram)), rtol=0, atol=1e-5)
    assert not torch.equal(layers[0].weight, layers[1].weight)
    for layer, bias in zip(layers, biases):
        torch.testing.assert_close(layer.bias, bias, rtol=0, atol=0)


@pytest.mark.parametrize(("conv", "size"), [(nn.Conv1d, 1), (nn.Conv2d, 2), (nn.Conv3d, 3)])
def test_delta_orthogonal_convolution_preserves_norms(conv, size):
    layer = conv(4, 6, 3, padding=1, padding_mode="circular", bias=False).double()
    delta_orthogonal_(layer.weight, generator=seeded())
    x = torch.randn(5, 4, *(6,) * size, generator=seeded(1), dtype=torch.float64)
    y = layer(x)
    torch.testing.assert_close(y.flatten(1).norm(dim=1), x.flatten(1).norm(dim=1))
    torch.testing.assert_close(orthogonal_(layer).weight.count_nonzero(), torch.tensor(24))


@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7), (4, 3, 3)])
def test_the_law_draws_whole_matrices_of_unit_variance(shape):
    law = weights.get("1.5 * orthogonal")
    w = law.sample(shape, generator=seeded(), dtype=torch.float64).flatten(1)
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    size = max(w.shape)
    torch.testing.assert_close(gram, 2.25 * size * torch.eye(len(gram), dtype=torch.float64))
    assert w.square().mean().item() == pytest.approx(law.variance, rel=1e-12)  # a trace: exact for every draw
    fan_in = law.sample(shape, generator=seeded(), dtype=torch.float64, fan_in=9, sigma_w=2.0).flatten(1)
    torch.testing.assert_close(fan_in, w * 2 / 3)


def test_an_entry_of_the_law_has_the_moments_of_the_sphere():
    law, size = weights.Orthogonal(), 6
    g = seeded()
    draws = torch.stack([law.sample((size, 4), generator=g, dtype=torch.float64)[0, 0] for _ in range(1500)])
    entry = law.entry(size)
    for order in (2, 4):
        values = draws.abs() ** order
        assert abs(float(values.mean()) - entry.moment(order)) < 5 * float(values.std()) / math.sqrt(1500)
    assert law.entry(4000).moment(4) == pytest.approx(law.moment(4), rel=2e-3)  # 3m/(m + 2) → 3


def operator(layer, size):
    """The matrix of a convolution without bias, column by column."""
    channels = layer.in_channels
    shape = (channels, *size)
    units = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    return layer(units).flatten(1).T


CONVOLUTIONS = {
    "reducing": nn.Conv2d(6, 4, 3, padding=1, padding_mode="circular", bias=False),
    "grouped": nn.Conv1d(6, 9, 3, padding=1, padding_mode="circular", groups=3, bias=False),
    "grouped and reducing": nn.Conv1d(8, 4, 3, padding=1, padding_mode="circular", groups=2, bias=False),
    "depthwise": nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular", groups=4, bias=False),
    "strided": nn.Conv2d(2, 8, 4, stride=2, padding=1, bias=False),
    "strided and reducing": nn.Conv2d(3, 5, 4, stride=2, padding=1, bias=False),
    "strided and grouped": nn.Conv1d(4, 8, 2, stride=2, groups=2, bias=False),
    "kernel below the stride": nn.Conv1d(3, 3, 1, stride=2, bias=False),
    "dilated": nn.Conv1d(3, 5, 3, dilation=2, padding=2, padding_mode="circular", bias=False),
    "transposed": nn.ConvTranspose1d(5, 5, 3, padding=1, bias=False),
    "transposed and reducing": nn.ConvTranspose1d(6, 3, 3, padding=1, bias=False),
    "transposed and strided": nn.ConvTranspose2d(4, 2, 4, stride=2, padding=1, bias=False),
    "transposed, strided and grouped": nn.ConvTranspose1d(8, 4, 2, stride=2, groups=2, bias=False),
}


@pytest.mark.parametrize("layer", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
def test_the_operator_of_every_convolution_is_orthogonal(layer):
    """By the whole matrix of the operator: its rows or its columns are orthonormal, times the gain."""
    orthogonal_(layer.double(), gain=2.0, generator=seeded())
    matrix = operator(layer, (6,) * (layer.weight.ndim - 2)) / 2
    used = matrix[:, matrix.abs().sum(0) > 0]  # a kernel below the stride does not look at every position
    if used.shape[0] >= used.shape[1]:
        gram = used.T @ used
    else:
        gram = used @ used.T
    torch.testing.assert_close(gram, torch.eye(len(gram), dtype=torch.float64), rtol=0, atol=1e-12)


def test_groups_are_drawn_independently_and_a_shared_weight_once():
    layer = orthogonal_(nn.Conv1d(6, 6, 1, groups=2).double(), generator=seeded())
    first, second = layer.weight[:, :, 0].chunk(2)
    assert not torch.allclose(first, second)
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.Tanh(), shared)
    orthogonal_(model, generator=seeded())
    want = orthogonal_(nn.Linear(4, 4), generator=seeded()).weight
    torch.testing.assert_close(shared.weight, want, rtol=0, atol=0)


def test_a_weight_that_reduces_channels_gets_orthonormal_rows():
    kernel = delta_orthogonal_(torch.empty(3, 5, 3, 3, dtype=torch.float64), generator=seeded())
    centre = kernel[:, :, 1, 1]
    torch.testing.assert_close(centre @ centre.T, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-13)
    assert kernel.count_nonzero() == 15


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: weights.Orthogonal().sample((4,)), "vector"),
        (lambda: weights.ScaledLaw(weights.Orthogonal(), 2.0), "whole matrices"),
        (lambda: haar(0), "rows ≥ 1"),
        (lambda: haar(3, 4, det=1), "square"),
        (lambda: orthogonal_(torch.empty(4)), "biases"),
        (lambda: orthogonal_(nn.ReLU()), "without one"),
        (lambda: orthogonal_(torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))), "computed from"),
        (lambda: orthogonal_(nn.LazyLinear(3)), "no shape yet"),
    ],
)
def test_refusals(call, says):
    with pytest.raises(DomainError, match=says):
        call()
