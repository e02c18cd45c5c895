"""Rounding to few bits: the error of the best even quantiser of a normal entry."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from firstlight.clean_room import clean
from firstlight.errors import DomainError


@dataclass(frozen=True)
class UniformQuantiser:
    """An even quantiser of N(0, 1) with 2^bits levels (k + ½)·step, symmetric about zero.

    Attributes
    ----------
    bits
        Number of bits.
    step
        Distance of neighbouring levels.
    error
        Mean squared error for N(0, 1), clipping included: the noise over the signal of one rounding.
    """

    bits: int
    step: float
    error: float


def _error(step: float, levels: int) -> float:
    """E (G − Q(G))², by the integrals of each cell: 2 Σ ∫ (g − level)² p(g) dg over the positive cells."""
    root = math.sqrt(2)

    def density(x: float) -> float:
        return math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi) if math.isfinite(x) else 0.0

    total = 0.0
    for k in range(levels // 2):
        low, high = k * step, math.inf if k == levels // 2 - 1 else (k + 1) * step
        y = (k + 0.5) * step
        mass = 0.5 * (math.erfc(low / root) - (math.erfc(high / root) if math.isfinite(high) else 0.0))
        first = density(low) - density(high)
        square = mass + low * density(low) - (high * density(high) if math.isfinite(high) else 0.0)
        total += square - 2 * y * first + y * y * mass
    return 2 * total


@lru_cache(maxsize=32)
@clean
def uniform_quantiser(bits: int) -> UniformQuantiser:
    r"""The even quantiser with 2^bits levels whose mean squared error for N(0, 1) is least.

    .. math:: Q(z) = (\lceil z/Δ \rceil - \tfrac12)\,Δ \text{ clipped to } 2^b \text{ levels}, \qquad
              Δ = \arg\min E (G - Q(G))^2

    Parameters
    ----------
    bits
        From 1 to 12.

    Raises
    ------
    DomainError
        Bits outside this range.

    Notes
    -----
    Max (1960), *Quantizing for minimum distortion*, table II, has 1 to 36 levels: .3634, .1188, .03744, .01154 and
    .003495 for 1 to 5 bits.

    Examples
    --------
    >>> from firstlight import activations
    >>> [round(activations.uniform_quantiser(b).error, 6) for b in (1, 2, 3, 4)]
    [0.36338, 0.118846, 0.03744, 0.011543]
    """
    if isinstance(bits, bool) or int(bits) != bits or not 1 <= bits <= 12:
        raise DomainError(
            f"while looking for a quantiser: expected a whole number of bits from 1 to 12, got {bits}"
        )
    from scipy.optimize import minimize_scalar

    levels = 2 ** int(bits)
    wide = 2 * (math.sqrt(2 * bits * math.log(2)) + 2) / levels
    found = minimize_scalar(
        _error,
        bounds=(wide / 50, 2 * wide),
        args=(levels,),
        method="bounded",
        options={"xatol": 1e-12 * wide},
    )
    return UniformQuantiser(int(bits), float(found.x), float(found.fun))
