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
from firstlight.theory.designs._listed import listed

UniversalityClass = Literal["scale-invariant", "K*=0", "half-stable", "edge", "none"]

# Slopes that differ by less than this are the same; the quadrature is right to 1e-13.
_SAME = 1e-10


@dataclass(frozen=True)
class Criticality:
    """The critical tuning of an activation: χ_∥ = V' = 1 and χ_⊥ = χ₁ = 1 at the same variance.

    Attributes
    ----------
    universality
        ``"scale-invariant"`` (degree one: every variance is stationary), ``"K*=0"`` (the variance falls as a
        power of depth, or more slowly), ``"half-stable"`` (a fixed point K* > 0, stable from one side), ``"edge"``
        (V' = 1 wherever χ₁ = 1: unclipped thresholds, with no K* of their own), ``"none"``.
    sigma_w2, sigma_b2, q
        C_W, C_b and K*; NaN if there is no critical tuning, or if every point of the edge is critical. q is NaN for a
        scale-invariant activation.
    decay
        For K*=0: q ≈ 1/(decay·l) at large depth l, and 0 if φ is exactly homogeneous near zero (hardtanh), where
        the variance falls more slowly than any power; else NaN.
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
        φ has a jump, or E φ'² is infinite.

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
    if phi.jumps or phi.singular:
        raise DomainError(
            f"while looking for criticality: expected a continuous activation with a finite E φ'², got {phi.name!r} "
            f"with jumps at {listed(phi.jumps)} and slopes without a mean square at {listed(phi.singular)}; no weight "
            "scale is critical"
        )
    if phi.degree == 1:
        slope = float(activations.moments(phi, 1.0).slope)
        return Criticality("scale-invariant", 1 / slope, 0.0, math.nan)
    return _at_zero(phi) or _half_stable(phi)


def _at_zero(phi: Activation) -> Criticality | None:
    """The critical tuning at variance 0, if the variance tends to it."""
    zero = torch.zeros(1, dtype=torch.float64)
    if float(phi(zero)[0]) != 0.0:
        return None
    lines = _lines_at_zero(phi)
    if lines is not None:
        power, reach = lines
        if power == 0:
            return None
        q = (reach / 3) ** 2
        falls = float(activations.second(phi, q)) < q * power
        return Criticality("K*=0", 1 / power, 0.0, 0.0, 0.0) if falls else None
    slope0 = float(phi.derivative(zero)[0])
    if slope0 == 0.0 or 0.0 in phi.kinks:
        return None
    small = activations.moments(phi, torch.tensor([1e-4, 2e-4], dtype=torch.float64))
    ratios = (1 - small.second / small.q / slope0**2) / small.q
    decay = float(2 * ratios[0] - ratios[1])
    return Criticality("K*=0", slope0**-2, 0.0, 0.0, decay) if decay > 1e-6 else None


def _lines_at_zero(phi: Activation) -> tuple[float, float] | None:
    """Half of the squared slopes of two lines that φ is near zero, and how far; None if it is not two lines there."""
    far = [abs(k) for k in phi.kinks if k != 0]
    if not far:
        return None
    inside = min(far) * torch.tensor([1e-6, 1e-3, 0.1, 0.37, 0.71, 0.99], dtype=torch.float64)
    power = 0.0
    for side in (1.0, -1.0):
        slopes = phi(side * inside) / (side * inside)
        if float(slopes.max() - slopes.min()) > 1e-9 * float(slopes.abs().max()):
            return None
        power += 0.5 * float(slopes[-1]) ** 2
    return power, min(far)


def _half_stable(phi: Activation) -> Criticality:
    from scipy.optimize import brentq

    def curvature(log_q: float) -> float:
        m = activations.moments(phi, math.exp(log_q))
        return float(m.growth / m.slope) - 1

    grid = np.linspace(math.log(1e-4), math.log(1e4), 161)
    m = activations.moments(phi, torch.from_numpy(np.exp(grid)))
    # a threshold that nothing passes has no slope, and says nothing
    heard = (m.slope > 1e-200).numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.where(heard, (m.growth / m.slope - 1).numpy(), 0.0)
    values = np.where(np.abs(values) <= _SAME, 0.0, values)
    if not values.any() and heard.sum() > 1:
        return Criticality("edge", math.nan, math.nan, math.nan)
    for i in np.nonzero(values[:-1] * values[1:] < 0)[0]:
        q = math.exp(float(brentq(curvature, grid[i], grid[i + 1], xtol=1e-15, rtol=1e-14)))
        at = activations.moments(phi, q)
        w2 = 1 / float(at.slope)
        b2 = q - w2 * float(at.second)
        if b2 >= 0:
            return Criticality("half-stable", w2, b2, q)
    return Criticality("none", math.nan, math.nan, math.nan)
