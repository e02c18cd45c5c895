"""BatchNorm against its formula, torch's own, and finite differences; and what it refuses."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from firstlight.builders import BatchNorm, FeatureMajorLinear
from firstlight.errors import DomainError


def gaussian(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def by_formula(x, *, centred, scale, eps):
    """The definition, feature by feature, through plain loops over the last dimension of a matrix."""
    rows = x.transpose(0, 1).reshape(x.shape[1], -1)
    out = []
    for row in rows:
        z = row - row.mean() if centred else row
        y = z / torch.sqrt((z**2).mean() + eps)
        out.append(y / math.sqrt(len(row)) if scale == "unit" else y)
    return torch.stack(out).reshape(x.shape[1], x.shape[0], *x.shape[2:]).transpose(0, 1)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("scale", ["sqrt_n", "unit"])
@pytest.mark.parametrize("eps", [0.0, 1e-12, 0.3])
@pytest.mark.parametrize("shape", [(7, 4), (3, 4, 5), (3, 4, 2, 3)])
def test_formula(centred, scale, eps, shape):
    x = gaussian(*shape) + 0.7
    norm = BatchNorm(4, centred=centred, scale=scale, eps=eps).double()
    want = by_formula(x, centred=centred, scale=scale, eps=eps)
    torch.testing.assert_close(norm(x), want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shape", [(9, 4), (3, 4, 5, 2)])
def test_centred_is_torchs_own(shape):
    x = gaussian(*shape)
    theirs = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(4).double()
    ours = BatchNorm(4, eps=1e-5, affine=True).double()
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-13)


def test_uncentred_unit_norm_is_the_papers():
    x = gaussian(6, 6)
    norm = BatchNorm(6, centred=False, scale="unit", eps=0.0).double()
    features = x.T  # the paper's layout, features as rows
    want = torch.diag((features @ features.T).diagonal() ** -0.5) @ features
    torch.testing.assert_close(norm(x).T, want, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("scale", ["sqrt_n", "unit"])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_gradients(centred, scale, affine, eps):
    norm = BatchNorm(3, centred=centred, scale=scale, affine=affine, eps=eps).double()
    x = gaussian(5, 3).requires_grad_()
    assert torch.autograd.gradcheck(norm, (x,))
    assert torch.autograd.gradgradcheck(norm, (x,))


class _Watching(torch.overrides.TorchFunctionMode):
    """What a tracer does: see every function and let it pass."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("centred", [True, False])
def test_the_fast_and_the_traced_path_agree(centred):
    x = gaussian(8, 5)
    norm = BatchNorm(5, centred=centred).double()
    fast = norm(x)
    with _Watching():
        traced = norm(x)
    torch.testing.assert_close(fast, traced, rtol=1e-12, atol=1e-13)


def test_running_averages_follow_the_batches():
    norm = BatchNorm(2, track_running_stats=True, momentum=0.25).double()
    first, second = gaussian(50, 2), 3 * gaussian(50, 2, seed=1) + 1
    norm(first)
    norm(second)
    mean = 0.75 * first.mean(0) + 0.25 * second.mean(0)
    square = 0.75 * first.var(0, correction=0) + 0.25 * second.var(0, correction=0)
    norm.eval()
    assert norm.holds == "running"
    x = gaussian(3, 2, seed=2)
    torch.testing.assert_close(norm(x), (x - mean) / square.sqrt(), rtol=1e-10, atol=1e-12)
    assert norm(x[:1]).shape == (1, 2)


def test_evaluation_without_statistics_uses_the_batch():
    norm = BatchNorm(3).eval()
    x = gaussian(9, 3, dtype=torch.float32)
    assert norm.holds == "nothing"
    torch.testing.assert_close(norm(x), BatchNorm(3)(x))


def test_state_survives_a_state_dict():
    norm = BatchNorm(3, track_running_stats=True)
    norm(gaussian(9, 3, dtype=torch.float32))
    other = BatchNorm(3, track_running_stats=True)
    other.load_state_dict(norm.state_dict())
    x = gaussian(4, 3, seed=5, dtype=torch.float32)
    torch.testing.assert_close(other.eval()(x), norm.eval()(x), rtol=0, atol=0)


def test_a_constant_feature_becomes_zero_not_nan():
    x = gaussian(6, 2)
    x[:, 1] = 4.0
    y = BatchNorm(2).double()(x)
    assert y[:, 1].abs().max() == 0
    assert torch.isfinite(y).all()
    assert not torch.isfinite(BatchNorm(2, eps=0.0).double()(x)).all()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: BatchNorm(3)(torch.ones(1, 3)), "larger batch"),
        (lambda: BatchNorm(3)(torch.ones(4, 2)), r"\(samples, 3"),
        (lambda: BatchNorm(0), "num_features"),
        (lambda: BatchNorm(3, momentum=0.0), "momentum"),
    ],
)
def test_refusals(make, says):
    with pytest.raises(DomainError, match=says):
        make()


def test_feature_major_linear_is_linear():
    layer = FeatureMajorLinear(4, 6).double()
    x = gaussian(5, 4)
    torch.testing.assert_close(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
    twin = copy.deepcopy(layer)
    layer(x).square().sum().backward()
    nn.functional.linear(x, twin.weight, twin.bias).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, twin.weight.grad)
