"""Isometry gap, isometry and orthogonality gap against closed forms, mpmath and each other."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.errors import DomainError
from firstlight.measure import isometry, isometry_gap, orthogonality_gap

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def gaussian(m, n, seed=0, dtype=torch.float64):
    return torch.randn(m, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def with_condition(n, condition, seed=0):
    """A matrix with log-spaced singular values from 1 to 1/condition and random singular vectors."""
    u, _ = torch.linalg.qr(gaussian(n, n, seed))
    v, _ = torch.linalg.qr(gaussian(n, n, seed + 1))
    s = torch.logspace(0, -math.log10(condition), n, dtype=torch.float64)
    return u @ torch.diag(s) @ v.T, s


def gap_of(s):
    return float(torch.log(s.square().mean()) - 2 * torch.log(s).mean())


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e5, 1e8, 1e10])
@pytest.mark.parametrize("method", ["svd", "fast"])
def test_exact_up_to_condition_1e10(condition, method):
    x, s = with_condition(20, condition)
    # a singular value s_i is known to eps·s_max, so log s_i² to 2·eps·condition
    assert isometry_gap(x, method=method).item() == pytest.approx(
        gap_of(s), abs=1e-13 + 1e-15 * condition, rel=1e-13
    )


def test_the_gram_determinant_is_what_it_replaces():
    """Eigenvalues of the Gram matrix lose the gap at condition 1e10: the reason for singular values."""
    x, s = with_condition(40, 1e10, seed=3)
    eigenvalues = torch.linalg.eigvalsh(x.T @ x)
    naive = torch.log(eigenvalues.mean()) - torch.log(eigenvalues).mean()
    assert not abs(naive.item() - gap_of(s)) < 1e-2
    assert isometry_gap(x).item() == pytest.approx(gap_of(s), abs=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_half_precision_entries_are_taken_as_exact(dtype):
    x = gaussian(6, 6, dtype=dtype)
    matrix = mpmath.matrix(x.double().tolist())
    gram = matrix.T * matrix
    want = mpmath.log(sum(gram[i, i] for i in range(6)) / 6) - mpmath.log(mpmath.det(gram)) / 6
    assert isometry_gap(x).item() == pytest.approx(float(want), abs=1e-12)


@pytest.mark.parametrize(
    "x",
    [
        torch.ones(3, 3),
        torch.zeros(4, 4),
        torch.tensor([[1.0, 2.0], [2.0, 4.0]]),
        gaussian(8, 3) @ gaussian(3, 8, 1),
        gaussian(4, 8)[[0, 0, 1, 2]],
    ],
)
@pytest.mark.parametrize("method", ["svd", "fast"])
def test_rank_deficient_is_infinite(x, method):
    assert isometry_gap(x, method=method).item() == math.inf
    assert isometry(x).item() == 0.0


def test_larger_gram_is_singular_by_shape():
    tall = gaussian(9, 4)
    assert isometry_gap(tall, gram="rows").item() == math.inf
    assert math.isfinite(isometry_gap(tall, gram="columns").item())
    torch.testing.assert_close(isometry_gap(tall), isometry_gap(tall, gram="columns"), rtol=0, atol=0)
    torch.testing.assert_close(isometry_gap(tall), isometry_gap(tall.T, gram="rows"), rtol=0, atol=1e-14)


def test_rtol_flags_rounding_noise_of_float32_features():
    x = (gaussian(20, 5) @ gaussian(5, 20, 1)).float()  # rank 5, but float32 entries make it formally regular
    assert isometry_gap(x, rtol=1e-6).item() == math.inf


def test_a_stack_keeps_each_matrix_and_its_faults_apart():
    stack = torch.stack([torch.eye(3), torch.ones(3, 3), torch.full((3, 3), math.nan), 2 * torch.eye(3)])
    for method in ("svd", "fast"):
        gap = isometry_gap(stack.reshape(2, 2, 3, 3), method=method)
        assert gap.shape == (2, 2)
        assert gap.flatten()[[0, 3]].tolist() == [0.0, 0.0]
        assert gap[0, 1].item() == math.inf
        assert math.isnan(gap[1, 0].item())
    assert math.isnan(orthogonality_gap(stack)[2].item())


def test_never_negative_by_rounding():
    q, _ = torch.linalg.qr(torch.stack([gaussian(30, 30, seed) for seed in range(50)]))
    for method in ("svd", "fast"):
        gaps = isometry_gap(q, method=method)
        assert gaps.min().item() >= 0.0
        assert gaps.max().item() < 1e-13


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.integers(2, 9), st.integers(0, 10**6), st.floats(-100, 100))
def test_invariances(m, n, seed, log_scale):
    x = gaussian(m, n, seed)
    u, _ = torch.linalg.qr(gaussian(m, m, seed + 1))
    v, _ = torch.linalg.qr(gaussian(n, n, seed + 2))
    gap, other = isometry_gap(x), isometry_gap(math.exp(log_scale) * u @ x @ v)
    # condition number times rounding bounds what rotations can change; Gaussian draws here stay below 1e6
    torch.testing.assert_close(gap, other, rtol=0, atol=1e-9)
    torch.testing.assert_close(orthogonality_gap(x), orthogonality_gap(u @ x @ v), rtol=0, atol=1e-12)
    assert gap.item() >= 0
    torch.testing.assert_close(isometry(x), torch.exp(-gap), rtol=0, atol=0)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6))
def test_fast_agrees_with_svd(m, n, seed):
    x = gaussian(m, n, seed)
    torch.testing.assert_close(isometry_gap(x, method="fast"), isometry_gap(x), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("gram", ["smaller", "rows", "columns"])
def test_orthogonality_gap_is_its_definition(gram):
    x = gaussian(5, 8)
    matrix = x.T @ x if gram == "columns" else x @ x.T
    k = len(matrix)
    want = torch.linalg.matrix_norm(matrix / matrix.trace() - torch.eye(k, dtype=torch.float64) / k)
    assert orthogonality_gap(x, gram=gram).item() == pytest.approx(want.item(), abs=1e-14)


def test_orthogonality_gap_range():
    assert orthogonality_gap(torch.eye(7)).item() == 0.0
    assert orthogonality_gap(torch.ones(5, 5)).item() == pytest.approx(math.sqrt(1 - 1 / 5), abs=1e-14)


def test_gap_can_be_minimised():
    """The gap is differentiable, so it can serve as a regulariser."""
    x = gaussian(4, 4).requires_grad_()
    isometry_gap(x).backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    step = x.detach() - 0.01 * x.grad
    assert isometry_gap(step) < isometry_gap(x.detach())


def test_bad_input_names_what_to_do():
    with pytest.raises(DomainError, match=r"expected a matrix.*got shape \(0, 3\)"):
        isometry_gap(torch.empty(0, 3))
    with pytest.raises((DomainError, TypeError), match=r"Gram|gram|method"):
        isometry_gap(torch.eye(2), gram="both")
    with pytest.raises((DomainError, TypeError), match=r"Gram|gram|method"):
        isometry_gap(torch.eye(2), method="eig")
