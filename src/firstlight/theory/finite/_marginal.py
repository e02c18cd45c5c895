"""The law of one pre-activation as masses in cells, atoms and exact moments."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch

from firstlight.activations import Activation


@dataclass(frozen=True, eq=False)
class Marginal:
    """A symmetric law, described by that of |Z|.

    Attributes
    ----------
    edges, mass
        Ends of cells of |z|, from 0 up, and the probability in each cell, atoms apart; the law is uniform in a cell.
    at, share, exact
        Where |Z| has atoms, their probabilities, and whether an atom is one point: the others are places where the law
        is too dense for the grid.
    q, kurtosis
        Second moment and excess kurtosis, from exact recursions.
    lost
        Mass that the cells do not hold, with what was negative before it was set to zero.
    """

    edges: np.ndarray
    mass: np.ndarray
    at: np.ndarray
    share: np.ndarray
    exact: np.ndarray
    q: float
    kurtosis: float
    lost: float

    @classmethod
    def normal(cls, q: float, cells: int) -> Marginal:
        """N(0, q)."""
        from scipy.special import erf

        edges = math.sqrt(q) * np.linspace(0, 10, cells + 1)
        mass = np.diff(erf(edges / math.sqrt(2 * q)))
        return cls(edges, mass / mass.sum(), np.empty(0), np.empty(0), np.empty(0, bool), q, 0.0, 0.0)

    @property
    def atom(self) -> float:
        """P(Z = 0)."""
        return float(self.share[(self.at == 0) & self.exact].sum())

    def split(self, places: Iterable[float]) -> Marginal:
        """The same law with further ends of cells."""
        new = [abs(p) for p in places if 0 < abs(p) < self.edges[-1]]
        edges = np.union1d(self.edges, new)
        total = np.concatenate([[0.0], np.cumsum(self.mass)])
        return replace(self, edges=edges, mass=np.diff(np.interp(edges, self.edges, total)))

    def cdf(self, z: np.ndarray, *, left: bool = False) -> np.ndarray:
        """P(Z ≤ z), or P(Z < z), at z ≥ 0."""
        total = np.concatenate([[0.0], np.cumsum(self.mass)])
        size = np.interp(z, self.edges, total)
        order = np.argsort(self.at)
        steps = np.concatenate([[0.0], np.cumsum(self.share[order])])
        size = size + steps[np.searchsorted(self.at[order], z, side="left" if left else "right")]
        at_zero = float(self.share[self.at == 0].sum())
        return np.where((z == 0) & left, 0.5 - at_zero / 2, 0.5 + size / 2)

    def ks(self, scale: float) -> float:
        """Largest distance of the cdf of z/scale to that of N(0, 1); at an atom both sides count."""
        from scipy.special import ndtr

        if not scale > 0:
            return 0.5
        z = np.concatenate([self.edges, self.at])
        normal = ndtr(z / scale)
        gap = np.maximum(np.abs(self.cdf(z) - normal), np.abs(self.cdf(z, left=True) - normal))
        return float(max(gap.max(), 1 - ndtr(z.max() / scale)))

    def moments(self, phi: Activation) -> tuple[float, float]:
        """E φ(Z)² and E φ(Z)⁴.

        Where φ is asymptotically linear its squares are taken apart as c·z² and a rest: the moments of z² and z⁴ are
        exact, and only the rest is summed over cells. For φ of degree one there is no rest.
        """
        fine = self.split(phi.kinks)
        middle = (fine.edges[1:] + fine.edges[:-1]) / 2
        third = np.diff(fine.edges) / math.sqrt(12)  # two points that have the cell's own mean square
        z = np.concatenate([middle - third, middle + third, fine.at])
        weight = np.concatenate([fine.mass / 2, fine.mass / 2, fine.share])
        sides = _sides(phi, z)
        far = 1e3 * max(float(fine.edges[-1]), math.sqrt(self.q))
        result = []
        for order, moment in ((2, self.q), (4, (self.kurtosis + 3) * self.q**2)):
            leading = _leading(phi, far, order)
            if leading == 0:
                result.append(float(weight @ (sides**order).mean(0)))
                continue
            rest = (sides**order).mean(0) - leading * z**order
            rest[np.abs(rest) < 1e-13 * leading * z**order] = 0.0
            result.append(leading * moment + float(weight @ rest))
        return result[0], result[1]


def _sides(phi: Activation, z: np.ndarray) -> np.ndarray:
    """|φ| at z and at −z."""
    return np.stack([np.abs(phi(torch.from_numpy(side * z)).numpy()) for side in (1.0, -1.0)])


def _leading(phi: Activation, far: float, order: int) -> float:
    """Mean of (|φ(±z)|/z)^order far out if φ is linear there, else 0."""
    near_far = np.array([far, 1e3 * far])
    slopes = _sides(phi, near_far) / near_far
    if not np.isfinite(slopes).all():
        return 0.0
    linear = np.abs(slopes[:, 0] - slopes[:, 1]) <= 1e-2 * slopes.max()
    return float((slopes[:, 1] ** order).mean()) if linear.all() and slopes[:, 1].max() > 1e-9 else 0.0
