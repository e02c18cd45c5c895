"""Terms of what a batch becomes: entropy of directions, size of logits, sensitivity, Jacobians of two parts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.errors import DomainError


def rows_of(h: Tensor) -> Tensor:
    """Samples (and places) × units: units are on axis 1 of maps, and on the last axis elsewhere."""
    if not isinstance(h, Tensor) or h.layout != torch.strided or not h.is_floating_point() or h.dim() < 1:
        got = (
            f"{h.dtype} of shape {tuple(h.shape)} in layout {h.layout}"
            if isinstance(h, Tensor)
            else type(h).__name__
        )
        raise DomainError(f"while reading samples × units: expected a dense floating-point tensor, got {got}")
    if h.numel() == 0:
        raise DomainError(f"while reading samples × units: expected entries, got shape {tuple(h.shape)}")
    moved = h.movedim(1, -1) if h.dim() >= 4 else h
    return moved.reshape(-1, moved.shape[-1])


def negative_vne(h: Tensor) -> Tensor:
    r"""−S(C): minus the von Neumann entropy of the directions of samples, so that training raises the entropy.

    The value is minus ``measure.von_neumann_entropy``; the gradient of a repeated eigenvalue is that of the sum.

    Examples
    --------
    >>> import math, torch
    >>> from firstlight.recipes import negative_vne
    >>> abs(float(negative_vne(torch.eye(4))) + math.log(4)) < 1e-6
    True
    """
    rows = rows_of(h)
    if not bool(torch.isfinite(rows).all()):
        return rows.sum() * torch.nan
    unit = torch.nn.functional.normalize(rows.float() if rows.element_size() < 4 else rows, dim=1)
    gram = unit @ unit.T if unit.shape[0] <= unit.shape[1] else unit.T @ unit
    p = torch.linalg.eigvalsh(gram / len(unit)).clamp_min(1e-12)
    return (p * p.log()).sum()


def spectral_decoupling(logits: Tensor) -> Tensor:
    r"""½‖logits‖², mean over samples.

    With the logistic loss of one sample and the weight λ the margin ends at the y for which λ y = 1/(1 + e^y).

    Examples
    --------
    >>> import torch
    >>> from firstlight.recipes import spectral_decoupling
    >>> float(spectral_decoupling(torch.tensor([[3.0, 4.0], [0.0, 0.0]])))
    6.25
    """
    return 0.5 * rows_of(logits).square().sum(1).mean()


def sensitivity(h: Tensor, other: Tensor) -> Tensor:
    r"""Mean |h(x) − h(x')| over units and samples: how much units change with the input.

    A linear layer W has mean |W δ| for x' = x + δ. A sensitivity of units as in Zhang et al. (2019), who compare a
    benign and an adversarial input; of their text the abstract alone was seen here.

    Examples
    --------
    >>> import torch
    >>> from firstlight.recipes import sensitivity
    >>> float(sensitivity(torch.zeros(2, 2), torch.tensor([[1.0, -1.0], [0.0, 2.0]])))
    1.0
    """
    return (h - other).abs().mean()


def nuclear_surrogate(
    outer: Callable[[Tensor], Tensor],
    inner: Callable[[Tensor], Tensor],
    x: Float[Tensor, samples * shape],
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""½(‖J_g‖² + ‖J_h‖²) of f = g ∘ h, mean over samples: a bound of the nuclear norm of the Jacobian of f.

    .. math:: \|J_f\|_* \le \tfrac12\big(\|J_g(h(x))\|_F^2 + \|J_h(x)\|_F^2\big)

    Each squared Frobenius norm is E ‖J v‖² over normal v, of which one is drawn per sample.

    Parameters
    ----------
    outer, inner
        g and h, each of a whole batch whose samples do not see each other.
    x
        The batch.
    generator
        Where v comes from; torch's global one by default.

    Raises
    ------
    DomainError
        The inner part gives something else than floats.

    Examples
    --------
    >>> import torch
    >>> from firstlight.recipes import nuclear_surrogate
    >>> x, g = torch.zeros(20000, 2), torch.Generator().manual_seed(0)
    >>> value = nuclear_surrogate(lambda h: 2 * h, lambda x: 3 * x, x, generator=g)  # ½(8 + 18)
    >>> bool((value - 13).abs() < 0.5)
    True
    """

    def square(f: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
        v = torch.randn(at.shape, generator=generator, dtype=at.dtype, device="cpu").to(at.device)
        value: Tensor
        value, moved = torch.func.jvp(f, (at,), (v,))  # type: ignore[misc]  # a third comes with has_aux only
        return value, moved.flatten(1).square().sum(1).mean()

    middle, first = square(inner, x)
    if not middle.is_floating_point():
        raise DomainError(
            f"while taking the nuclear surrogate: expected floats between both parts, got {middle.dtype}"
        )
    _, second = square(outer, middle)
    return 0.5 * (first + second)
