"""How many directions a matrix uses: ranks read off its spectrum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.measure._blocks import floating

_DOING = "measuring the rank of a matrix"


@dataclass(frozen=True)
class Ranks:
    """Ranks of one matrix with Gram eigenvalues λ (squared singular values), p = λ/Σλ.

    Attributes
    ----------
    effective
        exp(−Σ p log p), the effective rank of Roy and Vetterli (2007) on the squared singular values.
    participation
        (Σλ)² / Σλ².
    stable
        Σλ / max λ, the squared Frobenius norm over the squared spectral norm.
    numerical
        Number of singular values above the rounding of the input: max(shape) · ε · the largest.

    All are 0 for a zero matrix and NaN where an entry is not finite.
    """

    effective: float
    participation: float
    stable: float
    numerical: float


@checked
@clean
def ranks(x: Float[Tensor, "rows columns"], *, gram: bool = False) -> Ranks:
    """Effective, participation, stable and numerical rank of a matrix, from one spectrum.

    Parameters
    ----------
    x
        Any matrix, or with ``gram=True`` a symmetric positive semi-definite one, whose eigenvalues are then
        λ.
    gram
        Whether ``x`` is a Gram matrix already. The eigenvalues of ``x xᵀ`` resolve singular values down to
        1e-8 of the largest, computed in float64.

    Raises
    ------
    DomainError
        If ``x`` is not a matrix, or not square when ``gram``.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> r = measure.ranks(torch.diag(torch.tensor([2.0, 1.0])))
    >>> round(r.stable, 6), round(r.participation, 6), r.numerical
    (1.25, 1.470588, 2.0)
    """
    x = floating(x, _DOING)
    if x.ndim != 2 or (gram and x.shape[0] != x.shape[1]):
        raise DomainError(
            f"while {_DOING}: expected a {'square' if gram else ''} matrix, got shape {tuple(x.shape)}"
        )
    if x.numel() == 0:
        return Ranks(0.0, 0.0, 0.0, 0.0)
    largest = x.abs().amax().item()
    if not math.isfinite(largest):
        return Ranks(math.nan, math.nan, math.nan, math.nan)
    if largest == 0.0:
        return Ranks(0.0, 0.0, 0.0, 0.0)
    eps = torch.finfo(x.dtype).eps * max(x.shape)
    x = x.cpu().double() / largest
    if not gram:
        x = x @ x.T if x.shape[0] <= x.shape[1] else x.T @ x
        eps = max(eps * eps, 1e-15 * max(x.shape))
    values = torch.linalg.eigvalsh(x).clamp_min_(0.0)
    total, top = values.sum(), values[-1]
    p = values / total
    return Ranks(
        effective=torch.special.entr(p).sum().exp().item(),
        participation=(1.0 / p.square().sum()).item(),
        stable=(total / top).item(),
        numerical=float((values > eps * top).sum()),
    )


@checked
@clean
def effective_rank(x: Float[Tensor, "rows columns"], *, gram: bool = False) -> float:
    """Exponential of the entropy of the normalised spectrum of x xᵀ, between 1 and min(shape).

    The same as ``ranks(x, gram=gram).effective``, which see.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> round(measure.effective_rank(torch.eye(5)), 6)
    5.0
    """
    return ranks(x, gram=gram).effective
