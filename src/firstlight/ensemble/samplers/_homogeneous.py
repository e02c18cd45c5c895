"""One input, no bias, a homogeneous activation: the squared norm follows a χ² law in constant time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def slopes(phi: Callable[[Tensor], Tensor]) -> tuple[float, float] | None:
    """The slopes (a₊, a₋) of φ(x) = a₊ max(x, 0) − a₋ max(−x, 0), or None if φ is not of this form.

    The activation has to declare degree 1; its values at six points must then agree with the form.
    """
    if getattr(phi, "degree", None) != 1:
        return None
    points = torch.tensor([1e-6, 0.37, 1.0, 2.9, 1e3], dtype=torch.float64)
    up, down = phi(points) / points, phi(-points) / -points
    flat = torch.allclose(up, up[2].expand(5), rtol=1e-12) and torch.allclose(
        down, down[2].expand(5), rtol=1e-12
    )
    return (float(up[2]), float(down[2])) if flat else None


def squared_ratio(
    nets: int, width: int, side: tuple[float, float], generator: torch.Generator
) -> Float[Tensor, " nets"]:
    r"""Draws of :math:`\tfrac1n \sum_u φ(G_u)^2 = (a_+^2 χ^2_K + a_-^2 χ^2_{n-K})/n` with K ~ Bin(n, ½).

    Examples
    --------
    >>> import torch
    >>> from firstlight.ensemble.samplers._homogeneous import squared_ratio
    >>> relu = squared_ratio(100_000, 64, (1.0, 0.0), torch.Generator().manual_seed(0))
    >>> abs(float(relu.mean()) - 0.5) < 0.002
    True
    """
    up, down = side
    count = torch.full((nets,), float(width), dtype=torch.float64, device=generator.device)
    if abs(up) == abs(down):
        return _chi_square(count, generator) * (up**2 / width)
    positive = torch.binomial(count, torch.full_like(count, 0.5), generator=generator)
    total = _chi_square(positive, generator) * up**2
    if down != 0:
        total = total + _chi_square(count - positive, generator) * down**2
    return total / width


def _chi_square(freedom: Tensor, generator: torch.Generator) -> Tensor:
    gamma = torch._standard_gamma(freedom.clamp_min(1) / 2, generator=generator)
    return torch.where(freedom > 0, 2 * gamma, 0.0)
