"""The law of a sum of independent terms and a normal bias: by Fourier transform, with the atoms apart."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from firstlight.theory.finite._marginal import Marginal
from firstlight.theory.finite._summand import Summand

# Most atoms of a sum that are kept apart; the others are spread over the grid.
_ATOMS = 400
_FAINT = 1e-9
# A law crowds near 0 if its first cells hold this share; then few terms are summed on finer grids, so often.
_FIRST, _CROWDED, _FEW, _ZOOMS = 64, 0.06, 16, 4
_NONE = np.empty(0), np.empty(0), np.empty(0, bool)
_Atoms = tuple[np.ndarray, np.ndarray, np.ndarray]


def sum_of(
    one: Summand, n: int, *, bias: float, q: float, kurtosis: float, grid: int, cells: int
) -> Marginal:
    """The law of S₁ + … + S_n + N(0, bias), whose second moment is q."""
    if n == 1 and bias == 0:
        return _alone(one, q, kurtosis, cells)
    reach, tail = _reach(one, n, math.sqrt(q))
    at, share, exact = _atoms(one, n) if bias == 0 else _NONE
    edges, total, lost = _near_zero(one, n, bias, reach, grid, (at, share, exact), _ZOOMS)
    held = np.maximum(np.diff(total), 0)
    wanted = max(1 - float(share.sum()), 0.0)
    outside = max(min(n * tail, wanted), 0.0)
    held *= (wanted - outside) / held.sum() if held.sum() > 0 else 0.0
    edges, held = _thinned(edges, held, cells)
    if outside > 0:
        far = np.geomspace(reach, 1e6 * reach, 200)
        above = n * (one.smooth_mass - one.below(far))
        edges, held = np.concatenate([edges, far[1:]]), np.concatenate([held, np.maximum(-np.diff(above), 0)])
        lost += max(float(above[-1]), 0.0)
    return Marginal(edges, held, at, share, exact, q, kurtosis, lost)


def _cells(
    one: Summand, n: int, bias: float, reach: float, grid: int, atoms: _Atoms
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of even cells of |S₁ + … + S_n + bias| up to ``reach`` and the mass in each, without the atoms."""
    from scipy.fft import dct

    step = reach / grid
    ends = step * (np.arange(grid) + 0.5)
    mass = np.diff(_on_grid(one, ends, reach), prepend=0.0)
    t = math.pi / reach * np.arange(grid + 1)
    smear = np.sinc(t * step / (2 * math.pi))
    smooth = dct(np.concatenate([[mass[0]], mass[1:] / 2, [0.0]]), type=1) / smear
    single = smooth + _transform(one.at, one.share, t)
    whole = single**n * np.exp(-0.5 * bias * t**2)
    rest = (whole - _transform(atoms[0], atoms[1], t)) * smear
    found = dct(rest, type=1) / (2 * grid)
    found[1:] *= 2  # both signs
    return ends, found[:-1]


