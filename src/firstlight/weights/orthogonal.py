"""Haar-distributed orthogonal weights: batched sampling, and initialisers that write into modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from firstlight.errors import DomainError

Determinant = Literal[1, -1]

_CHUNK = 64  # matrices factorised at a time, so that a thousand of them need no thousand in float64


def haar(
    rows: int,
    columns: int | None = None,
    *,
    count: int | None = None,
    det: Determinant | None = None,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*count rows columns"]:
    r"""Uniformly distributed orthogonal matrices, or their rectangular kin.

    For a Gaussian matrix A the factor Q of A = QR with :math:`R_{ii} > 0` is Haar distributed; a Householder
    QR without that sign is not. Here R is the Cholesky factor of AᵀA in float64, whose diagonal is positive
    by construction, and which runs batched at the speed of matrix products. It is applied once more wherever
    the condition of A would show in the result, and an ill-conditioned A goes to a Householder QR with the
    signs mended.

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


@torch.no_grad()
def orthogonal_(
    target: Tensor | nn.Module,
    *,
    gain: float | int = 1.0,
    det: Determinant | None = None,
    generator: torch.Generator | None = None,
) -> Tensor | nn.Module:
    """Write Haar-orthogonal weights into a tensor, or into every linear and convolutional layer of a module.

    Matrices of one shape are drawn together, which is faster than ``nn.init.orthogonal_`` one by one.
    A convolution gets a delta-orthogonal kernel: an orthogonal matrix at the centre and zeros elsewhere,
    so that the whole convolution, not its unfolded matrix, preserves norms. Biases are left as they are.

    Parameters
    ----------
    target
        A weight ``(out, in, *kernel)``, or a module whose ``nn.Linear`` and ``nn.Conv*`` weights are written.
    gain
        Factor on every weight.
    det
        As for `haar`, for square weights; rectangular ones ignore it.
    generator
        Where the random numbers come from.

    Returns
    -------
    Tensor or nn.Module
        The target.

    Raises
    ------
    DomainError
        If a weight has fewer than two dimensions, a convolution reduces channels or has groups (no
        norm-preserving kernel exists), or a module has no weight to write.

    References
    ----------
    Xiao et al., "Dynamical Isometry and a Mean Field Theory of CNNs", ICML 2018, algorithm 1.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from firstlight.weights import orthogonal_
    >>> model = orthogonal_(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4)))
    >>> w = model[1].weight
    >>> torch.allclose(w @ w.T, torch.eye(4), atol=1e-6)
    True
    """
    weights = [target] if isinstance(target, Tensor) else list(_weights(target))
    if not weights:
        raise DomainError(
            f"while initialising orthogonally: expected a module with linear or convolutional layers, got "
            f"{type(target).__name__} without one; pass the layer's weight instead"
        )
    shapes: dict[tuple[int, int], list[Tensor]] = {}
    for weight in weights:
        if weight.ndim < 2:
            raise DomainError(
                f"while initialising orthogonally: expected a weight (out, in, *kernel), got shape "
                f"{tuple(weight.shape)}; biases and norms have no orthogonal matrix"
            )
        shapes.setdefault((weight.shape[0], weight.shape[1]), []).append(weight)
    for (rows, columns), group in shapes.items():
        wanted = det if rows == columns else None
        dtype = torch.float64 if any(w.dtype == torch.float64 for w in group) else torch.float32
        drawn = haar(rows, columns, count=len(group), det=wanted, generator=generator, dtype=dtype)
        for weight, matrix in zip(group, drawn, strict=True):
            _place(weight, gain * matrix)
    return target


def delta_orthogonal_(
    weight: Tensor, *, gain: float | int = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Write a delta-orthogonal kernel into a convolution's weight ``(out, in, *kernel)``; see `orthogonal_`.

    Examples
    --------
    >>> import torch
    >>> from firstlight.weights import delta_orthogonal_
    >>> kernel = delta_orthogonal_(torch.empty(4, 4, 3, 3))
    >>> [int(n) for n in kernel.abs().sum((0, 1)).count_nonzero(1)]
    [0, 1, 0]
    """
    orthogonal_(weight, gain=gain, generator=generator)
    return weight


def _weights(module: nn.Module) -> Iterator[Tensor]:
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            if getattr(layer, "groups", 1) != 1:
                raise DomainError(
                    f"while initialising orthogonally: expected a convolution of one group, got {layer}; "
                    "give its weight another law"
                )
            yield layer.weight


def _place(weight: Tensor, matrix: Tensor) -> None:
    if weight.ndim == 2:
        weight.copy_(matrix)
        return
    if weight.shape[0] < weight.shape[1]:
        raise DomainError(
            f"while initialising orthogonally: expected a convolution with at least as many output as input "
            f"channels, got weight {tuple(weight.shape)}; widen it, or pass its matrix to `haar`"
        )
    weight.zero_()
    centre = weight
    for size in weight.shape[2:]:
        centre = centre.select(2, (size - 1) // 2)
    centre.copy_(matrix)


@torch.no_grad()
def xavier_(modules: nn.Module | Iterable[Any], *, generator: torch.Generator | None = None) -> None:
    """Write Gaussian weights of variance 2/(fan-in + fan-out) into linear layers: what explodes, to compare.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from firstlight.weights.orthogonal import xavier_
    >>> layer = nn.Linear(1000, 1000)
    >>> xavier_(layer, generator=torch.Generator().manual_seed(0))
    >>> round(layer.weight.std().item() * 1000**0.5, 2)
    1.0
    """
    layers = modules.modules() if isinstance(modules, nn.Module) else modules
    for layer in layers:
        if isinstance(layer, nn.Linear):
            layer.weight.normal_(0.0, (2 / sum(layer.weight.shape)) ** 0.5, generator=generator)
