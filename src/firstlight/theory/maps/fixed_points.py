"""All fixed points of the variance map, with stability and basins, and of the correlation map."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from firstlight.errors import DomainError
from firstlight.theory.maps.dual_map import DualMap
from firstlight.theory.maps.layer import LayerMap

Stability = Literal["stable", "unstable", "marginal"]
Convergence = Literal["exponential", "power law", "none"]

_RANGE = (1e-12, 1e12)
_PER_DECADE = 40
# Where |log V(q)/q| is below this at one end of a step it may reach zero inside; such steps are cut in so many.
_CLOSE, _FINER = 0.05, 4
_HALVINGS = 30
# A slope this close to 1 is not told from 1 by quadrature of relative accuracy 1e-13.
_MARGIN = 1e-9


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
        ``"stable"`` if |V'| < 1, ``"marginal"`` if |V'| = 1 to 1e-9.
    basin
        Interval of starting variances around q that iterate to it; empty, (q, q), if unstable.
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
        1 − c ~ l^{−power} on the edge of chaos: 1 for a smooth φ, 2 with a kink; else NaN.
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


def variance_fixed_points(
    layer: LayerMap, *, within: tuple[float, float] = _RANGE, per_decade: int = _PER_DECADE
) -> tuple[FixedPoint, ...]:
    """All fixed points of V in an interval, and q = 0 if it is one.

    log V(q)/q is scanned on a logarithmic grid to which the points where it turns near zero are added, so that two
    fixed points of any distance part; every change of sign is refined to full precision. Basins come from
    iterating the map.

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

    Examples
    --------
    >>> from firstlight.theory import LayerMap, variance_fixed_points
    >>> [(round(p.q, 5), p.stability) for p in variance_fixed_points(LayerMap.of("tanh", sigma_w=1.5))]
    [(0.0, 'unstable'), (0.79335, 'stable')]
    """
    low, high = within
    if not 0 < low < high or per_decade < 2:
        raise DomainError(f"while looking for fixed points: expected 0 < low < high, got {within}")
    grid = np.geomspace(low, high, max(3, round(per_decade * math.log10(high / low)) + 1))
    values = _finite_variance(layer, grid)
    points: list[float] = []
    if float(layer.variance(0.0)) == 0.0 if layer.norm is None else False:
        points.append(0.0)
    if not is_scale_invariant(layer):
        fine = _with_turns(layer, grid, values)
        excess = np.log(np.maximum(_finite_variance(layer, fine), 1e-320) / fine)
        sign = np.sign(np.where(np.abs(excess) < 1e-14, 0.0, excess))
        cross = np.nonzero(sign[:-1] * sign[1:] < 0)[0]
        points += _refine(layer, fine[cross], fine[cross + 1])
        points += [float(fine[i]) for i in np.nonzero(sign == 0)[0] if _isolated(sign, int(i))]
    points = sorted(set(points))
    if not points:
        return ()
    _, slopes, chis = (v.tolist() for v in layer.moments(torch.tensor(points, dtype=torch.float64)))
    basins = _basins(points, slopes, grid, values)
    return tuple(
        FixedPoint(q, slope, chi, _stability(slope), basin, _scale(slope))
        for q, slope, chi, basin in zip(points, slopes, chis, basins)
    )


def _with_turns(layer: LayerMap, grid: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The grid, finer where log V(q)/q is small, and with the points where it turns: it may cross zero twice there.

    Between two neighbours of this grid it is monotone, for V is analytic in log q in a strip of width π/2.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.abs(np.log(np.maximum(values, 1e-320) / grid))
    close = np.nonzero(np.minimum(excess[:-1], excess[1:]) < _CLOSE)[0]
    inside = np.arange(1, _FINER) / _FINER
    logs = np.log(grid)
    extra = logs[close, None] + (logs[close + 1] - logs[close])[:, None] * inside
    t = np.unique(np.concatenate([logs, extra.reshape(-1)]))
    near = np.zeros(len(t), bool)
    for i in close:
        near |= (t >= logs[i]) & (t <= logs[i + 1])

    def turn(t: np.ndarray) -> np.ndarray:
        q = np.exp(t)
        v, slope = _finite(layer, q)
        with np.errstate(divide="ignore", invalid="ignore"):
            return slope * q / v - 1

    slopes = np.full(len(t), math.nan)
    slopes[near] = turn(t[near]) if near.any() else 0.0
    with np.errstate(invalid="ignore"):
        at = np.nonzero((slopes[:-1] * slopes[1:] < 0) & near[:-1] & near[1:])[0]
    a, b, fa = t[at], t[at + 1], slopes[at]
    for _ in range(_HALVINGS if len(at) else 0):
        m = (a + b) / 2
        fm = turn(m)
        same = fm * fa > 0
        a, b = np.where(same, m, a), np.where(same, b, m)
    return np.unique(np.concatenate([grid, np.exp(np.concatenate([extra.reshape(-1), (a + b) / 2]))]))


def _isolated(sign: np.ndarray, i: int) -> bool:
    return bool(0 < i < len(sign) - 1 and sign[i - 1] != 0 and sign[i + 1] != 0)


def is_scale_invariant(layer: LayerMap) -> bool:
    """Whether V(q) is proportional to q: then each variance is kept (slope 1), or none but zero."""
    plain = layer.sigma_b2 == 0 or layer.branch == 0
    return layer.norm is None and plain and (layer.phi.degree == 1 or layer.branch * layer.sigma_w2 == 0)


def _finite_variance(layer: LayerMap, q: np.ndarray) -> np.ndarray:
    """V on a grid, infinite where a moment diverges or overflows."""
    try:
        return layer.variance(torch.from_numpy(q)).numpy()
    except DomainError:
        if len(q) == 1:
            return np.array([math.inf])
        half = len(q) // 2
        return np.concatenate([_finite_variance(layer, q[:half]), _finite_variance(layer, q[half:])])


def _finite(layer: LayerMap, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """V and V' on a grid; infinite and NaN where a moment diverges or overflows."""
    try:
        v, slope, _ = layer.moments(torch.from_numpy(q))
        return v.numpy(), slope.numpy()
    except DomainError:
        if len(q) == 1:
            return np.array([math.inf]), np.array([math.nan])
        half = len(q) // 2
        parts = _finite(layer, q[:half]), _finite(layer, q[half:])
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _refine(layer: LayerMap, low: np.ndarray, high: np.ndarray) -> list[float]:
    """Roots of log V(q)/q in brackets, all at once: bisection steps with a secant candidate (ITP-free)."""
    if len(low) == 0:
        return []
    a, b = np.log(low), np.log(high)
    f = lambda t: np.log(_finite_variance(layer, np.exp(t))) - t  # noqa: E731
    fa, fb = f(a), f(b)
    for _ in range(60):
        with np.errstate(invalid="ignore", divide="ignore"):
            t = (a * fb - b * fa) / (fb - fa)
        bad = ~np.isfinite(t) | (t <= np.minimum(a, b)) | (t >= np.maximum(a, b))
        t = np.where(bad, (a + b) / 2, t)
        ft = f(t)
        same = np.sign(ft) == np.sign(fb)
        # Illinois: halve the value at the end that stayed, so that it moves next time.
        a, fa = np.where(same, a, b), np.where(same, fa * 0.5, fb)
        b, fb = t, ft
        if np.all(
            (np.abs(ft) < 2e-16 * np.maximum(1, np.abs(t)))
            | (np.abs(b - a) < 4e-16 * np.maximum(1, np.abs(t)))
        ):
            break
    return [float(v) for v in np.exp(b)]


