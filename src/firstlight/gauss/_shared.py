"""Gaussian integrals of one function at one mean and many standard deviations, on nodes that they share.

The function is evaluated once on panels of its own argument, not once for each Gaussian; the Gaussians enter as a
matrix of weights. What these panels do not resolve is left to the adaptive rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.gauss._rules import rule

# Panel edges of one Gaussian in units of its standard deviation; past 9 it leaves 2e-18 of a fourth power.
EDGES = (0.0, 1.5, 3.2, 5.5, 9.0)
_GROWTH = 1.6
# Standard deviations within this ratio share nodes: a few panels more, and the overhead of one group.
_RATIO = 8.0
# Gaussians of one group, and panels that one round of splitting may add: both bound the memory.
_MOST = 512
_MOST_PANELS = 400
_SPLIT = 4
_ROUNDS = 6
# Panels whose sums are one matrix product, which grows with their square.
_MOST_ALONE = 64
# So many panels that fail together oscillate; fewer have kinks.
_MANY_AT_ONCE = 6
_UNDERFLOW = -650.0
# Narrower Gaussians are left to the adaptive rule, for their squares underflow.
_NARROWEST = 1e-140
Function = Callable[[Tensor], Tensor]

_NORM = 1 / math.sqrt(2 * math.pi)
# What lies outside the outermost panels is this share of the total at most.
EDGE_SHARE = 1e-15


@dataclass(frozen=True, eq=False)
class SharedNodes:
    """Gauss–Legendre nodes of one group: where f is evaluated, and the half widths of the panels.

    ``one`` holds the matrices of the only Gaussian, if there is only one; ``sums`` the weights of all its nodes
    together and the matrix to the tails of all panels.
    """

    x: Tensor
    edges: np.ndarray
    half: np.ndarray
    offset: np.ndarray
    one: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    sums: tuple[np.ndarray, np.ndarray] | None


def _edges(mean: float, low: float, high: float, kinks: tuple[float, ...], even: bool) -> np.ndarray:
    """Panel edges, relative to the mean, that resolve every Gaussian from ``low`` to ``high``."""
    reach = EDGES[-1] * high
    parts = [low * e for e in EDGES[:-1]]
    end = EDGES[-1] * low
    while end < 0.95 * reach:
        parts.append(end)
        end *= _GROWTH
    base = np.array([*parts, reach])
    if high > 1.5:
        # An activation lives on scales near 1: grade towards zero where the Gaussian is wide.
        graded = 0.75 * 2.0 ** np.arange(math.ceil(math.log2(high * 3)) + 1)
        graded = graded[graded < 2.5 * high]
        if mean == 0:
            # these panels grow as fast as they go out, and so resolve the Gaussian as well
            base = np.concatenate([[0.0], graded, base[base > 1.2 * graded[-1]]])
        else:
            graded = np.concatenate([-graded[::-1], graded]) - mean
            graded = graded[np.abs(graded) < reach]
            return _merged(np.concatenate([-base[::-1], base, graded]), kinks, mean, even)
    return _merged(np.concatenate([-base[:0:-1], base]), kinks, mean, even)


def _merged(edges: np.ndarray, kinks: tuple[float, ...], mean: float, even: bool) -> np.ndarray:
    """The edges with kinks among them, in order; those that a kink makes useless are dropped."""
    top = float(edges.max())
    if kinks:
        at = np.array(kinks) - mean
        at = at[np.abs(at) < top]
        edges = np.unique(edges)
        gap = np.diff(edges, prepend=-math.inf, append=math.inf)
        near = np.abs(edges[:, None] - at).min(1, initial=math.inf) < 0.4 * np.minimum(gap[:-1], gap[1:])
        edges = np.concatenate([edges[~near | (np.abs(edges) == top)], at])
    edges = np.unique(edges)
    return np.concatenate([[0.0], edges[edges > 0]]) if even else edges


@lru_cache(maxsize=256)
@clean
def _nodes(
    mean: float, low: float, high: float, kinks: tuple[float, ...], even: bool, widest: float = math.inf
) -> SharedNodes:
    edges = _edges(mean, low, high, kinks, even)
    if (edges[-1] - edges[0]) / widest < _MOST_PANELS:
        edges = _no_wider(edges, widest)
    r = rule()
    half = np.diff(edges) / 2
    offset = (edges[1:] + edges[:-1])[:, None] / 2 + half[:, None] * r.nodes.numpy()
    one = _product(offset, half, low) if low == high and len(half) <= _MOST_ALONE else None
    sums = (one[1].sum(axis=1), np.ascontiguousarray(one[0][:, len(half) :])) if one is not None else None
    return SharedNodes(torch.from_numpy(mean + offset), edges, half, offset, one, sums)


def _no_wider(edges: np.ndarray, widest: float) -> np.ndarray:
    """The edges with panels cut into equal parts that are not wider."""
    parts = np.maximum(np.ceil(np.diff(edges) / widest), 1).astype(int)
    starts = np.repeat(edges[:-1], parts)
    step = np.repeat(np.diff(edges) / parts, parts)
    along = np.arange(len(starts)) - np.repeat(np.cumsum(parts) - parts, parts)
    return np.append(starts + along * step, edges[-1])


def _product(offset: np.ndarray, half: np.ndarray, std: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices from values of f at all nodes to the integrals and tails of each panel, and of |f|; the bell."""
    columns, _ = _columns()
    panels, count = offset.shape
    bell = _NORM * np.exp(-0.5 * (offset / std) ** 2)
    scaled = bell * (half[:, None] / std)
    product = np.zeros((panels, count, 4, panels))
    at = np.arange(panels)
    product[at, :, :, at] = scaled[:, :, None] * columns
    flat = product.reshape(panels * count, -1)
    return flat, np.ascontiguousarray(flat[:, :panels]), bell.reshape(-1)


