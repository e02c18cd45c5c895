"""E φ(u)φ(v) of functions that are constant between their jumps, as far as a Gaussian sees."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch

from firstlight.activations import Activation

# Jumps further out than this many standard deviations are not met; the cost grows with the square of the others.
_SEEN, _MOST_JUMPS = 9.5, 400
_INSIDE = (0.003, 0.21, 0.5, 0.83, 0.997)


@dataclass(frozen=True, eq=False)
class Steps:
    r"""φ(z) = constant + Σ hᵢ 1[z > tᵢ] at one variance.

    .. math::
        -\frac{d}{dθ} E φ(u)φ(v) = \sum_{ij} \frac{h_i h_j}{2π}
        \exp\Big(-\frac{x_i^2 - 2 x_i x_j \cos θ + x_j^2}{2 \sin^2 θ}\Big), \quad x_i = \frac{t_i}{\sqrt q}

    at correlation cos θ, by Price's theorem, as φ' is a sum of point masses.

    Attributes
    ----------
    at, heights
        The jumps in standard deviations, and how much φ rises there.
    """

    at: np.ndarray
    heights: np.ndarray

    @classmethod
    def of(cls, phi: Activation, q: float) -> Steps | None:
        """The steps of φ, or None if φ is not constant between few jumps."""
        reach = _SEEN * math.sqrt(q)
        seen = [i for i, t in enumerate(phi.jumps) if abs(t) < reach]
        if not 0 < len(seen) <= _MOST_JUMPS or any(k not in phi.jumps for k in phi.kinks if abs(k) < reach):
            return None
        jumps = np.array([phi.jumps[i] for i in seen])
        ends = np.array(list(itertools.pairwise([-reach, *jumps, reach])))
        inner = ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * np.array(_INSIDE)
        values = phi(torch.from_numpy(inner)).numpy()
        if np.ptp(values, axis=1).max() > 1e-14 * np.abs(values).max():
            return None
        return cls(jumps / math.sqrt(q), np.diff(values[:, 2]))

    def rate(self, theta: np.ndarray) -> np.ndarray:
        """−d E φ(u)φ(v)/dθ at angles between 0 and π."""
        cosine, square = np.cos(theta), 2 * np.sin(theta) ** 2
        # next to π the point and its mirror image meet, as two points do next to 0
        side = np.where(cosine < 0, -1.0, 1.0)
        total = np.zeros_like(theta)
        column = (-1,) + (1,) * theta.ndim
        at, heights = self.at.reshape(column), self.heights.reshape(column)
        for x, height in zip(self.at, self.heights):
            y = side * at
            power = (x - y) ** 2 / square + x * y / (1 + np.abs(cosine))
            total += height * (heights * np.exp(-power)).sum(0)
        return total / (2 * math.pi)
