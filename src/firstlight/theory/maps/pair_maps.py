"""Maps of pairs: covariances → E φφ and E φ'φ', for tiles of pairs of inputs of given variances."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from firstlight import activations, gauss
from firstlight.activations import Activation
from firstlight.gauss.windows import LogWindows
from firstlight.theory.maps._mehler import Mehler
from firstlight.theory.maps._polar import Polar
from firstlight.theory.maps._variance_table import VarianceTable
from firstlight.theory.maps.dual_map import DualMap
from firstlight.theory.maps.piecewise_linear import PiecewiseLinear

# (covariances of a tile, its rows and columns, want the slope) → dual and slope
PairMap = Callable[[Tensor, slice, slice, bool], tuple[Tensor, Tensor | None]]

PairMoments = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

_ORDERS = (32, 64, 128, 256, 512, 1024)
# Smaller variances count as this one: the correlation of a silent input is then 0, not NaN.
TINY = 1e-140
# Error at which sums in polar coordinates are taken, and pairs from which on they are interpolated.
_POLAR, _MANY = 1e-10, 4000
# Pairs of one variance from which on an interpolant in the angle pays for a piecewise linear φ.
_MOST = 100_000


def pair_maps(phi: Activation, q1: Sequence[Tensor], q2: Sequence[Tensor]) -> list[PairMap]:
    """One map a layer, for variances (n₁, 1, …) and (1, n₂, …) that φ sees and that broadcast to the pairs.

    A closed form where there is one, a Hermite series for a smooth φ; else, where all inputs have one variance, an
    interpolant in the angle; an angular integral for a piecewise linear φ; sums in polar coordinates for one whose
    kink is at zero, interpolated for many pairs; else quadrature pair by pair. The slope is that of the backward pass:
    E b(u)b(v) for an activation with a ``backward`` b of its own.
    """
    if phi.backward is not None:
        used = activations.from_callable(phi.backward, name=f"backward of {phi.name}")
        values = pair_maps(replace(phi, backward=None), q1, q2)
        return [_apart(*both) for both in zip(values, pair_maps(used, q1, q2))]
    if activations.closed_form(phi) is not None:
        return [_closed(phi, a, b) for a, b in zip(q1, q2)]
    if not phi.kinks:
        table = _Coefficients(phi)
        return [_Series(phi, table, a, b) for a, b in zip(q1, q2)]
    return [_numeric(phi, a, b) for a, b in zip(q1, q2)]


def _apart(value: PairMap, slope: PairMap) -> PairMap:
    """A map whose slope is the value of another map."""

    def apart(k: Tensor, rows: slice, columns: slice, want: bool) -> tuple[Tensor, Tensor | None]:
        through = slope(k.clone(), rows, columns, False)[0] if want else None
        return value(k, rows, columns, False)[0], through

    return apart


def _closed(phi: Activation, q1: Tensor, q2: Tensor) -> PairMap:
    form = activations.closed_form(phi)
    assert form is not None

    def closed(k: Tensor, rows: slice, columns: slice, want: bool) -> tuple[Tensor, Tensor | None]:
        u, v = q1[rows], q2[:, columns]
        # rounding may leave |k| a hair above √(uv): a negative rest would be NaN
        rest = torch.addcmul(u * v, k, k, value=-1).clamp_(min=0)
        u, v = u.expand_as(k), v.expand_as(k)
        return form.dual(torch, u, v, k, rest), form.slope(torch, u, v, k, rest) + 0 * k if want else None

    return closed


class _Coefficients:
    """Hermite coefficients of √q·G ↦ φ up to several orders, those of an odd or even φ without the zeros."""

    def __init__(self, phi: Activation) -> None:
        self.phi = phi
        self.start, self.step = {"odd": (1, 2), "even": (0, 2)}.get(phi.parity or "", (0, 1))
        self._tables: dict[int, LogWindows] = {}

    def __call__(self, q: Tensor, order: int) -> Tensor:
        if order not in self._tables:
            self._tables[order] = LogWindows(
                lambda q: gauss.hermite_coefficients(self.phi, q, order)[:, self.start :: self.step]
            )
        return self._tables[order](q.flatten())


class _Series:
    """Hermite series of one layer, as long as the correlations that come need it; past the longest, quadrature."""

    def __init__(self, phi: Activation, table: _Coefficients, q1: Tensor, q2: Tensor) -> None:
        self.phi, self.table = phi, table
        self.q1 = q1.clamp_min(TINY)
        same = q1.data_ptr() == q2.data_ptr() and q1.numel() == q2.numel()
        self.q2 = self.q1.view(q2.shape) if same else q2.clamp_min(TINY)
        self.same = same
        self._made: dict[int, Mehler] = {}

    def _of(self, order: int) -> Mehler:
        if order not in self._made:
            a = self.table(self.q1, order)
            b = a if self.same else self.table(self.q2, order)
            start, step = self.table.start, self.table.step
            self._made[order] = Mehler.of(a, b, self.q1, self.q2, start=start, step=step)
        return self._made[order]

    def __call__(self, k: Tensor, rows: slice, columns: slice, want: bool) -> tuple[Tensor, Tensor | None]:
        scale = torch.rsqrt(self.q1[rows] * self.q2[:, columns])
        c = (k * scale).clamp_(-1.0, 1.0)
        low, high = torch.stack(torch.aminmax(c)).tolist()
        for order in _ORDERS:
            series = self._of(order)
            terms = series.terms(max(-low, high))
            if terms is not None:
                value, slope = series(c, rows, columns, terms=terms, want=want)
                return value, None if slope is None else slope.mul_(scale)
        return _numeric(self.phi, self.q1, self.q2)(k, rows, columns, want)


def _numeric(phi: Activation, q1: Tensor, q2: Tensor) -> PairMap:
    u, v = q1.clamp_min(TINY), q2.clamp_min(TINY)
    level = float(u.flatten()[0])
    lines = PiecewiseLinear.of(phi)
    single = bool((u == level).all() and (v == level).all())
    pair: PairMoments
    if lines is not None and not (single and math.prod((u + v).shape) > _MOST):
        pair = lines.pair
    elif single:
        pair = _of_one_variance(phi, level)
    else:
        pair = _of_variances(phi, u, v)

    def numeric(k: Tensor, rows: slice, columns: slice, want: bool) -> tuple[Tensor, Tensor | None]:
        a, b = u[rows], v[:, columns]
        rho = (k * torch.rsqrt(a * b)).clamp_(-1.0, 1.0)
        value, slope = pair(a.expand_as(k), b.expand_as(k), rho)
        return value, slope if want else None

    return numeric


def _of_one_variance(phi: Activation, level: float) -> PairMoments:
    def pair(u: Tensor, v: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
        dual, c = DualMap.of(phi, level), rho.numpy()
        value, slope = (torch.from_numpy(np.asarray(part)) for part in (dual(c), dual.slope(c)))
        return value, slope

    return pair


def _of_variances(phi: Activation, q1: Tensor, q2: Tensor) -> PairMoments:
    """Of many variances: an interpolant for many pairs, else sums in polar coordinates, else plain quadrature."""
    low, high = (v.item() for v in torch.aminmax(torch.cat([q1.flatten(), q2.flatten()])))
    polar = Polar.of(phi, high)
    if polar is None or polar.error > _POLAR:
        return lambda u, v, rho: (activations.dual(phi, u, v, rho), activations.dual_slope(phi, u, v, rho))
    table = VarianceTable.of(polar, low, high) if math.prod((q1 + q2).shape) > _MANY else None
    return polar.pair if table is None else table.pair
