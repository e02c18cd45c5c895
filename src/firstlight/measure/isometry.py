"""How far a matrix is from being an isometry up to scale: isometry gap, isometry, orthogonality gap.

Every number here comes from singular values in float64. The eigenvalues of a Gram matrix carry the square of
the condition number: in float64 they turn the gap into NaN at condition 1e10, where the true value is finite.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError

Gram = Literal["smaller", "rows", "columns"]
Method = Literal["svd", "fast"]


@checked
@clean
def isometry_gap(
    x: Float[Tensor, "*batch m n"],
    *,
    gram: Gram = "smaller",
    rtol: float | None = None,
    method: Method = "svd",
) -> Float[Tensor, "*batch"]:
    r"""Isometry gap: minus the log of the geometric over the arithmetic mean of the Gram eigenvalues.

    .. math:: \varphi(X) = -\log \frac{\det(G)^{1/k}}{\operatorname{tr}(G)/k},
              \qquad G = X^\top X \text{ or } X X^\top, \; G \in \mathbb{R}^{k\times k}

    The gap is 0 if and only if X is a multiple of a (semi-)orthogonal matrix, and infinite where G is singular.
    With singular values s of X it is log mean s² − mean log s², and it does not change with the scale of X.

    Parameters
    ----------
    x
        One matrix or a stack of them, any floating dtype.
    gram
        Which Gram matrix: ``"rows"`` is X Xᵀ (m × m), ``"columns"`` is Xᵀ X (n × n), ``"smaller"`` the
        smaller of the two, whose eigenvalues are the squares of all singular values. The larger one is
        singular by its shape, so its gap is infinite.
    rtol
        Singular values at or below ``rtol`` times the largest count as zero. By default max(m, n)·2⁻⁵², which
        takes the entries as exact; for features that a float32 network has computed, entries are known to
        1e-7 only and a value such as ``rtol=1e-6`` flags what is rounding noise.
    method
        ``"svd"`` for full accuracy; ``"fast"`` takes the determinant of square matrices from an LU factorisation
        and of others from a Cholesky factorisation of the Gram matrix, ten times faster or more and as accurate
        up to condition 1e4; matrices whose pivots span more than that go to the SVD.

    Returns
    -------
    Tensor
        The gap of each matrix in nats, float64, ≥ 0; infinite for a rank-deficient matrix and NaN for one
        with a non-finite entry.

    Raises
    ------
    DomainError
        If a matrix has no entries.

    References
    ----------
    Meterez et al., "Towards Training Without Depth Limits", ICLR 2024, definition of φ in section 3.

    Examples
    --------
    >>> import torch
    >>> from firstlight.measure import isometry_gap
    >>> isometry_gap(3.0 * torch.eye(4)).item()
    0.0
    >>> round(isometry_gap(torch.diag(torch.tensor([1.0, 2.0]))).item(), 6)   # log(2.5) − log 2
    0.223144
    >>> isometry_gap(torch.ones(3, 3)).item()
    inf
    """
    y = _exact(x, "the isometry gap")
    m, n = y.shape[-2:]
    singular_by_shape = _gram_size(m, n, gram) > min(m, n)
    if method == "fast" and not singular_by_shape:
        return _gap_by_pivots(y, rtol)
    if method not in ("svd", "fast"):
        raise DomainError(
            f"while taking the isometry gap: expected method 'svd' or 'fast', got {method!r}; use 'svd'"
        )
    finite = torch.isfinite(y).all(dim=-1).all(dim=-1)
    s = _singular_values(y, finite)
    top = s[..., :1]
    floor = (max(m, n) * torch.finfo(torch.float64).eps if rtol is None else rtol) * top
    deficient = (s <= floor).any(dim=-1) | singular_by_shape
    ratio = torch.where(s <= floor, torch.ones_like(s), s / top.clamp(min=torch.finfo(torch.float64).tiny))
    gap = (torch.log(ratio.square().mean(dim=-1)) - 2 * torch.log(ratio).mean(dim=-1)).clamp(min=0)
    gap = torch.where(deficient, torch.full_like(gap, torch.inf), gap)
    return torch.where(finite, gap, torch.full_like(gap, torch.nan))


@checked
@clean
def isometry(
    x: Float[Tensor, "*batch m n"], *, gram: Gram = "smaller", rtol: float | None = None
) -> Float[Tensor, "*batch"]:
    r"""Isometry :math:`I(X) = e^{-\varphi(X)} \in [0, 1]`: 1 for a scaled isometry, 0 at singular Gram.

    Parameters, errors and source are those of `isometry_gap`.

    Examples
    --------
    >>> import torch
    >>> from firstlight.measure import isometry
    >>> round(isometry(torch.diag(torch.tensor([1.0, 2.0]))).item(), 6)   # √(1·4) / 2.5
    0.8
    """
    return torch.exp(-isometry_gap(x, gram=gram, rtol=rtol))


@checked
@clean
def orthogonality_gap(x: Float[Tensor, "*batch m n"], *, gram: Gram = "smaller") -> Float[Tensor, "*batch"]:
    r"""Distance of the trace-normalised Gram matrix from the identity over its size.

    .. math:: o(X) = \Bigl\lVert \frac{G}{\operatorname{tr} G} - \frac{I_k}{k} \Bigr\rVert_F
              \in [0, \sqrt{1 - 1/k}]

    Unlike the isometry gap it stays finite for singular matrices; 0 again means a scaled isometry.

    Parameters
    ----------
    x
        One matrix or a stack of them, any floating dtype.
    gram
        Which Gram matrix, as in `isometry_gap`.

    Returns
    -------
    Tensor
        The gap of each matrix, float64; NaN for a matrix that is zero or has a non-finite entry.

    Raises
    ------
    DomainError
        If a matrix has no entries.

    References
    ----------
    Daneshmand, Joudaki, Bach, "Batch Normalization Orthogonalizes Representations in Deep Random Networks",
    NeurIPS 2021, equation 3.

    Examples
    --------
    >>> import torch
    >>> from firstlight.measure import orthogonality_gap
    >>> round(orthogonality_gap(torch.ones(2, 2)).item(), 6)   # the largest possible at k = 2
    0.707107
    """
    y = _exact(x, "the orthogonality gap")
    finite = torch.isfinite(y).all(dim=-1).all(dim=-1)
    share = _singular_values(y, finite)
    share = (share / share[..., :1]).square()
    share = share / share.sum(dim=-1, keepdim=True)
    m, n = y.shape[-2:]
    k = _gram_size(m, n, gram)
    zeros_by_shape = k - min(m, n)
    gap = torch.sqrt((share - 1 / k).square().sum(dim=-1) + zeros_by_shape / k**2)
    return torch.where(finite, gap, torch.full_like(gap, torch.nan))


def _exact(x: Tensor, what: str) -> Tensor:
    """The entries in float64; on the CPU where the device has no float64."""
    if x.ndim < 2 or x.shape[-1] == 0 or x.shape[-2] == 0:
        raise DomainError(
            f"while taking {what}: expected a matrix (or a stack of them) with at least one entry, "
            f"got shape {tuple(x.shape)}; pass features as (samples, features)"
        )
    if x.is_complex() or x.layout != torch.strided or x.device.type == "meta":
        raise DomainError(
            f"while taking {what}: expected a dense matrix of real numbers, got {x.dtype} in layout {x.layout} on "
            f"{x.device.type}; convert it first, for example with .to_dense() or .real"
        )
    return (x.cpu() if x.device.type == "mps" else x).double()


def _singular_values(y: Tensor, finite: Tensor) -> Tensor:
    """Singular values, descending; zeros for a matrix with a non-finite entry, which LAPACK would refuse."""
    return torch.linalg.svdvals(torch.where(finite[..., None, None], y, torch.zeros_like(y)))


def _gram_size(m: int, n: int, gram: Gram) -> int:
    sizes = {"rows": m, "columns": n, "smaller": min(m, n)}
    if gram not in sizes:
        raise DomainError(
            f"while choosing a Gram matrix: expected 'smaller', 'rows' or 'columns', got {gram!r}; "
            "'smaller' fits most uses"
        )
    return sizes[gram]


# Pivots span about the condition number of random matrices, of the Gram matrix its square.
_PIVOT_SPAN = 1e-5
_CHUNK = 16  # matrices at a time, so that the passes over them stay in cache


def _gap_by_pivots(y: Tensor, rtol: float | None) -> Tensor:
    """The gap from log |det| = Σ log |pivot|, with the SVD where that is not safe."""
    m, n = y.shape[-2:]
    flat = y.reshape(-1, m, n)
    floor = max(m, n) * torch.finfo(torch.float64).eps if rtol is None else rtol
    parts = [_pivot_gaps(part, floor) for part in flat.split(_CHUNK)]
    gap = torch.cat([one for one, _ in parts]) if parts else flat.new_zeros(0)
    doubtful = torch.cat([one for _, one in parts]) if parts else flat.new_zeros(0, dtype=torch.bool)
    if bool(doubtful.any()):
        gap = gap.clone()
        gap[doubtful] = isometry_gap(flat[doubtful], rtol=rtol)
    return gap.reshape(y.shape[:-2])


def _pivot_gaps(y: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Gaps of a stack of matrices, and which of them are not to be trusted."""
    m, n = y.shape[-2:]
    k = min(m, n)
    norm = torch.linalg.vector_norm(y, dim=(-2, -1))
    log_size = 2 * torch.log(norm) - math.log(k)
    if m == n:
        factors, _, _ = torch.linalg.lu_factor_ex(y)
        pivots = factors.diagonal(dim1=-2, dim2=-1).abs()
        # U x = u_nn eₙ has a solution with |xₙ| = 1, so the last pivot bounds the smallest singular value from
        # above; the largest is at least the root mean square of all
        singular = pivots[..., -1] <= floor * norm / math.sqrt(k)
    else:
        pivots = torch.linalg.cholesky_ex(y @ y.mT if m < n else y.mT @ y)[0].diagonal(dim1=-2, dim2=-1)
        singular = torch.zeros_like(norm, dtype=torch.bool)
    gap = (log_size - 2 * torch.log(pivots).mean(dim=-1)).clamp(min=0)
    span = _PIVOT_SPAN if m == n else math.sqrt(_PIVOT_SPAN)
    trusted = pivots.amin(dim=-1) > max(span, floor) * pivots.amax(dim=-1)
    gap = torch.where(singular, torch.full_like(gap, torch.inf), gap)
    return gap, ~(trusted | singular) | ~torch.isfinite(norm)