@lru_cache(maxsize=1)
@clean
def _columns() -> tuple[np.ndarray, np.ndarray]:
    """(24, 4): the rule's weights and the projections on its last Legendre coefficients; and the weights alone."""
    r = rule()
    return np.concatenate([r.weights.numpy()[:, None], r.tail.numpy()], 1), r.weights.numpy()


@dataclass(frozen=True, eq=False)
class Sums:
    """Integrals and error estimates, (functions …, Gaussians), and which Gaussians are resolved.

    ``widest`` is the width of panels from which on f oscillates too often for one.
    """

    value: np.ndarray
    error: np.ndarray
    done: np.ndarray
    evaluations: int
    widest: float = math.inf


def one_gaussian(
    f: Function,
    mean: float,
    std: float,
    *,
    kinks: Sequence[float] = (),
    rtol: float = 1e-13,
    even: bool = False,
) -> tuple[Tensor, Tensor, int] | None:
    """Value and error of one integral (or of k at once) on its first panels; None if these do not resolve it."""
    if std < _NARROWEST:
        return None
    nodes = _nodes(mean, std, std, tuple(kinks), even)
    y = f(nodes.x).numpy()
    if y.shape[-2:] != nodes.x.shape or y.ndim > 3 or y.dtype != np.float64 or nodes.one is None:
        return None
    product, weights, bell = nodes.one
    panels = len(weights.T)
    flat = y.reshape(-1, bell.size)
    if not np.isfinite(flat).all():
        return None
    size = np.abs(flat)
    ends = (-1,) if even else (0, -1)
    values, errors = [], []
    # plain floats: arrays of eight numbers cost more than the numbers
    for row, parts, mass in zip(size, (flat @ product).tolist(), (size @ weights).tolist()):
        total = sum(mass)
        error = 0.0
        for p in range(panels):
            tail = max(abs(parts[panels + p]), abs(parts[2 * panels + p]), abs(parts[3 * panels + p]))
            own = 4 * tail * math.sqrt(min(tail / max(mass[p], 1e-300), 1.0))
            if own > max(rtol * total, 1e-15 * mass[p]):
                return None
            error += own
        if any(row[i] * bell[i] > EDGE_SHARE * total for i in ends):
            return None
        values.append(sum(parts[:panels]))
        errors.append(error + 4e-16 * total)
    times = 2.0 if even else 1.0
    value, spread = (torch.tensor(v, dtype=torch.float64).mul_(times) for v in (values, errors))
    shape = y.shape[:-2]
    return value.reshape(shape), spread.reshape(shape), bell.size


