"""Where both slopes of the variance are one, and which universality class an activation belongs to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from firstlight import activations
from firstlight.activations import Activation
from firstlight.clean_room import clean
from firstlight.errors import DomainError

UniversalityClass = Literal["scale-invariant", "K*=0", "half-stable", "none"]


@dataclass(frozen=True)
class Criticality:
    """The critical tuning of an activation: χ_∥ = V' = 1 and χ_⊥ = χ₁ = 1 at the same variance.

    Attributes
    ----------
    universality
        ``"scale-invariant"`` (degree one: every variance is stationary), ``"K*=0"`` (the variance falls as a
        power of depth), ``"half-stable"`` (a fixed point K* > 0, stable from one side), ``"none"``.
    sigma_w2, sigma_b2, q
        C_W, C_b and K*; NaN if there is no critical tuning. q is NaN for a scale-invariant activation.
    decay
        For K*=0: q ≈ 1/(decay·l) at large depth l; else NaN.
    """

    universality: UniversalityClass
    sigma_w2: float
    sigma_b2: float
    q: float
    decay: float = math.nan


@clean
def criticality(activation: object) -> Criticality:
    r"""The critical tuning of an activation and its universality class.

    .. math:: C_W = 1/E φ'^2, \quad C_b = K - C_W E φ^2 \ge 0, \quad E[φ φ''] = 0 \text{ at } K^*

    Raises
    ------
    DomainError
        φ has a jump.

    Notes
    -----
    Roberts, Yaida and Hanin, *The Principles of Deep Learning Theory* (2022), sections 5.2 to 5.4.

    Examples
    --------
    >>> from firstlight.theory import criticality
    >>> gelu = criticality("gelu")
    >>> gelu.universality, round(gelu.sigma_b2, 6), round(gelu.sigma_w2, 6), round(gelu.q, 6)
    ('half-stable', 0.172922, 1.983058, 3.561553)
    """
    phi = activations.get(activation)
    if phi.jumps:
        raise DomainError(
            f"while looking for criticality: expected a continuous activation, got {phi.name!r}"
        )
    if phi.degree == 1:
        slope = float(activations.moments(phi, 1.0).slope)
        return Criticality("scale-invariant", 1 / slope, 0.0, math.nan)
    zero = torch.zeros(1, dtype=torch.float64)
    slope0 = float(phi.derivative(zero)[0])
    if float(phi(zero)[0]) == 0.0 and slope0 != 0.0 and 0.0 not in phi.kinks:
        small = activations.moments(phi, torch.tensor([1e-4, 2e-4], dtype=torch.float64))
        ratios = (1 - small.second / small.q / slope0**2) / small.q
        decay = float(2 * ratios[0] - ratios[1])
        if decay > 1e-6:
            return Criticality("K*=0", slope0**-2, 0.0, 0.0, decay)
    return _half_stable(phi)


def _half_stable(phi: Activation) -> Criticality:
    from scipy.optimize import brentq

    def curvature(log_q: float) -> float:
        m = activations.moments(phi, math.exp(log_q))
        return float(m.growth / m.slope) - 1

    grid = np.linspace(math.log(1e-4), math.log(1e4), 161)
    m = activations.moments(phi, torch.from_numpy(np.exp(grid)))
    values = (m.growth / m.slope - 1).numpy()
    for i in np.nonzero(values[:-1] * values[1:] < 0)[0]:
        q = math.exp(float(brentq(curvature, grid[i], grid[i + 1], xtol=1e-15, rtol=1e-14)))
        at = activations.moments(phi, q)
        w2 = 1 / float(at.slope)
        b2 = q - w2 * float(at.second)
        if b2 >= 0:
            return Criticality("half-stable", w2, b2, q)
    return Criticality("none", math.nan, math.nan, math.nan)