def _near_zero(
    one: Summand, n: int, bias: float, reach: float, grid: int, atoms: _Atoms, zooms: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Ends of cells from 0, the mass up to each, and what was negative; finer near 0 if the law crowds there.

    Sums whose terms are all below a cut are seen on a grid of their own. The others, with a large term in them, have
    a density that is smooth at the scale of the cut: the coarse grid gives what they add.
    """
    ends, found = _cells(one, n, bias, reach, grid, atoms)
    total = np.cumsum(np.maximum(found, 0))
    negative = float(-np.minimum(found, 0).sum())
    edges, total = np.concatenate([[0.0], ends]), np.concatenate([[0.0], total])
    crowded = total[_FIRST] > _CROWDED * total[-1]
    if bias or not zooms or n > _FEW or not crowded:
        return edges, total, negative
    inside = reach / _FIRST
    small = _cut(one, inside / n)
    if small.smooth_mass <= 0:
        return edges, total, negative
    own = _atoms(small, n)
    added = total - np.concatenate([[0.0], np.cumsum(_cells(small, n, 0.0, reach, grid, own)[1])])
    fine, mass, more = _near_zero(small, n, 0.0, inside, grid, own, zooms - 1)
    near = fine < inside / n / 4
    inner = mass[near] + np.interp(fine[near], edges, added)
    outer = edges > fine[near][-1]
    joined = np.maximum.accumulate(np.concatenate([inner, total[outer]]))
    return np.concatenate([fine[near], edges[outer]]), joined, negative + more


def _cut(one: Summand, top: float) -> Summand:
    """The part of a law at or below ``top``, with its mass."""
    keep = one.at <= top
    at, share, exact = one.at[keep], one.share[keep], one.exact[keep]
    marks = one.marks[one.marks < top]

    def below(x: np.ndarray) -> np.ndarray:
        return one.below(np.minimum(x, top))

    return replace(one, at=at, share=share, exact=exact, marks=np.append(marks, top), below=below)


def _alone(one: Summand, q: float, kurtosis: float, cells: int) -> Marginal:
    """One term is its own law: no transform, and cells over as many decades as it has."""
    scale = one.scale
    probe = np.geomspace(1e-14 * scale, 1e8 * scale, 600)
    below, mass = one.below(probe), one.smooth_mass
    if mass < 1e-14:
        return Marginal(np.array([0.0, scale]), np.zeros(1), one.at, one.share, one.exact, q, kurtosis, 0.0)
    low = probe[max(int(np.searchsorted(below, 1e-8 * mass)) - 1, 0)]
    high = probe[min(int(np.searchsorted(below, (1 - 1e-13) * mass)), len(probe) - 1)]
    bulk = probe[min(int(np.searchsorted(below, (1 - 1e-3) * mass)) + 1, len(probe) - 1)]
    edges = np.concatenate([np.geomspace(low, high, cells // 2), np.linspace(0, bulk, cells // 2), one.marks])
    edges = np.unique(edges)
    total = one.below(edges)
    held = np.maximum(np.diff(total), 0)
    return Marginal(
        edges, held, one.at, one.share, one.exact, q, kurtosis, max(mass - float(held.sum()), 0.0)
    )


def _reach(one: Summand, n: int, deviation: float) -> tuple[float, float]:
    """How far the grid goes, and the mass of one term beyond."""
    for factor in (12.0, 20.0, 35.0, 60.0):
        reach = factor * deviation
        tail = max(one.smooth_mass - float(one.below(np.array([reach]))[0]), 0.0)
        top = float(one.at.max()) if len(one.at) else 0.0
        if n * tail < 1e-9 and top < reach:
            return reach, 0.0
    return reach, tail


def _on_grid(one: Summand, ends: np.ndarray, reach: float) -> np.ndarray:
    """P(|S| ≤ x) without atoms at the ends of cells: at some knots, and a monotone cubic between them."""
    from scipy.interpolate import PchipInterpolator

    if one.direct:
        return one.below(ends)
    scale = min(one.scale, reach / 4)
    knots = np.concatenate(
        [
            [0.0],
            np.geomspace(ends[0] / 4, reach, 200),
            np.linspace(0, 6 * scale, 350),
            np.linspace(6 * scale, reach, 60),
            *([mark * (1 - 1e-9), mark * (1 + 1e-9)] for mark in one.marks if mark < reach),
        ]
    )
    knots = np.unique(knots)
    return np.asarray(PchipInterpolator(knots, one.below(knots))(ends))


def _transform(at: np.ndarray, share: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Σ share · cos(t · at)."""
    total = np.zeros_like(t)
    for a, p in zip(at, share, strict=True):
        total += p * np.cos(a * t) if a else p
    return total


def _atoms(one: Summand, n: int) -> _Atoms:
    """Atoms of the sum of n terms, the largest of them, by repeated squaring of the signed law."""
    if not len(one.at) or float(one.share.sum()) ** n < _FAINT:
        return _NONE
    zero = one.at == 0
    place = np.concatenate([one.at[zero], one.at[~zero], -one.at[~zero]])
    share = np.concatenate([one.share[zero], one.share[~zero] / 2, one.share[~zero] / 2])
    exact = np.concatenate([one.exact[zero], one.exact[~zero], one.exact[~zero]])
    width = 1e-9 * max(float(one.at.max()), 1e-300)
    result: _Atoms = (np.zeros(1), np.ones(1), np.ones(1, bool))
    power: _Atoms = (place, share, exact)
    while n:
        if n % 2:
            result = _convolved(result, power, width)
        n //= 2
        if n:
            power = _convolved(power, power, width)
    place, share, exact = result
    key = 2 * np.abs(np.round(place / width)) + exact
    kinds, group = np.unique(key, return_inverse=True)
    return (kinds // 2) * width, np.bincount(group, share), kinds % 2 == 1


def _convolved(a: _Atoms, b: _Atoms, width: float) -> _Atoms:
    place = np.add.outer(a[0], b[0]).reshape(-1)
    share = np.multiply.outer(a[1], b[1]).reshape(-1)
    exact = np.logical_and.outer(a[2], b[2]).reshape(-1)
    _, first, group = np.unique(2 * np.round(place / width) + exact, return_index=True, return_inverse=True)
    share, place, exact = np.bincount(group, share), place[first], exact[first]
    keep = share > _FAINT / 100
    if keep.sum() > 2 * _ATOMS:
        keep &= share >= np.partition(share, -2 * _ATOMS)[-2 * _ATOMS]
    return place[keep], share[keep], exact[keep]


def _thinned(edges: np.ndarray, mass: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Fewer cells: close where there is mass, and evenly up to where it ends."""
    total = np.concatenate([[0.0], np.cumsum(mass)])
    if not total[-1] > 0:
        return edges[[0, -1]], np.zeros(1)
    end = int(np.searchsorted(total, total[-1] * (1 - 1e-14))) + 1
    along = 0.6 * np.arange(len(edges)) / end + 0.4 * total / total[-1]
    chosen = np.searchsorted(along, np.linspace(0, along[min(end, len(along) - 1)], cells))
    index = np.unique(np.concatenate([[0], chosen, [len(edges) - 1]]).clip(0, len(edges) - 1))
    return edges[index], np.diff(total[index])
