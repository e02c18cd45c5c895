"""Activations by series: Hermite, Fourier and Mittag-Leffler."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from firstlight.activations.activation import Activation
from firstlight.activations.families import _formulas as formulas
from firstlight.activations.families._library import named
from firstlight.errors import DomainError

_ZETA3 = 1.2020569031595942


def edge_coefficients(degree: int, *, renormalise: float = True) -> list[float]:
    r"""c₀ = √(6(π²/6 − ζ(3)))/π and c_k = (√6/π) k^{−3/2}: Σ c_k² and Σ k c_k² (k ≥ 1) tend to 1."""
    c = [math.sqrt(6 * (math.pi**2 / 6 - _ZETA3)) / math.pi]
    c += [math.sqrt(6) / math.pi * k**-1.5 for k in range(1, degree + 1)]
    if renormalise == 2:
        slope = sum(k * v * v for k, v in enumerate(c))
        rest = [v / math.sqrt(slope) for v in c[1:]]
        # k c_k² sums to one and the rest to less, so that the constant has a real root
        return [math.sqrt(max(1.0 - sum(v * v for v in rest), 0.0)), *rest]
    norm = math.sqrt(sum(v * v for v in c)) if renormalise else 1.0
    return [v / norm for v in c]


def of_dual(*taylor: float) -> Activation:
    r"""The activation whose dual E φ(u)φ(v) at q = 1 has given Taylor coefficients in the correlation.

    .. math:: φ = \sum_k \sqrt{a_k}\, \mathrm{He}_k/\sqrt{k!}, \qquad E φ(u)φ(v) = \sum_k a_k c^k

    Parameters
    ----------
    taylor
        a₀, a₁, …, none below 0.

    Raises
    ------
    DomainError
        No coefficient, or one below 0: a dual has none.

    Examples
    --------
    >>> from firstlight import activations
    >>> phi = activations.of_dual(0.0, 0.5, 0.0, 0.5)
    >>> round(float(activations.dual(phi, 1.0, 1.0, 0.5)), 9)  # ½·½ + ½·⅛
    0.3125
    """
    if not taylor or min(taylor) < 0:
        raise DomainError(
            f"while making an activation of its dual: expected Taylor coefficients ≥ 0, got {taylor}; "
            "a dual has no others"
        )
    c = [math.sqrt(a) for a in taylor]
    slopes = [math.sqrt(k) * c[k] for k in range(1, len(c))] or [0.0]
    return Activation(
        f"of_dual{tuple(round(a, 6) for a in taylor)}",
        lambda x: formulas.hermite(x, c),
        lambda x: formulas.hermite(x, slopes),
    )


def _whole(family: str, degree: float) -> int:
    if degree != int(degree) or degree < 0:
        raise DomainError(f"while making {family}: expected a whole degree ≥ 0, got {degree:g}")
    return int(degree)


def hermite_series(degree: float = 3, renormalise: float = 1) -> Activation:
    """Hermite series that tends to the edge of chaos at q = 1: both E φ² and E φ'² tend to 1.

    Σ c_k He_k/√k! up to ``degree`` with c₀ = √(6(π²/6 − ζ(3)))/π and c_k = (√6/π) k^{−3/2}. Cutting it short
    loses a part of both moments; ``renormalise=1`` divides by √(E φ²). ``renormalise=2`` makes both moments 1 at any
    degree: all coefficients except the constant are divided by √(E φ'²), and the constant makes E φ² equal to 1.

    Raises
    ------
    DomainError
        A degree that is no whole number ≥ 0, or both moments asked of a constant.
    """
    n = _whole("hermite_series", degree)
    if renormalise == 2 and n < 1:
        raise DomainError(
            f"while making hermite_series: expected a degree of at least 1 to give both moments, got {n}; "
            "a constant has no slope"
        )
    name, parameters = named("hermite_series", degree=n, renormalise=renormalise)
    c = edge_coefficients(n, renormalise=renormalise)
    slopes = [math.sqrt(k) * c[k] for k in range(1, n + 1)] or [0.0]
    return Activation(
        name,
        lambda x: formulas.hermite(x, c),
        lambda x: formulas.hermite(x, slopes),
        parameters=parameters,
    )


def fourier_series(degree: float = 3, renormalise: float = 1) -> Activation:
    r"""c₀ + √2 Σ c_k cos(kz − π/4) with the coefficients of ``hermite_series``.

    Under a uniform phase, which pre-activations much wider than 2π have, E φ² = Σ c_k² and E φ'² = Σ k² c_k²;
    ``renormalise=1`` divides by √Σ c_k².

    Raises
    ------
    DomainError
        A degree that is no whole number ≥ 0.
    """
    n = _whole("fourier_series", degree)
    name, parameters = named("fourier_series", degree=n, renormalise=renormalise)
    c = edge_coefficients(n, renormalise=bool(renormalise))

    def slope(x: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for k in range(1, n + 1):
            total = total - math.sqrt(2) * k * c[k] * torch.sin(k * x - math.pi / 4)
        return total

    return Activation(name, lambda x: formulas.fourier(x, c), slope, parameters=parameters)


def mittag_tanh(alpha: float = 2.0) -> Activation:
    """z·E_{α,2}(z²)/E_{α,1}(z²) with Mittag-Leffler's function E: tanh at α = 2.

    E_{2,1}(z²) = cosh z and E_{2,2}(z²) = sinh(z)/z. The family between is ours: the published one was not read.

    Raises
    ------
    DomainError
        A parameter outside its range.
    """
    if not 1 <= alpha <= 4:
        raise DomainError(f"while making mittag_tanh: expected alpha in [1, 4], got {alpha}; 2 is tanh")
    name, parameters = named("mittag_tanh", alpha=alpha)
    return Activation(name, lambda x: formulas.mittag_tanh(x, alpha), parity="odd", parameters=parameters)


def mittag_sigmoid(alpha: float = 0.0) -> Activation:
    """E_{α,1}(−e^{−z}) with Mittag-Leffler's function E: the logistic sigmoid at α = 0, Gumbel's at α = 1.

    Between them α is in (0, 0.95]. The family is ours: the published one was not read.

    Raises
    ------
    DomainError
        A parameter outside its range.
    """
    if not (alpha == 1 or 0 <= alpha <= 0.95):
        raise DomainError(
            f"while making mittag_sigmoid: expected alpha to be 1 or in [0, 0.95], got {alpha}; 0 is the sigmoid"
        )
    name, parameters = named("mittag_sigmoid", alpha=alpha)
    if alpha == 0:
        return Activation(
            name, torch.sigmoid, lambda x: torch.sigmoid(x) * torch.sigmoid(-x), parameters=parameters
        )
    if alpha == 1:
        return Activation(
            name,
            lambda x: torch.exp(-torch.exp(-x)),
            lambda x: torch.exp(-x - torch.exp(-x)),
            parameters=parameters,
        )

    def slope(x: Tensor) -> Tensor:
        if alpha < formulas.MIXED:
            return formulas.near_sigmoid(x.double(), x.new_tensor(alpha, dtype=torch.float64))[1].to(x.dtype)
        u, weight = (t.to(x) for t in formulas.mixture(alpha))
        power = u - x[..., None] / alpha
        return (weight * torch.exp(power - torch.exp(power))).sum(-1) / alpha

    return Activation(name, lambda x: formulas.mittag_sigmoid(x, alpha), slope, parameters=parameters)


SERIES: dict[str, Callable[..., Activation]] = {
    "hermite_series": hermite_series,
    "fourier_series": fourier_series,
    "mittag_tanh": mittag_tanh,
    "mittag_sigmoid": mittag_sigmoid,
}