def one_value(f: Function, mean: float, std: float, kinks: tuple[float, ...], rtol: float) -> float | None:
    """The value alone of one integral, if its first panels resolve it well within ``rtol``; else None.

    Half of ``one_gaussian``'s time goes into the error of each panel, which nobody asks for here: the largest
    error of any, times their number, bounds the sum.
    """
    if not (_NARROWEST <= std < math.inf and math.isfinite(mean)):
        return None
    nodes = _nodes(mean, std, std, kinks, False)
    y = f(nodes.x)
    if y.shape != nodes.x.shape or y.dtype != torch.float64 or nodes.sums is None or nodes.one is None:
        return None
    weights, tails = nodes.sums
    flat = y.detach().numpy().reshape(-1)
    if not np.isfinite(flat).all():
        return None
    size = np.abs(flat)
    total = float(size @ weights)
    error = 4.0 * len(nodes.half) * float(np.abs(flat @ tails).max())
    bell = nodes.one[2]
    end = max(size[0] * bell[0], size[-1] * bell[-1])
    return float(flat @ weights) if error <= rtol * total and end <= EDGE_SHARE * total else None


def many_gaussians(
    f: Function,
    mean: float,
    std: Tensor,
    *,
    kinks: Sequence[float] = (),
    rtol: float = 1e-13,
    even: bool = False,
) -> Sums | None:
    """All integrals at the standard deviations ``std`` ≥ 0 (one axis), group by group; None if f is not plain."""
    values = std.numpy()
    order = np.argsort(values)
    ordered = values[order]
    if ((ordered > 0) & (ordered < _NARROWEST)).any():
        return None
    parts: list[Sums] = []
    start, widest = 0, math.inf
    while start < len(ordered):
        if ordered[start] == 0:
            stop = int(np.searchsorted(ordered, 0.0, side="right"))
            part = _constant(f, mean, stop - start, even)
        else:
            stop = int(np.searchsorted(ordered, ordered[start] * _RATIO, side="right"))
            stop = min(stop, start + _MOST)
            part = _group(_Panels(f, mean, ordered[start:stop]), tuple(kinks), rtol, even, widest)
        if part is None:
            return None
        widest = min(widest, part.widest)
        parts.append(part)
        start = stop
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return Sums(
        np.concatenate([p.value for p in parts], -1)[..., back],
        np.concatenate([p.error for p in parts], -1)[..., back],
        np.concatenate([p.done for p in parts])[back],
        sum(p.evaluations for p in parts),
    )


def _constant(f: Function, mean: float, count: int, even: bool) -> Sums | None:
    """Gaussians of no width."""
    y = f(torch.full((1, 1), mean, dtype=torch.float64))
    if y.shape[-2:] != (1, 1) or y.ndim > 3 or y.dtype != torch.float64:
        return None
    value = np.repeat(y.numpy()[..., 0], count, -1) * (0.5 if even else 1.0)
    return Sums(value, 4e-16 * np.abs(value), np.full(count, bool(np.isfinite(value).all())), 1)