def _basins(
    points: list[float], slopes: list[float], grid: np.ndarray, values: np.ndarray
) -> list[tuple[float, float]]:
    """The interval around each attracting point whose grid values iterate to it."""
    log_grid = np.log(grid)
    with np.errstate(divide="ignore"):
        log_values = np.log(np.maximum(values, 1e-320))
    t = np.minimum(log_values, 1e3)
    for _ in range(22):
        # The map composed with itself: 2²² layers in 22 steps.
        left = -1e3 if 0 in points else t[0]
        t = np.interp(t, log_grid, t, left=left, right=1e3 if t[-1] > log_grid[-1] else t[-1])
    targets = np.array([math.log(q) if q > 0 else -1e3 for q in points])
    attracting = [abs(s) < 1 + _MARGIN for s in slopes]
    label = np.full(len(grid), -1)
    step = log_grid[1] - log_grid[0]
    for i, target in enumerate(targets):
        if attracting[i]:
            # At a marginal zero the variance falls as 1/l only.
            zero = -4.0 if abs(abs(slopes[i]) - 1) < 1e-6 else log_grid[0] + 1e-9
            label[(t < zero) if target == -1e3 else (np.abs(t - target) < 2 * step)] = i
    basins = []
    for i, q in enumerate(points):
        if not attracting[i]:
            basins.append((q, q))
            continue
        at = int(np.searchsorted(grid, q))
        lo = hi = min(at, len(grid) - 1)
        if q == 0:
            own = np.nonzero(label != i)[0]
            end = grid[own[0]] if len(own) else math.inf
            basins.append((0.0, _edge(float(end), points) if math.isfinite(end) else end))
            continue
        while lo > 0 and label[lo - 1] == i:
            lo -= 1
        while hi < len(grid) - 1 and label[hi + 1] == i:
            hi += 1
        low = 0.0 if lo == 0 else _edge(float(grid[lo]), points)
        high = math.inf if hi == len(grid) - 1 else _edge(float(grid[hi]), points)
        basins.append((min(low, q), max(high, q)))
    return basins


