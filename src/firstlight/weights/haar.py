"""Haar-distributed orthogonal matrices, drawn in batches."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError

Determinant = Literal[1, -1]

_CHUNK = 64  # matrices factorised at a time, so that a thousand of them need no thousand in float64


@checked
@clean
def haar(
    rows: int,
    columns: int | None = None,
    *,
    count: int | None = None,
    det: Determinant | None = None,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*count rows columns"]:
    r"""Uniformly distributed orthogonal matrices, square or rectangular.

    For a Gaussian matrix A the factor Q of A = QR with :math:`R_{ii} > 0` is Haar distributed; a Householder
    QR without that sign is not. Here R is the Cholesky factor of AᵀA in float64, whose diagonal is positive
    by construction, and which runs batched at the speed of matrix products. The step is applied once more where the
    condition of A would change the result, and an ill-conditioned A goes to a Householder QR with its signs
    corrected.

    Parameters
    ----------
    rows, columns
        Shape; square by default. With rows ≥ columns the columns are orthonormal, else the rows are.
    count
        How many independent matrices; None for a single one without a leading dimension.
    det
        Draw from the square matrices with this determinant (SO(d) for 1); from all of O(d) by default.
    generator
        Where the random numbers come from, on the CPU; torch's global one by default.
    dtype
        Floating type of the result; orthogonality holds to its rounding (1e-14 in float64).

    Returns
    -------
    Tensor
        ``(rows, columns)`` or ``(count, rows, columns)``, on the CPU.

    Raises
    ------
    DomainError
        If a size is not positive, ``det`` is neither 1 nor −1, or ``det`` is asked of a rectangle.

    References
    ----------
    Mezzadri, "How to generate random matrices from the classical compact groups", Notices of the AMS 54
    (2007), section 5.

    Examples
    --------
    >>> import torch
    >>> from firstlight.weights import haar
    >>> q = haar(4, dtype=torch.float64, det=1, generator=torch.Generator().manual_seed(0))
    >>> torch.allclose(q.T @ q, torch.eye(4, dtype=torch.float64)), round(torch.linalg.det(q).item(), 9)
    (True, 1.0)
    """
    columns = rows if columns is None else columns
    _check(rows, columns, count, det)
    tall, thin = max(rows, columns), min(rows, columns)
    total = 1 if count is None else count
    result = torch.empty(total, rows, columns, dtype=dtype)
    for start in range(0, total, _CHUNK):
        size = min(_CHUNK, total - start)
        # normals in float32 are three times cheaper; their grain of 1e-7 in A leaves Q orthogonal to 1e-14
        gaussian = torch.randn(size, tall, thin, generator=generator, dtype=torch.float32).double()
        q = _orthonormalise(gaussian, exact=torch.finfo(dtype).eps < 1e-10)
        if det is not None:
            wrong = torch.linalg.det(q) * det < 0
            q[wrong, :, 0] *= -1
        result[start : start + size] = q if rows >= columns else q.mT
    return result[0] if count is None else result


def _check(rows: int, columns: int, count: int | None, det: int | None) -> None:
    sizes = {"rows": rows, "columns": columns, "count": 1 if count is None else count}
    for name, value in sizes.items():
        if value < (0 if name == "count" else 1):
            raise DomainError(
                f"while drawing orthogonal matrices: expected {name} ≥ 1, got {value}; give a positive size"
            )
    if det is not None and (det not in (1, -1) or rows != columns):
        raise DomainError(
            f"while drawing orthogonal matrices: expected det 1 or −1 with a square shape, got det={det} for "
            f"{rows}×{columns}; leave det out to draw from all orthogonal matrices"
        )


def _orthonormalise(a: Tensor, *, exact: bool) -> Tensor:
    """Q of A = QR with a positive diagonal of R, for a stack of tall or square float64 matrices."""
    q, span, failed = _cholesky_qr(a)
    # the loss of orthogonality is about eps·condition², and the diagonal of R bounds the condition from below
    doubtful = span > 1e2 if not exact else torch.ones_like(failed)
    again = doubtful & (span < 1e6) & ~failed
    if bool(again.any()):
        q[again], _, failed_again = _cholesky_qr(q[again])
        failed[again] |= failed_again
    bad = failed | (span >= 1e6)
    if bool(bad.any()):
        factor, upper = torch.linalg.qr(a[bad])
        sign = torch.where(upper.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)
        q[bad] = factor * sign.unsqueeze(-2).to(factor.dtype)
    return q


def _cholesky_qr(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One pass of Cholesky QR: Q, the span of R's diagonal, and where the factorisation failed."""
    lower, info = torch.linalg.cholesky_ex(a.mT @ a)
    diagonal = lower.diagonal(dim1=-2, dim2=-1)
    q = torch.linalg.solve_triangular(lower, a.mT, upper=False).mT
    return q.contiguous(), diagonal.amax(dim=-1) / diagonal.amin(dim=-1), info != 0