class _Panels:
    """Evaluates panels of f against all Gaussians of a group, by one matrix product for each panel."""

    def __init__(self, f: Function, mean: float, std: np.ndarray) -> None:
        self.f, self.mean, self.std = f, mean, std
        self.rate = -0.5 / std**2
        self.shape: tuple[int, ...] = ()
        self.evaluations = 0

    def __call__(self, offset: np.ndarray, half: np.ndarray, own: slice) -> tuple[np.ndarray, ...] | None:
        """Integral, error and integral of |f|, (panels, functions, Gaussians), and |f·bell| at the two ends."""
        panels, count = offset.shape
        y = self.f(torch.from_numpy(self.mean + offset))
        if y.shape[-2:] != offset.shape or y.ndim > 3 or y.dtype != torch.float64:
            return None
        self.shape, self.evaluations = y.shape[:-2], self.evaluations + offset.size
        scaled = y.numpy().reshape(-1, panels, count).swapaxes(0, 1) * half[:, None, None]
        columns, weights = _columns()
        # (panels, weights | tail | tail | tail | weights of |f|, functions, nodes)
        left = np.empty((panels, 5, scaled.shape[1], count))
        np.multiply(scaled[:, None], columns.T[:, None], out=left[:, :4])
        np.multiply(np.abs(scaled), weights, out=left[:, 4])
        bell = np.multiply((offset * offset)[:, :, None], self.rate[own])
        # far tails are cut off before they become denormal, which costs a hundred times more
        np.exp(np.maximum(bell, _UNDERFLOW, out=bell), out=bell)
        out = np.matmul(left.reshape(panels, -1, count), bell).reshape(panels, 5, scaled.shape[1], -1)
        mass, tails = out[:, 4], np.abs(out[:, 1:4])
        tail = np.maximum(np.maximum(tails[:, 0], tails[:, 1]), tails[:, 2])
        error = 4 * tail * np.sqrt(np.minimum(tail / np.maximum(mass, 1e-300), 1.0))
        ends = np.stack([np.abs(scaled[p, :, i, None]) / half[p] * bell[p, i] for p, i in ((0, 0), (-1, -1))])
        return out[:, 0], error, mass, ends


def _group(panels: _Panels, kinks: tuple[float, ...], rtol: float, even: bool, widest: float) -> Sums | None:
    """Integrals of one group; panels that do not resolve f for one of its Gaussians are split for all."""
    std, oscillates = panels.std, math.inf
    nodes = _nodes(panels.mean, float(std[0]), float(std[-1]), kinks, even, widest)
    with np.errstate(all="ignore"):
        found = panels(nodes.offset, nodes.half, slice(None))
        if found is None:
            return None
        value, error, mass, ends = found
        low, high = nodes.edges[:-1], nodes.edges[1:]
        values, errors, total = value.sum(0), error.sum(0), mass.sum(0)
        done, own = np.isfinite(total).all(0), slice(0, len(std))
        for turn in range(_ROUNDS + 1):
            bad = error > np.maximum(rtol * total[:, own], 1e-15 * mass)
            split, who = bad.any((1, 2)), np.flatnonzero(bad.any((0, 1)))
            if not len(who) or not done.any():
                break
            if turn == _ROUNDS or np.count_nonzero(split) * _SPLIT > _MOST_PANELS:
                done[own.start + who] = False
                break
            if np.count_nonzero(split) >= _MANY_AT_ONCE:
                # not kinks: wider Gaussians would meet the same at every place
                oscillates = float((high - low)[split].min()) / 1.5
            # only the Gaussians that need it go on, with those between them
            part = slice(who[0], who[-1] + 1)
            own = slice(own.start + part.start, own.start + part.stop)
            for sums, piece in ((values, value), (errors, error), (total, mass)):
                sums[:, own] -= piece[split][..., part].sum(0)
            step = (high[split] - low[split]) / _SPLIT
            starts = low[split][:, None] + step[:, None] * np.arange(_SPLIT)
            # The last panel ends exactly where its parent did, which may be a kink.
            high = np.concatenate([starts[:, 1:], high[split][:, None]], 1).reshape(-1)
            low, half = starts.reshape(-1), np.repeat(step / 2, _SPLIT)
            again = panels((low + high)[:, None] / 2 + half[:, None] * rule().nodes.numpy(), half, own)
            assert again is not None  # f has kept the shape before
            value, error, mass, _ = again
            for sums, piece in ((values, value), (errors, error), (total, mass)):
                sums[:, own] += piece.sum(0)
        for end in ends[1:] if even else ends:
            done &= (end * std <= EDGE_SHARE * total).all(0)
        scale = _NORM / std
        errors = np.maximum(errors, 0.0) + 4e-16 * total
    shape = (*panels.shape, len(std))
    return Sums(
        (values * scale).reshape(shape), (errors * scale).reshape(shape), done, panels.evaluations, oscillates
    )
