"""Shapes of activations, φ̂(x) = γ (φ(α x + β) + δ), with the moments that DKS and TAT ask for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from firstlight import activations, gauss
from firstlight.activations import Activation
from firstlight.errors import DomainError

# α in units of the activation's own length, and β in units of α
_STARTS = tuple((a, b) for a in (1.0, 0.5, 0.25, 0.1, 2.0) for b in (0.5, -0.5, 1.0, -1.0, 0.1, 2.0, -2.0))
_NODES = 300  # of a Gauss–Hermite rule, for activations without kinks
_REACH = 20.0  # lengths of the activation beyond which no shape is looked for


@dataclass(frozen=True)
class Shape:
    """φ̂(x) = γ (φ(α x + β) + δ)."""

    alpha: float
    beta: float
    gamma: float
    delta: float


@dataclass(frozen=True)
class _Moments:
    """Moments of φ(u), u = β + α G."""

    mean: float
    var: float
    slope: float
    product: float
    drift: float


_Scales = Callable[[float, float], tuple[_Moments, float, float]]


@lru_cache(maxsize=1)
def _rule() -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    return torch.from_numpy(nodes), torch.from_numpy(weights / math.sqrt(2 * math.pi))


def _mean(phi: Activation, f: Callable[[Tensor], Tensor], alpha: float, beta: float) -> float:
    """E f(β + α G); f has the kinks of φ."""
    if phi.kinks:
        return float(gauss.expect(f, beta, abs(alpha), kinks=phi.kinks))
    nodes, weights = _rule()
    return float((weights * f(beta + abs(alpha) * nodes)).sum())


def _moments(phi: Activation, alpha: float, beta: float) -> _Moments:
    first = _mean(phi, phi, alpha, beta)
    return _Moments(
        first,
        _mean(phi, lambda u: (phi(u) - first) ** 2, alpha, beta),
        _mean(phi, lambda u: phi.derivative(u) ** 2, alpha, beta),
        _mean(phi, lambda u: phi(u) * phi.derivative(u) * (u - beta) / alpha, alpha, beta),
        _mean(phi, lambda u: phi.derivative(u) * (u - beta) / alpha, alpha, beta),
    )


def dks_shape(phi: Activation, slope: float) -> Shape:
    r"""α, β, γ, δ with Q(1) = 1, Q'(1) = 1, C(0) = 0 and C'(1) = the slope.

    Raises
    ------
    DomainError
        A function of degree one, as ReLU, or no such shape was found: the slope is out of the activation's reach.

    Notes
    -----
    Along the shapes of sin(ωx), whatever ω is, the slope is 1 + a² with a = ωα, and β goes from 0 to π/2ω, where
    Q'(1) = 2a²/(e^{a²} − 1) = 1 ends them at a² = 1.2564: a sine has no shape of a slope above 2.2564.

    Examples
    --------
    >>> from firstlight import activations
    >>> from firstlight.recipes import dks_shape
    >>> shape = dks_shape(activations.get("softplus"), 1.1)
    >>> shape.gamma > 0
    True
    """
    if phi.degree == 1 and phi.kinks:
        raise DomainError(
            f"while shaping {phi.name!r} by DKS: expected an activation whose form depends on α and β, got one of "
            "degree one, for which β/α alone counts, and one number cannot meet two conditions; use tat with leaky "
            "ReLUs, or looks-linear"
        )

    def miss(alpha: float, beta: float) -> tuple[float, float]:
        m = _moments(phi, alpha, beta)
        gamma2 = 1.0 / max(m.var, 1e-300)
        return gamma2 * alpha**2 * m.slope - slope, gamma2 * alpha * (m.product - m.mean * m.drift) - 1.0

    def shape(alpha: float, beta: float) -> Shape:
        m = _moments(phi, alpha, beta)
        return Shape(alpha, beta, m.var**-0.5, -m.mean)

    return _nearest((shape(*at) for at in _solutions(miss, phi)), phi, f"slope {slope:.4g}")


def tat_shape(phi: Activation, curvature: float) -> Shape:
    r"""α, β, γ, δ with Q(1) = 1, Q'(1) = 1, C'(1) = 1 and C''(1) = E φ̂''² = the curvature, for a smooth φ.

    Raises
    ------
    DomainError
        A kink, or no such shape.
    """
    if not _smooth(phi):
        raise DomainError(
            f"while shaping {phi.name!r} by TAT: expected a smooth activation, got kinks at {phi.kinks}; use dks"
        )

    unit, found = _length(phi), []
    for side in (1.0, -1.0):  # of the two δ with E φ̂² = 1

        def scales(alpha: float, beta: float, side: float = side) -> tuple[_Moments, float, float]:
            m = _moments(phi, alpha, beta)
            gamma2 = 1.0 / max(alpha**2 * m.slope, 1e-300)
            return m, gamma2, -m.mean + side * max(1.0 / gamma2 - m.var, 0.0) ** 0.5

        def miss(alpha: float, beta: float, scales: _Scales = scales) -> tuple[float, float]:
            m, gamma2, delta = scales(alpha, beta)
            bend = _mean(phi, lambda u: _second_derivative(phi, u, unit) ** 2, alpha, beta)
            drift = gamma2 * alpha * (m.product + delta * m.drift)
            return gamma2 * alpha**4 * bend / curvature - 1.0, drift - 1.0

        for alpha, beta in _solutions(miss, phi):
            _, gamma2, delta = scales(alpha, beta)
            found.append(Shape(alpha, beta, gamma2**0.5, delta))
    return _nearest(found, phi, f"curvature {curvature:.4g}")


def _nearest(shapes: Iterable[Shape], phi: Activation, what: str) -> Shape:
    """The shape of the least |β|: others stand where φ is flat or straight, and a small change of q moves them far."""
    found = list(shapes)
    if not found:
        raise DomainError(
            f"while shaping {phi.name!r}: expected an α and a β that give {what}, found none; ask for a slope nearer "
            "to 1"
        )
    return min(found, key=lambda shape: (round(abs(shape.beta), 6), shape.beta < 0))


def _smooth(phi: Activation) -> bool:
    """Whether the slope has no step at any kink; torch's softplus is cut at 20, where its slope moves by e^−20."""
    at = torch.tensor(phi.kinks, dtype=torch.float64)
    step = 1e-6 * at.abs().clamp_min(1.0)
    moved = phi.derivative(at + step) - phi.derivative(at - step)
    return not phi.jumps and bool((moved.abs() < 1e-5).all())


