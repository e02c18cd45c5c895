"""Scales: the edge of chaos of the activation that a weight reads, at a variance that suits the depth."""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from firstlight import activations
from firstlight.activations import Activation
from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.theory import edge_of_chaos

# inputs whose second moment differs from 1 by a factor of a hundred must be scaled; no weight can compensate for them
_USUAL = 100.0


@clean
def critical_scales(phi: Activation | None, depth: int = 1) -> tuple[float, float, float]:
    """(σ_w, σ_b, q) on the edge of chaos of φ, at a stable q of about 3/depth where the edge is a curve.

    On the edge 1 − c falls as κ/ℓ with the depth ℓ, and κ grows as q falls: a deep network starts closer to linear.
    Where no point is stable, σ_w = 1/√E φ'² at q = 1; where φ jumps and there is no edge, the gain that keeps the
    second moment.

    Examples
    --------
    >>> from firstlight import activations
    >>> from firstlight.recipes import critical_scales
    >>> round(critical_scales(activations.get("relu"))[0] ** 2, 6)
    2.0
    """
    return (1.0, 0.0, 1.0) if phi is None else _critical(_Shape(phi), depth)


def usual_moment(q: float) -> float:
    """The second moment of the inputs that a first weight is written for: 1 where the inputs themselves must be scaled.

    A small weight on large inputs gives the right pre-activations, but a gradient step then moves the pre-activations
    by the inputs' squared size: plain gradient descent then diverges at rates at which it learnt before.
    """
    return q if math.isfinite(q) and 1.0 / _USUAL <= q <= _USUAL else 1.0


class _Shape:
    """An activation that equals another one with the same values, as the copies of a module in a network have."""

    def __init__(self, phi: Activation) -> None:
        self.phi = phi
        grid = torch.linspace(-6, 6, 193, dtype=torch.float64)
        self.values = phi(grid).detach().numpy().tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shape) and self.values == other.values

    def __hash__(self) -> int:
        return hash(self.values)


@lru_cache(maxsize=256)
@clean
def _critical(shape: _Shape, depth: int) -> tuple[float, float, float]:
    phi = shape.phi
    try:
        edge = edge_of_chaos(phi)
    except DomainError:  # a jump
        return float(activations.gain(phi)), 0.0, 1.0
    target = min(1.0, 3.0 / max(depth, 1))
    known = [i for i in range(len(edge.q)) if edge.stable[i] and edge.q[i] > 0]
    if not known:
        return 1.0 / math.sqrt(float(activations.moments(phi, 1.0).slope)), 0.0, 1.0
    best = min(known, key=lambda i: abs(math.log(edge.q[i] / target)))
    # any q is stationary for a homogeneous activation
    q = float(edge.q[best]) if edge.kind == "curve" else 1.0
    return float(edge.sigma_w[best]), float(edge.sigma_b[best]), q
