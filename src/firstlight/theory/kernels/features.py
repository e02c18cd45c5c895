"""What a layer of random features keeps of its input: a linear part and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

from firstlight import activations, gauss
from firstlight.clean_room import clean
from firstlight.errors import DomainError


@dataclass(frozen=True)
class Features:
    """One layer of random features at input scale r.

    Attributes
    ----------
    r
        E z² before the activation.
    second
        E φ(√r z)²: the next layer's r.
    linear
        κ₁ = E[√r z φ(√r z)]/r.
    noise
        κ* with κ*² = E φ² − r κ₁² (− (E φ)²): what a linear model sees as noise.
    """

    r: float
    second: float
    linear: float
    noise: float


@clean
def deep_features(activation: object, *, depth: int = 1, r: float = 1.0) -> tuple[Features, ...]:
    r"""Linearised covariance of deep random features, layer by layer: :math:`κ_1^2 WΩW^T/d + κ_*^2 I`.

    .. math:: r' = E φ(\sqrt r z)^2, \quad κ_1 = E[\sqrt r z\, φ(\sqrt r z)]/r, \quad κ_*^2 = E φ^2 - (Eφ)^2 - r κ_1^2

    Raises
    ------
    DomainError
        depth < 1 or r ≤ 0.

    Notes
    -----
    Schröder et al. (2023), *Deterministic equivalent and error universality of deep random features learning*,
    for odd φ; the mean (E φ)² of others is a rank-one part of the covariance, and is taken out here.

    Examples
    --------
    >>> from firstlight.theory import deep_features
    >>> [(round(f.linear, 7), round(f.noise, 7)) for f in deep_features("tanh", depth=2)]
    [(0.6057055, 0.1655757), (0.7635496, 0.0810776)]
    """
    if depth < 1 or not (r > 0 and math.isfinite(r)):
        raise DomainError(
            f"while following random features: expected depth ≥ 1 and r > 0, got {depth} and {r}"
        )
    phi, found, now = activations.get(activation), [], float(r)
    for _ in range(depth):
        m = activations.moments(phi, now)
        first = float(gauss.expect(lambda z: z * phi(z), 0.0, math.sqrt(now), kinks=phi.kinks)) / now
        rest = float(m.second - m.mean**2) - now * first**2
        found.append(Features(now, float(m.second), first, math.sqrt(max(rest, 0.0))))
        now = float(m.second)
    return tuple(found)