def _second_derivative(phi: Activation, u: Tensor, unit: float) -> Tensor:
    step = 1e-3 * unit
    return (phi.derivative(u + step) - phi.derivative(u - step)) / (2 * step)


def _length(phi: Activation) -> float:
    """The length on which φ bends: its deviation over its slope."""
    m = activations.moments(phi, 1.0)
    return math.sqrt(max(float(m.second - m.mean**2), 1e-12) / max(float(m.slope), 1e-12))


def _solutions(
    miss: Callable[[float, float], tuple[float, float]], phi: Activation
) -> list[tuple[float, float]]:
    """α and β where both conditions hold: the first that a start with β > 0 leads to, and the first with β < 0."""
    from scipy.optimize import root

    unit = _length(phi)

    def scaled(x: np.ndarray) -> tuple[float, float]:
        alpha, beta = float(x[0]), float(x[1])
        if not 1e-3 < alpha < _REACH or abs(beta) > _REACH:
            return 10.0 + abs(alpha), 10.0 + abs(beta)  # too far: no shape is there
        return miss(alpha * unit, beta * unit)

    found: dict[bool, tuple[float, float]] = {}
    for start in _STARTS:
        if (start[1] > 0) in found:
            continue
        try:
            end = root(scaled, start, tol=1e-12, options={"maxfev": 60})
        except (DomainError, ArithmeticError):
            continue
        if max(map(abs, end.fun)) < 1e-7:
            found[start[1] > 0] = float(end.x[0]) * unit, float(end.x[1]) * unit
    return list(found.values())
