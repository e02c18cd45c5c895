"""E φ(u)φ(v) of piecewise linear activations, by one integral over an angle that is smooth for all kinks."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from firstlight.activations import Activation

_NODES = 64
# Nodes gather towards the correlation that is asked for, where two close kinks meet in a thin layer.
_POWER = 4
# The cost grows with the square of the kinks.
_MOST_KINKS = 40


@dataclass(frozen=True, eq=False)
class PiecewiseLinear:
    r"""φ(z) = φ(0-side line) + Σ sᵢ (z − tᵢ)₊, with its pair moments.

    .. math::
        E φ'(u)φ'(v) = E φ'(u)\, E φ'(v) + \sum_{ij} \frac{s_i s_j}{2π} \int_0^{\arcsin c}
        \exp\Big(-\frac{x_i^2 - 2 x_i y_j \sin α + y_j^2}{2 \cos^2 α}\Big) dα, \quad
        x_i = \tfrac{t_i}{\sqrt{q_1}},\; y_j = \tfrac{t_j}{\sqrt{q_2}}

    by Price's theorem, as φ'' is a sum of point masses; E φ(u)φ(v) is the integral of that once more.

    Attributes
    ----------
    at, steps
        Kinks tᵢ and the steps sᵢ of the slope there.
    slope, intercept
        The line left of all kinks.

    Examples
    --------
    >>> import torch
    >>> from firstlight import activations
    >>> from firstlight.theory import PiecewiseLinear
    >>> found = PiecewiseLinear.of(activations.get("hardtanh"))
    >>> found.at, found.steps
    ((-1.0, 1.0), (1.0, -1.0))
    >>> one = torch.ones((), dtype=torch.float64)
    >>> round(float(found.pair(one, one, one)[0]), 6)  # E φ(z)²
    0.516059
    """

    at: tuple[float, ...]
    steps: tuple[float, ...]
    slope: float
    intercept: float

    @classmethod
    def of(cls, phi: Activation) -> PiecewiseLinear | None:
        """The lines of φ, or None if it is not continuous and linear between its kinks."""
        if not 0 < len(phi.kinks) <= _MOST_KINKS or phi.jumps:
            return None
        ends = [phi.kinks[0] - 3.0, *phi.kinks, phi.kinks[-1] + 3.0]
        inner = torch.tensor([0.11, 0.37, 0.5, 0.83], dtype=torch.float64)
        slopes = []
        for a, b in itertools.pairwise(ends):
            found = phi.derivative(a + (b - a) * inner)
            if float(found.max() - found.min()) > 1e-12:
                return None
            slopes.append(float(found[0]))
        left = torch.tensor([ends[0]], dtype=torch.float64)
        far = torch.tensor([[ends[0] - 40.0], [ends[-1] + 40.0]], dtype=torch.float64)
        known = [float(phi.derivative(point)[0]) for point in far]
        if abs(known[0] - slopes[0]) > 1e-12 or abs(known[1] - slopes[-1]) > 1e-12:
            return None
        steps = tuple(b - a for a, b in itertools.pairwise(slopes))
        return cls(phi.kinks, steps, slopes[0], float(phi(left)[0]) - slopes[0] * ends[0])

    def _means(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """E φ and E φ' at variances q."""
        std = q.clamp_min(1e-300).sqrt()
        mean, slope = torch.full_like(q, self.intercept), torch.full_like(q, self.slope)
        for t, s in zip(self.at, self.steps):
            x = t / std
            above = torch.special.ndtr(-x)
            mean = mean + s * (std * torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi) - t * above)
            slope = slope + s * above
        return mean, slope

    def pair(
        self, q1: Float64[Tensor, "*a"], q2: Float64[Tensor, "*b"], c: Float64[Tensor, "*c"]
    ) -> tuple[Float64[Tensor, "*d"], Float64[Tensor, "*d"]]:
        """E φ(u)φ(v) and E φ'(u)φ'(v) for variances q₁, q₂ > 0 and correlation c, which broadcast."""
        (mean1, slope1), (mean2, slope2) = self._means(q1), self._means(q2)
        std1, std2 = q1.clamp_min(1e-300).sqrt(), q2.clamp_min(1e-300).sqrt()
        side = torch.where(c < 0, -1.0, 1.0).to(torch.float64)
        size = torch.asin(c.abs())
        gap = torch.sqrt((1 - c.abs()) * (1 + c.abs()))
        nodes, weights = _rule()
        value, slope = torch.zeros_like(c), torch.zeros_like(c)
        masses = [(t, r, s * z) for t, s in zip(self.at, self.steps) for r, z in zip(self.at, self.steps)]
        for node, weight in zip(nodes, weights):
            # α = size·node; cos α by the distance to the end, which keeps its digits near c = ±1
            rest = size * (1 - node)
            sine = c.abs() * torch.cos(rest) - gap * torch.sin(rest)
            cosine2 = (gap * torch.cos(rest) + c.abs() * torch.sin(rest)).square().clamp_min(1e-300)
            total = torch.zeros_like(c)
            for t, r, mass in masses:
                x, y = t / std1, side * r / std2
                total = total + mass * torch.exp(-((x - y) ** 2) / (2 * cosine2) - x * y / (1 + sine))
            total = total * (size * (weight / (2 * math.pi)))
            slope = slope + total
            value = value + total * (c.abs() - sine)
        through = slope1 * slope2
        return mean1 * mean2 + std1 * std2 * (c * through + value), through + side * slope


def _rule() -> tuple[list[float], list[float]]:
    """Gauss–Legendre on [0, 1] in s, with 1 − α ∝ (1 − s)^power."""
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    s = (1 - nodes) / 2
    return (1 - s**_POWER).tolist(), (weights / 2 * _POWER * s ** (_POWER - 1)).tolist()
