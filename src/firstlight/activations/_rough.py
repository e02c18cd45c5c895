"""Pair moments of functions with many kinks."""

from __future__ import annotations

import torch
from torch import Tensor

from firstlight import gauss
from firstlight.activations._symmetry import Function
from firstlight.errors import DomainError

# Functions with more kinks than this have their pair moments by Hermite series of these orders. A remainder below the
# first share of √(E f² E f²) is nothing, one above the second is refused.
_MANY_KINKS, _ORDERS = 24, (128, 512, 2048)
_ENDED, _ACCEPTED = 1e-13, 1e-5


def by_series(f: Function, kinks: tuple[float, ...], a: Tensor, b: Tensor, c: Tensor) -> Tensor | None:
    """A pair moment of a function with many kinks by its Hermite series; None for one with few.

    What the series leaves is bounded by its remainder at c = 1 times |c|^(order + 1); quadrature over both Gaussians
    would take a time that grows with the square of the kinks.

    Raises
    ------
    DomainError
        If the series does not end soon enough for correlations so near 1.
    """
    reach = 9 * float(torch.maximum(a, b).max().sqrt()) if a.numel() else 0.0
    inside = tuple(k for k in kinks if abs(k) <= reach)
    if len(inside) <= _MANY_KINKS:
        return None
    sides = [torch.unique(v.reshape(-1), return_inverse=True) for v in (a, b)]
    squares = [gauss.integrate(lambda x: f(x) ** 2, 0.0, v.sqrt(), kinks=inside).value for v, _ in sides]
    flat = c.reshape(-1)
    size = torch.sqrt(squares[0][sides[0][1]] * squares[1][sides[1][1]]).clamp_min(1e-300)
    for order in _ORDERS:
        tables = [gauss.hermite_coefficients(f, v, order, kinks=inside) for v, _ in sides]
        rests = [(s - (t * t).sum(1)).clamp_min(0)[i] for s, t, (_, i) in zip(squares, tables, sides)]
        left = (rests[0] * rests[1]).sqrt() * flat.abs() ** (order + 1) / size
        if float(left.max()) <= _ENDED:
            break
    if float(left.max()) > _ACCEPTED:
        raise DomainError(
            f"expected a series that ends, got a remainder of {float(left.max()):.2g} at correlation "
            f"{float(flat[int(left.argmax())]):.6g} with {len(inside)} kinks; the activation is too rough for "
            "inputs that are so alike; smooth the activation or ask for smaller correlations"
        )
    powers = flat[:, None] ** torch.arange(order + 1, dtype=torch.float64)
    return (tables[0][sides[0][1]] * tables[1][sides[1][1]] * powers).sum(1).reshape(c.shape)
