"""The law of one term σ_w/√n · W φ(Z) of a pre-activation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from firstlight.activations import Activation
from firstlight.errors import DomainError
from firstlight.theory.finite._marginal import Marginal, _sides
from firstlight.weights import WeightLaw

_GROUPS = 600
# Cells of |φ| that hold this much mass within this share of the root mean square act as one atom.
_DENSE, _CLOSE = 1e-3, 2e-5


@dataclass(frozen=True, eq=False)
class Summand:
    """The law of |S|.

    Attributes
    ----------
    at, share, exact
        Atoms of |S|, their probabilities, and whether an atom is one point.
    below
        x ↦ P(|S| ≤ x) without the atoms, for an array of x ≥ 0.
    marks
        Where the density of |S| may jump.
    scale
        Root mean square of S.
    direct
        Whether ``below`` is quick at any number of points.
    """

    at: np.ndarray
    share: np.ndarray
    exact: np.ndarray
    below: Callable[[np.ndarray], np.ndarray]
    marks: np.ndarray
    scale: float
    direct: bool

    @property
    def smooth_mass(self) -> float:
        """Probability outside the atoms."""
        return float(self.below(np.array([1e200]))[0])


def levels(law: WeightLaw) -> tuple[np.ndarray, np.ndarray] | None:
    """Magnitudes and probabilities of a discrete law; None for a law with a density.

    Raises
    ------
    DomainError
        A discrete law with more levels than the grid can hold.
    """
    if law.has_density:
        return None
    magnitude = np.unique(law._isf(torch.linspace(1e-5, 1, 4097, dtype=torch.float64)).numpy())
    above = law._sf(torch.from_numpy(magnitude)).numpy()
    probability = -np.diff(above, prepend=1.0)
    if len(magnitude) > 64 or abs(probability.sum() - 1) > 1e-9:
        raise DomainError(
            f"while propagating a density: expected a discrete weight law of at most 64 magnitudes, got {law.name}; "
            "simulate the network instead"
        )
    return magnitude, probability


def magnitude_cdf(law: WeightLaw) -> Callable[[np.ndarray], np.ndarray]:
    """P(|W| ≤ t) of a law with a density, by a table where that is needed."""
    from firstlight import weights

    if isinstance(law, weights.Normal):
        from scipy.special import erf

        return lambda t: erf(t / math.sqrt(2))
    top = float(law._isf(torch.tensor([1e-15], dtype=torch.float64))[0])
    knots = np.concatenate([[0.0], np.geomspace(1e-9 * top, top, 16_000), np.linspace(0, top, 4001)[1:]])
    knots = np.unique(np.append(knots, min(law.support[1], top)))
    values = 1 - law._sf(torch.from_numpy(knots)).numpy()
    return lambda t: np.interp(t, knots, values)


def summand(
    before: Marginal,
    phi: Activation,
    scale: float,
    law: WeightLaw,
    cdf: Callable[[np.ndarray], np.ndarray] | None,
) -> Summand:
    """The law of scale·|W φ(Z)|; ``cdf`` is that of |W|, None for a discrete law."""
    fine = before.split(phi.kinks)
    # ends are taken from inside the cell, where a jump of φ at the end does not count
    low, high = fine.edges[:-1], fine.edges[1:]
    inside = 1e-9 * (high - low)
    ends = np.stack([_sides(phi, low + inside), _sides(phi, high - inside)])
    first, last = ends.min(0).reshape(-1), ends.max(0).reshape(-1)
    mass = np.concatenate([fine.mass, fine.mass]) / 2
    values = _sides(phi, fine.at).reshape(-1)
    shares = np.concatenate([fine.share, fine.share]) / 2
    square = (first**2 + first * last + last**2) / 3
    rms = math.sqrt(float(mass @ square + shares @ values**2))
    if cdf is not None:
        return _with_density(square, mass, values, shares, scale, rms, cdf, law)
    dense = mass * _CLOSE * rms > _DENSE * (last - first)
    dense &= mass > 0
    values = np.concatenate([values, np.sqrt(square[dense])])
    shares = np.concatenate([shares, mass[dense]])
    exact = np.concatenate([fine.exact, fine.exact, last[dense] == first[dense]])
    keep = ~dense & (mass > 0)
    atoms = _joined(values, shares, exact, _CLOSE * rms)
    return _discrete(first[keep], last[keep], mass[keep], atoms, scale, rms, law)


_Atoms = tuple[np.ndarray, np.ndarray, np.ndarray]


def _joined(values: np.ndarray, shares: np.ndarray, exact: np.ndarray, width: float) -> _Atoms:
    """Atoms at one place, and those within a width that are not exact, act as one at their mean."""
    parts = []
    for flag, near in ((True, 1e-10 * width), (False, width)):
        v, p = values[exact == flag], shares[exact == flag]
        key = np.where(v == 0, -1.0, np.round(v / near) if near > 0 else 0.0)
        kinds, group = np.unique(key, return_inverse=True)
        share = np.bincount(group, p, len(kinds))
        mean = np.bincount(group, p * v, len(kinds)) / np.maximum(share, 1e-300)
        parts.append((mean, share, np.full(len(share), flag)))
    at, share, which = (np.concatenate(column) for column in zip(*parts, strict=True))
    keep = share > 0
    return at[keep], share[keep], which[keep]


def _with_density(
    square: np.ndarray,
    mass: np.ndarray,
    values: np.ndarray,
    shares: np.ndarray,
    scale: float,
    rms: float,
    cdf: Callable[[np.ndarray], np.ndarray],
    law: WeightLaw,
) -> Summand:
    """A weight with a density leaves an atom at 0 only, where φ is 0."""
    size = scale * np.sqrt(np.concatenate([square, values**2]))
    weight = np.concatenate([mass, shares])
    off = size == 0
    zero = float(weight[off].sum())
    held = ~off & (weight > 0)
    size, weight = size[held], weight[held]
    order = np.argsort(size, kind="stable")
    size, weight = size[order], weight[order]
    if len(size):
        # groups of equal mass and of equal ratio; each acts at its mean square
        middle = max(float(np.interp(0.5, np.cumsum(weight) / weight.sum(), size)), 1e-300)
        rank = np.cumsum(weight) / weight.sum()
        place = rank + np.arcsinh(size / middle) / np.arcsinh(size[-1] / middle)
        group = np.minimum((place / 2 * _GROUPS).astype(int), _GROUPS - 1)
        total = np.bincount(group, weight, _GROUPS)
        keep = total > 0
        size = np.sqrt(np.bincount(group, weight * size**2, _GROUPS)[keep] / total[keep])
        weight = total[keep]

    def below(x: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", divide="ignore"):  # far beyond sizes that are next to nothing
            parts = [
                cdf(block[:, None] / size) @ weight for block in np.array_split(x, max(1, len(x) // 256))
            ]
        return np.concatenate(parts) if len(size) else np.zeros_like(x)

    edge = law.support[1]
    marks = scale * edge * values[shares > 1e-6] if math.isfinite(edge) else np.empty(0)
    count = int(zero > 0)
    atoms = np.zeros(count), np.full(count, zero), np.ones(count, bool)
    return Summand(*atoms, below, np.unique(marks), scale * rms * math.sqrt(law.variance), False)


def _discrete(
    first: np.ndarray,
    last: np.ndarray,
    mass: np.ndarray,
    atoms: _Atoms,
    scale: float,
    rms: float,
    law: WeightLaw,
) -> Summand:
    """A discrete weight: the law of |φ| as ramps of its cells and atoms, once for each magnitude."""
    found = levels(law)
    assert found is not None
    magnitude, probability = found
    # G(y) = Σ mass · ramp(first, last): slopes change at the ends of the cells
    tilt = mass / np.maximum(last - first, 1e-300)
    place = np.concatenate([first, last])
    order = np.argsort(place, kind="stable")
    place, slope = place[order], np.cumsum(np.concatenate([tilt, -tilt])[order])
    height = np.concatenate([[0.0], np.cumsum(slope[:-1] * np.diff(place))]) if len(place) else np.zeros(0)
    positive = magnitude > 0

    def below(x: np.ndarray) -> np.ndarray:
        if not len(place):
            return np.zeros_like(x)
        total = float(mass.sum())
        parts = (
            p * np.interp(x / (scale * a), place, np.clip(height, 0, total), left=0.0, right=total)
            for a, p in zip(magnitude[positive], probability[positive], strict=True)
        )
        return np.asarray(sum(parts))

    values, shares, exact = atoms
    at = np.multiply.outer(scale * magnitude, values).reshape(-1)
    share = np.multiply.outer(probability, shares).reshape(-1)
    # a weight of 0 is exact whatever it multiplies
    which = np.logical_or.outer(magnitude == 0, exact).reshape(-1)
    none = float(probability[~positive].sum()) * float(mass.sum())
    at, share, which = np.append(at, 0.0), np.append(share, none), np.append(which, True)
    atoms = _joined(at, share, which, _CLOSE * scale * rms)
    return Summand(*atoms, below, np.empty(0), scale * rms * math.sqrt(law.variance), True)
