"""Maps of pairs: (covariance, two variances) → E φφ and E φ'φ', for tiles of pairs of inputs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from firstlight import activations, gauss
from firstlight.activations import Activation

# (covariances (r, c), variances (r, 1), variances (c,), where the tile lies, want the slope) → dual and slope
PairMap = Callable[[Tensor, Tensor, Tensor, tuple[slice, slice], bool], tuple[Tensor, Tensor | None]]

_ORDERS = (64, 128, 256, 512, 1024)
_TAIL = 1e-13
# Coefficients below this share of the last digit do nothing.
_NOTHING = 1e-17
# Variances expanded at once: their samples stay in the cache.
_CHUNK = 256
# More variances than this are interpolated in log q, on windows this wide with so many nodes.
_MANY, _WINDOW, _NODES, _RESOLVED = 64, 1.0, 24, 1e-14
# Variances this close have coefficients that differ less than the series is cut off at.
_SAME = 1e-14


def pair_maps(phi: Activation, q1: Tensor, q2: Tensor) -> list[PairMap]:
    """One map a layer, for variances (layers, n₁) and (layers, n₂) that φ sees.

    A closed form where there is one, a Hermite series for a smooth φ, else an interpolant where all inputs have
    one variance, else quadrature pair by pair.
    """
    if activations.closed_form(phi) is not None:
        return [_closed(phi)] * len(q1)
    if not phi.kinks:
        series = _all_series(phi, q1, q2)
        if series is not None:
            return series
    return [_numeric(phi, a, b) for a, b in zip(q1, q2)]


def _closed(phi: Activation) -> PairMap:
    form = activations.closed_form(phi)
    assert form is not None

    def closed(
        k: Tensor, u: Tensor, v: Tensor, at: tuple[slice, slice], want: bool
    ) -> tuple[Tensor, Tensor | None]:
        product = u * v
        # rounding may leave |k| a hair above √(uv): a negative rest would be NaN
        rest = torch.addcmul(product, k, k, value=-1).clamp_(min=0)
        u, v = u.expand_as(k), v.expand_as(k)
        return form.dual(torch, u, v, k, rest), form.slope(torch, u, v, k, rest) if want else None

    return closed


def _all_series(phi: Activation, q1: Tensor, q2: Tensor) -> list[PairMap] | None:
    """Hermite series of all layers at once; None if one of them does not end."""
    both = torch.cat([q1, q2], 1) if q1 is not q2 else q1
    unique, inverse = torch.unique(both, return_inverse=True)
    if bool((unique <= 0).any()):
        return None
    a = _coefficients(phi, unique)
    if a is None:
        return None
    total = (a * a).sum(1, keepdim=True)
    small = (a * a) <= _NOTHING * total
    maps: list[PairMap] = []
    for row in inverse:
        here = torch.unique(row)
        used = int(torch.nonzero(~small[here].all(0)).max()) + 1
        left, right = a[row[: q1.shape[1]], :used], a[row[-q2.shape[1] :], :used]
        level, spread = float(unique[here[0]]), float(unique[here[-1]] - unique[here[0]])
        maps.append(_series(phi, left, right, level if spread <= _SAME * level else None))
    return maps


def _coefficients(phi: Activation, q: Tensor) -> Tensor | None:
    """Coefficients (variances, order + 1) for increasing variances, with an order enough for every |c| ≤ 1."""
    for order in _ORDERS:
        # the largest variance is the steepest one
        if not bool(_ended(gauss.hermite_coefficients(phi, q[-1:], order)).all()):
            continue
        a = _interpolated(phi, q, order) if len(q) > _MANY else None
        if a is None:
            a = torch.cat([gauss.hermite_coefficients(phi, part, order) for part in q.split(_CHUNK)])
        if bool(_ended(a).all()):
            return a
    return None


def _interpolated(phi: Activation, q: Tensor, order: int) -> Tensor | None:
    """Coefficients as Chebyshev series in log q on windows; None if they are not resolved there."""
    t = (q / q[0]).log_().div_(_WINDOW)
    index = t.floor().to(torch.int64)
    degrees = torch.arange(_NODES, dtype=torch.float64)
    angles = math.pi * (degrees + 0.5) / _NODES
    to_series = 2 / _NODES * torch.cos(degrees[:, None] * angles)
    to_series[0] /= 2
    out = torch.empty(len(q), order + 1, dtype=torch.float64)
    for i, count in zip(*(v.tolist() for v in torch.unique(index, return_counts=True))):
        own = index == i
        if count <= _NODES:
            out[own] = gauss.hermite_coefficients(phi, q[own], order)
            continue
        nodes = q[0] * torch.exp(((torch.cos(angles) + 1) / 2 + i) * _WINDOW)
        series = to_series @ gauss.hermite_coefficients(phi, nodes, order)
        if float(series[-3:].abs().max()) > _RESOLVED * float(series.abs().max()):
            return None
        angle = torch.arccos((2 * (t[own] - i) - 1).clamp(-1.0, 1.0))
        out[own] = torch.cos(angle[:, None] * degrees) @ series
    return out


def _ended(a: Tensor) -> Tensor:
    return (a[:, -6:] ** 2).sum(1) <= _TAIL * (a * a).sum(1)


def _series(phi: Activation, left: Tensor, right: Tensor, q: float | None) -> PairMap:
    """Σ a_k(u) a_k(v) c^k and its derivative by the covariance, with Horner's rule; q if all variances are one.

    An odd or even φ needs half of the terms: f = c^s P(c²), f' = s c^{s−1} P + 2 c^{s+1} P'.
    """
    start, step = {"odd": (1, 2), "even": (0, 2)}.get(phi.parity or "", (0, 1))
    terms = range(start, left.shape[1], step)
    rows, columns = left.T[:, :, None].contiguous(), right.T.contiguous()
    squares = left[0] ** 2

    def series(
        k: Tensor, u: Tensor, v: Tensor, at: tuple[slice, slice], want: bool
    ) -> tuple[Tensor, Tensor | None]:
        scale = 1 / q if q is not None else torch.rsqrt(u * v)
        c = (k * scale).clamp_(-1.0, 1.0)
        power = c * c if step == 2 else c
        value, slope = torch.zeros_like(c), torch.zeros_like(c) if want else None
        for j in reversed(terms):
            if slope is not None:
                torch.addcmul(value, slope, power, out=slope)
            if q is not None:
                torch.addcmul(squares[j], value, power, out=value)
            else:
                value.mul_(power).addcmul_(rows[j, at[0]], columns[j, at[1]])
        if slope is not None and step == 2:
            slope = slope.mul_(power).mul_(2).add_(value) if start else slope.mul_(c).mul_(2)
        if start:
            value.mul_(c)
        return value, None if slope is None else slope.mul_(scale)

    return series


def _numeric(phi: Activation, q1: Tensor, q2: Tensor) -> PairMap:
    from firstlight.theory.dual_map import DualMap

    level = float(q1[0])
    single = bool((q1 == level).all() and (q2 == level).all())

    def numeric(
        k: Tensor, u: Tensor, v: Tensor, at: tuple[slice, slice], want: bool
    ) -> tuple[Tensor, Tensor | None]:
        rho = (k * torch.rsqrt(u * v)).clamp_(-1.0, 1.0)
        if single:
            dual = DualMap.of(phi, level)
            value = torch.from_numpy(np.asarray(dual(rho.numpy())))
            return value, torch.from_numpy(np.asarray(dual.slope(rho.numpy()))) if want else None
        value = activations.dual(phi, u, v, rho)
        return value, activations.dual_slope(phi, u, v, rho) if want else None

    return numeric
