"""Terms of weight matrices: orthogonality, norms, spectra, and the distance of a law from its start."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.errors import DomainError

Matrix = Float[Tensor, "rows columns"]
# Matrices whose smaller side is larger have their largest singular value by power iterations, to about 1e-3.
_EXACT, _ITERATIONS = 256, 60


def _matrix(weight: Tensor, doing: str) -> Tensor:
    """The matrix, in float32 where it has fewer bits, which linear algebra on the CPU does not take."""
    if not isinstance(weight, Tensor) or weight.layout != torch.strided or not weight.is_floating_point():
        got = (
            f"{weight.dtype} in layout {weight.layout}"
            if isinstance(weight, Tensor)
            else type(weight).__name__
        )
        raise DomainError(f"while taking {doing}: expected a dense floating-point matrix, got {got}")
    if weight.dim() != 2 or weight.numel() == 0:
        raise DomainError(
            f"while taking {doing}: expected rows × columns with entries, got shape {tuple(weight.shape)}; "
            "flatten a kernel with weight.flatten(1)"
        )
    return weight.float() if weight.dtype in (torch.float16, torch.bfloat16) else weight


def cauchy_schwarz(weight: Matrix) -> Tensor:
    r"""n‖WᵀW‖² − ‖W‖⁴ = Σ_{i<j} (λ_i − λ_j)² over the n eigenvalues of the smaller Gram matrix.

    Zero exactly for a multiple of an orthogonal matrix, whatever the multiple (Frobenius norms).

    Examples
    --------
    >>> import torch
    >>> from firstlight.recipes import cauchy_schwarz
    >>> float(cauchy_schwarz(torch.diag(torch.tensor([2.0, 1.0])))), float(cauchy_schwarz(3 * torch.eye(4)))
    (9.0, 0.0)
    """
    weight = _matrix(weight, "the term of Cauchy and Schwarz")
    gram = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
    return len(gram) * gram.square().sum() - gram.diagonal().sum().square()


def group_orthogonality(weight: Matrix, *, groups: int = 1) -> Tensor:
    r"""Σ_g ‖W_g W_gᵀ − I‖² over groups of consecutive rows.

    Random rows with entries N(0, 1/d) have r(r + 1)/d in a group of r rows.

    Raises
    ------
    DomainError
        Rows that the groups do not divide.

    Examples
    --------
    >>> import torch
    >>> from firstlight.recipes import group_orthogonality
    >>> rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, -1.0]])
    >>> float(group_orthogonality(rows, groups=2)), float(group_orthogonality(rows))
    (0.0, 4.0)
    """
    weight = _matrix(weight, "the orthogonality of groups")
    if groups < 1 or weight.shape[0] % groups:
        raise DomainError(
            f"while taking the orthogonality of groups: expected groups that divide {weight.shape[0]} rows, "
            f"got {groups}"
        )
    parts = weight.reshape(groups, -1, weight.shape[1])
    eye = torch.eye(parts.shape[1], dtype=weight.dtype, device=weight.device)
    return (parts @ parts.transpose(1, 2) - eye).square().sum()


def norm_loss(weight: Matrix) -> Tensor:
    """Σ (1 − ‖w‖)² over the rows w.

    Examples
    --------
    >>> import torch
    >>> from firstlight.recipes import norm_loss
    >>> float(norm_loss(torch.tensor([[3.0, 4.0], [0.0, 1.0]])))
    16.0
    """
    return (1 - torch.linalg.vector_norm(_matrix(weight, "the loss of norms"), dim=1)).square().sum()


def spectral_deviation(weight: Matrix, *, power: float = 1.0) -> Tensor:
    """(σ₁^k − 1)² with the largest singular value σ₁.

    Exact where the smaller side is at most 256; else by 60 power iterations, whose error is far below that of the
    choice of k unless the two largest singular values are within a percent.

    Examples
    --------
    >>> import torch
    >>> from firstlight.recipes import spectral_deviation
    >>> round(float(spectral_deviation(torch.diag(torch.tensor([3.0, 1.0])), power=2)), 4)
    64.0
    """
    return (_largest(_matrix(weight, "the largest singular value")).pow(power) - 1).square()


def _largest(weight: Tensor) -> Tensor:
    if not bool(torch.isfinite(weight).all()):
        return weight.sum() * torch.nan
    if min(weight.shape) <= _EXACT:
        return torch.linalg.svdvals(weight)[0]
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        v = torch.randn(weight.shape[1], generator=generator).to(weight)
        for _ in range(_ITERATIONS):
            u = torch.nn.functional.normalize(weight @ v, dim=0)
            v = torch.nn.functional.normalize(weight.T @ u, dim=0)
    return u @ weight @ v


def distance_to_start(weight: Matrix, start: Tensor) -> Tensor:
    """Squared Wasserstein-2 distance of the law of the entries to that of the start: the mean of (sorted − sorted)².

    Parameters
    ----------
    weight
        The weight now.
    start
        Sorted entries of the weight as it began, of the same number.

    Examples
    --------
    >>> import torch
    >>> from firstlight.recipes import distance_to_start
    >>> w = torch.tensor([[1.0, 3.0], [2.0, 0.0]])
    >>> float(distance_to_start(w.T + 0.5, w.flatten().sort().values))  # any order of the same entries, moved by ½
    0.25
    """
    return (weight.flatten().sort().values - start).square().mean()


def hyperspherical_energy(weight: Matrix, *, power: float = 1.0) -> Tensor:
    r"""Mean over pairs of rows of ‖ŵ_i − ŵ_j‖^{−s}, or of −log of it where s = 0, with rows of unit length.

    Low where the directions of the units are spread over the sphere.

    Raises
    ------
    DomainError
        A single row, or a negative power.

    Examples
    --------
    >>> import torch
    >>> from firstlight.recipes import hyperspherical_energy
    >>> float(hyperspherical_energy(torch.tensor([[2.0, 0.0], [-1.0, 0.0]])))  # opposite directions are 2 apart
    0.5
    """
    weight = _matrix(weight, "a hyperspherical energy")
    if len(weight) < 2 or power < 0:
        raise DomainError(
            f"while taking a hyperspherical energy: expected two rows or more and a power ≥ 0, got {len(weight)} rows "
            f"and {power}"
        )
    unit = torch.nn.functional.normalize(weight, dim=1)
    # rows that agree would have an infinite energy and gradient
    square = (2 - 2 * unit @ unit.T)[~torch.eye(len(unit), dtype=torch.bool, device=unit.device)].clamp_min(
        1e-12
    )
    return square.pow(-power / 2).mean() if power else -0.5 * square.log().mean()
