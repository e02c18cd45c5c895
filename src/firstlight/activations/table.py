"""Every activation of the registry in one table: what it does to normal entries of variance 1."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from firstlight.activations.activation import Activation
from firstlight.activations.moments import fourth, moments
from firstlight.activations.registry import get, names
from firstlight.clean_room import clean
from firstlight.errors import DomainError

# Parameters of the families that have no default.
EXAMPLES = {"threshold": "threshold(0.1, 0)", "crelu": "crelu(1)", "cst": "cst(1)"}


@dataclass(frozen=True)
class ActivationRow:
    """One activation at variance q = 1.

    Attributes
    ----------
    name
        How ``activations.get`` finds it.
    mean, second, slope
        E φ, E φ² and E φ'² (of the slope that the backward pass uses).
    fourth
        ρ₄ = E φ⁴/(E φ²)²; 3 for normal outputs. Its excess over 3 sets how fast kurtosis grows with depth.
    dc_share
        (E φ)²/E φ².
    zeros
        Share of the outputs that are exactly zero.
    sigma_w2, sigma_b2
        The edge of chaos whose stationary variance is 1; sigma_b2 below 0 means that there is none.
    """

    name: str
    mean: float
    second: float
    slope: float
    fourth: float
    dc_share: float
    zeros: float
    sigma_w2: float
    sigma_b2: float


@clean
def zero_mass(phi: Activation, q: float) -> float:
    """The probability that φ(√q G) is exactly zero."""
    edges = sorted({*phi.kinks})
    if not edges:
        return 0.0
    bounds = [-math.inf, *edges, math.inf]
    total = 0.0
    for low, high in itertools.pairwise(bounds):
        a, b = max(low, -1e3), min(high, 1e3)
        inside = a + (b - a) * torch.tensor([0.11, 0.37, 0.5, 0.71, 0.93], dtype=torch.float64)
        if b > a and bool((phi(inside) == 0).all()):
            total += 0.5 * (math.erf(high / math.sqrt(2 * q)) - math.erf(low / math.sqrt(2 * q)))
    return total


@clean
def table(which: Iterable[str | Activation] | None = None) -> tuple[ActivationRow, ...]:
    """Moments of every activation of the registry, families with their usual parameters, at variance 1.

    Parameters
    ----------
    which
        Names or activations; the library's own, without those that a user has registered, if not given.

    Returns
    -------
    tuple of ActivationRow
        In the order of the names. ``theory.activation_table`` adds the universality class and K*.

    Examples
    --------
    >>> from firstlight import activations
    >>> (relu,) = activations.table(["relu"])
    >>> round(relu.dc_share, 6), relu.zeros, round(relu.fourth, 9), round(relu.sigma_w2, 9)
    (0.31831, 0.5, 6.0, 2.0)
    """
    if which is not None:
        return tuple(_row(get(x)) for x in which)
    every = (get(EXAMPLES.get(name, name)) for name in names())
    return tuple(_row(phi) for phi in every if phi.of_library)


def _row(phi: Activation) -> ActivationRow:
    m = moments(phi, 1.0)
    second, slope = float(m.second), float(m.slope)
    try:
        rho = float(fourth(phi, 1.0)) / second**2 if second > 0 else math.nan
    except DomainError:  # a fourth moment that diverges
        rho = math.inf
    w2 = 1 / slope if slope > 0 else math.inf
    return ActivationRow(
        name=phi.name,
        mean=float(m.mean),
        second=second,
        slope=slope,
        fourth=rho,
        dc_share=float(m.dc_share),
        zeros=zero_mass(phi, 1.0),
        sigma_w2=w2,
        sigma_b2=_bias(1.0 - w2 * second) if math.isfinite(w2) else -math.inf,
    )


def _bias(value: float) -> float:
    """What rounding leaves of an exact zero is zero."""
    return 0.0 if abs(value) <= 4e-14 else value
