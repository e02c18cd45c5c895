"""All fixed points of the variance map, with stability and basins, and of the correlation map."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.theory.maps._fixed import basins, scan
from firstlight.theory.maps.dual_map import DualMap
from firstlight.theory.maps.layer import LayerMap

Stability = Literal["stable", "unstable", "marginal"]
Convergence = Literal["exponential", "power law", "none"]

_RANGE = (1e-12, 1e12)
_PER_DECADE = 40
# A slope this close to 1 is not told from 1 by quadrature of relative accuracy 1e-13.
_MARGIN = 1e-9
# Stands for the limit q → 0.
_NEAR_ZERO = 1e-200
# The angle between two inputs below which rounding of their correlation hides what a layer does to it.
_NEAREST = 1e-6


@dataclass(frozen=True)
class FixedPoint:
    """A fixed point of the variance map.

    Attributes
    ----------
    q
        V(q) = q.
    slope
        V'(q).
    chi
        χ₁ at q: gradients of stationary signals grow by it (squared) per layer.
    stability
        ``"stable"`` if |V'| < 1, ``"marginal"`` if |V'| = 1 to 1e-9 or log V(q)/q only touches zero.
    basin
        Interval of starting variances around q that iterate to it; empty, (q, q), if unstable. A point that holds
        from one side only (marginal, where log V(q)/q touches zero) is an end of its basin.
    depth_scale
        ξ_q = −1/log|V'| layers: infinite at a marginal point, NaN at an unstable one.
    """

    q: float
    slope: float
    chi: float
    stability: Stability
    basin: tuple[float, float]
    depth_scale: float


@dataclass(frozen=True)
class CorrelationPoint:
    """A fixed point of the correlation map at a given variance.

    Attributes
    ----------
    c
        C(c) = c.
    slope
        C'(c).
    stability, depth_scale
        As for the variance; ξ_c = −1/log C'(c).
    convergence
        ``"exponential"``, ``"power law"`` at a marginal point, ``"none"`` if unstable.
    power
        1 − c ~ l^{−power} on the edge of chaos: 1 for a φ of continuous slope, 2 with a bend; else NaN.
    """

    c: float
    slope: float
    stability: Stability
    depth_scale: float
    convergence: Convergence
    power: float


def _stability(slope: float) -> Stability:
    if abs(abs(slope) - 1) <= _MARGIN:
        return "marginal"
    return "stable" if abs(slope) < 1 else "unstable"


def _scale(slope: float) -> float:
    if abs(abs(slope) - 1) <= _MARGIN:
        return math.inf
    if abs(slope) > 1:
        return math.nan
    return 0.0 if slope == 0 else -1 / math.log(abs(slope))


@checked
@clean
def variance_fixed_points(
    layer: LayerMap, *, within: tuple[float, float] = _RANGE, per_decade: int = _PER_DECADE
) -> tuple[FixedPoint, ...]:
    """All fixed points of V in an interval, and q = 0 if it is one.

    log V(q)/q is scanned on a logarithmic grid. The points where log V(q)/q turns near zero are added to the grid, so
    two fixed points between two grid points are told apart. Every change of sign is refined until V(q) = q holds to
    1e-8 at least (1e-13 where V is exact). A turn that touches zero to 1e-12 counts as one marginal fixed point. Two
    fixed points that are closer than about 1e-6 of their variance also count as one. Basins come from iterating the
    map.

    Parameters
    ----------
    layer
        The map.
    within
        Interval of variances that is searched.
    per_decade
        Grid points per factor of ten.

    Returns
    -------
    tuple of FixedPoint
        In increasing order; empty when there is none. A map with V(q) = q for all q (ReLU at σ_w² = 2) gives
        only q = 0, marginal: ``is_scale_invariant`` tells.

    Raises
    ------
    DomainError
        An interval that is not 0 < low < high, or a second moment that is too rough for V(q) = q to 1e-8.

    Examples
    --------
    >>> from firstlight.theory import LayerMap, variance_fixed_points
    >>> [(round(p.q, 5), p.stability) for p in variance_fixed_points(LayerMap.of("tanh", sigma_w=1.5))]
    [(0.0, 'unstable'), (0.79335, 'stable')]
    """
    low, high = within
    if not 0 < low < high or per_decade < 2:
        raise DomainError(f"while looking for fixed points: expected 0 < low < high, got {within}")
    zero = layer.norm is None and float(layer.variance(0.0)) == 0.0
    if is_scale_invariant(layer):
        return _of_a_line(layer) if zero else ()
    nodes = scan(layer, low, high, per_decade)
    points = [math.exp(nodes.t[i]) for i in nodes.zeros]
    # at 0 itself φ'(0) would stand for both sides of a kink
    found = layer.moments(torch.tensor([*points, *([_NEAR_ZERO] if zero else [])], dtype=torch.float64))
    slopes, chis = found[1].tolist(), found[2].tolist()
    kinds = ["marginal" if i in nodes.touched else _stability(slope) for i, slope in zip(nodes.zeros, slopes)]
    around, own = basins(nodes, [kind != "unstable" for kind in kinds], zero=zero)
    result = [
        FixedPoint(q, slope, chi, kind, basin, math.inf if kind == "marginal" else _scale(slope))
        for q, slope, chi, kind, basin in zip(points, slopes, chis, kinds, around)
    ]
    if zero:
        result.insert(
            0, FixedPoint(0.0, slopes[-1], chis[-1], _stability(slopes[-1]), own, _scale(slopes[-1]))
        )
    return tuple(result)


def _of_a_line(layer: LayerMap) -> tuple[FixedPoint, ...]:
    """The point 0 of a map with V(q) = slope·q: every variance tends to it, or none does."""
    _, slope, chi = (float(v) for v in layer.moments(0.0))
    kind = _stability(slope)
    return (FixedPoint(0.0, slope, chi, kind, (0.0, math.inf if kind == "stable" else 0.0), _scale(slope)),)


@checked
@clean
def is_scale_invariant(layer: LayerMap) -> bool:
    """Whether V(q) is proportional to q: then each variance is kept (slope 1), or none but zero."""
    plain = layer.sigma_b2 == 0 or layer.branch == 0
    return layer.norm is None and plain and (layer.phi.degree == 1 or layer.branch * layer.sigma_w2 == 0)


@checked
@clean
def correlation_fixed_points(layer: LayerMap, q: float) -> tuple[CorrelationPoint, ...]:
    """All fixed points of the correlation map at a stationary variance q, from −1 to 1.

    c = 1 is always one, unless dropout decorrelates equal inputs or batch norm removes what they share. Where φ
    jumps, C' at c = 1 is infinite: inputs tend to a correlation below 1 (from 1 − c = 1e-12 on), and ξ_c is of that.

    Raises
    ------
    DomainError
        q is not positive, or not a fixed point of the variance map.

    Examples
    --------
    >>> from firstlight.theory import LayerMap, correlation_fixed_points
    >>> layer = LayerMap.of("tanh", sigma_w=1.5)
    >>> [(round(p.c, 6), p.stability) for p in correlation_fixed_points(layer, 0.793354)]
    [(-1.0, 'unstable'), (0.0, 'stable'), (1.0, 'unstable')]
    """
    at = float(q)
    v = float(layer.variance(at)) if at > 0 else math.nan
    if not abs(v / at - 1 if at > 0 else math.inf) < 1e-4:
        raise DomainError(
            f"while looking for correlation fixed points: expected a stationary variance, got V({q}) = {v}; "
            "use a q of variance_fixed_points"
        )
    dual = DualMap.of(layer.phi, 1.0 if layer.norm else at)
    seen = (lambda c: 0 * c) if layer.norm == "batch" else (lambda c: c)

    def step(c: np.ndarray) -> np.ndarray:
        inner = layer.sigma_w2 * dual(seen(c)) + layer.sigma_b2
        return (layer.skip**2 * at * c + layer.branch**2 * inner) / v

    # a jump keeps inputs from meeting, however rarely it is met: then they tend to a correlation next to 1
    nearest, steps = (_NEAREST, 100) if layer.phi.jumps else (1e-3, 12)
    close = np.geomspace(nearest, math.pi / 800, steps)[:-1]
    theta = np.concatenate([close, np.linspace(0.0, math.pi, 801)[1:]])
    points = _correlation_roots(step, theta[(np.abs(np.cos(theta)) <= dual.closest) | (theta == math.pi)])
    _not_beyond(layer, at, step, dual.closest)
    shared = layer.norm != "batch" and layer.dropout * layer.branch * layer.sigma_w2 == 0
    if shared or abs(float(step(np.array([1.0]))[0]) - 1) < 1e-9:
        points.append(1.0)
    slopes = [float(layer.correlation_slope(at, c)) for c in points]
    return tuple(_correlation_point(layer, c, s) for c, s in zip(points, slopes))


def _correlation_roots(step: Callable[[np.ndarray], np.ndarray], theta: np.ndarray) -> list[float]:
    """Roots below 1 of (C(c) − c)/(1 − c), from which c = 1 has been divided out."""

    def ratio(t: np.ndarray) -> np.ndarray:
        c = np.cos(t)
        return (step(c) - c) / (2 * np.sin(t / 2) ** 2)

    values = ratio(theta)
    values = np.where(np.abs(values) < 1e-12, 0.0, values)
    still = np.count_nonzero(values == 0)
    roots = [float(np.cos(t)) for t in theta[:-1][values[:-1] == 0]] if still < 9 else []
    for i in np.nonzero(values[:-1] * values[1:] < 0)[0]:
        a, b = theta[i], theta[i + 1]
        fa = values[i]
        for _ in range(60):
            m = (a + b) / 2
            fm = float(ratio(np.array([m]))[0])
            a, b = (m, b) if (fm > 0) == (fa > 0) else (a, m)
        roots.append(float(np.cos((a + b) / 2)))
    if abs(values[-1]) == 0:
        roots.append(-1.0)
    rounded = sorted({round(r, 14) + 0.0 for r in roots})
    return [r for i, r in enumerate(rounded) if i == 0 or r - rounded[i - 1] > 1e-9]


def _not_beyond(layer: LayerMap, q: float, step: Callable[[np.ndarray], np.ndarray], closest: float) -> None:
    """Refuse where C(c) − c has another sign next to 1 than where the map ends."""
    if closest == 1:
        return
    ends_above = not layer.phi.jumps and float(layer.chi(q)) < 1
    if (float(step(np.array([closest]))[0]) > closest) != ends_above:
        raise DomainError(
            f"while looking for correlation fixed points of {layer.phi.name!r}: expected them below {closest:.6g}, got "
            "one between there and 1; the activation has too many kinks for inputs that are so alike"
        )


def _correlation_point(layer: LayerMap, c: float, slope: float) -> CorrelationPoint:
    if c == 1.0 and layer.phi.jumps and layer.branch * layer.sigma_w2 > 0:
        slope = math.inf  # a jump parts equal inputs at an infinite rate
    kind = _stability(slope)
    convergence: Convergence = "exponential"
    power = math.nan
    if kind == "unstable":
        convergence = "none"
    elif kind == "marginal":
        convergence = "power law"
        power = (2.0 if layer.phi.bends else 1.0) if c == 1.0 else math.nan
    return CorrelationPoint(c, slope, kind, _scale(slope), convergence, power)