def _edge(q: float, points: list[float]) -> float:
    """The end of a basin is an unstable point when one is within two grid steps."""
    near = [p for p in points if p > 0 and q > 0 and abs(math.log(p / q)) < 2.5 * math.log(10) / _PER_DECADE]
    return min(near, key=lambda p: abs(math.log(p / q))) if near else q


def correlation_fixed_points(layer: LayerMap, q: float | int) -> tuple[CorrelationPoint, ...]:
    """All fixed points of the correlation map at a stationary variance q, from −1 to 1.

    c = 1 is always one, unless dropout decorrelates equal inputs or batch norm removes what they share.

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

    theta = np.linspace(0.0, math.pi, 801)[1:]
    points = _correlation_roots(step, theta)
    if abs(float(step(np.array([1.0]))[0]) - 1) < 1e-9:
        points.append(1.0)
    slopes = [float(layer.correlation_slope(at, c)) for c in points]
    return tuple(_correlation_point(layer, c, s) for c, s in zip(points, slopes))


def _correlation_roots(step: Callable[[np.ndarray], np.ndarray], theta: np.ndarray) -> list[float]:
    """Roots below 1 of (C(c) − c)/(1 − c), from which c = 1 has been divided out."""

    def ratio(t: np.ndarray) -> np.ndarray:
        c = np.cos(t)
        return (step(c) - c) / (2 * np.sin(t / 2) ** 2)

    fine = np.concatenate([np.geomspace(1e-3, theta[0], 12)[:-1], theta])
    values = ratio(fine)
    values = np.where(np.abs(values) < 1e-12, 0.0, values)
    roots = (
        [float(np.cos(t)) for t in fine[:-1][values[:-1] == 0]] if np.count_nonzero(values == 0) < 9 else []
    )
    for i in np.nonzero(values[:-1] * values[1:] < 0)[0]:
        a, b = fine[i], fine[i + 1]
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
        power = (2.0 if layer.phi.kinks else 1.0) if c == 1.0 else math.nan
    return CorrelationPoint(c, slope, kind, _scale(slope), convergence, power)
