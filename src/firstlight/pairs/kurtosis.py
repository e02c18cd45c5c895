"""Kurtosis matching: the approximate answer when an activation has no exact partner, or an inconvenient one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from firstlight.errors import DomainError
from firstlight.pairs.exact.numbers import nodes
from firstlight.pairs.partner import _values
from firstlight.weights import GeneralisedGamma, WeightLaw


@dataclass(frozen=True)
class KurtosisMatch:
    """The symmetric law of a family that cancels the leading finite-width correction of an activation.

    Attributes
    ----------
    rho
        ρ₄ = E φ⁴/(E φ²)² under N(0,1).
    target
        k_w = 3/ρ₄, the ratio E w⁴/(E w²)² that cancels it.
    law
        A generalised normal of unit variance with that ratio.
    remaining
        |κ₄| with uniform weights over |κ₄| with normal weights, κ₄ = (k_w ρ₄ − 3)/n: what the common
        bounded law leaves of the correction.
    """

    rho: float
    target: float
    law: WeightLaw
    remaining: float


def match_kurtosis(activation: Callable[[Tensor], Tensor]) -> KurtosisMatch:
    """The generalised normal law whose fourth moment kills κ₄ = (k_w ρ₄ − 3)/n for an activation.

    Parameters
    ----------
    activation
        φ on float64 tensors, entry by entry.

    Raises
    ------
    DomainError
        ρ₄ > 3 (no symmetric law has k_w < 1), or a target outside the family's range (1.8, 6).

    References
    ----------
    Edgeworth correction of a finite sum; derived in the theory chapter on pairs.

    Examples
    --------
    >>> import torch
    >>> from firstlight import pairs
    >>> round(pairs.match_kurtosis(torch.tanh).remaining, 3)  # uniform weights remove 96 % for tanh
    0.038
    """
    at = nodes(0.0)
    value = _values(activation, at.x)
    rho = at.mean(value**4) / at.mean(value**2) ** 2
    target = 3 / rho
    if target < 1:
        raise DomainError(
            f"while matching the kurtosis of an activation: expected ρ₄ = E φ⁴/(E φ²)² ≤ 3, got {rho:.4g}; no "
            "symmetric weight law can cancel it: subtract the mean, or use another activation"
        )
    remaining = abs(1.8 * rho - 3) / abs(3 * rho - 3) if rho != 1 else math.nan
    return KurtosisMatch(rho, target, _generalised_normal(target), remaining)


def _generalised_normal(ratio: float) -> WeightLaw:
    """The generalised normal of unit variance with E w⁴/(E w²)² = ratio, by bisection in log β."""
    from scipy.optimize import brentq

    def excess(log_beta: float) -> float:
        beta = math.exp(log_beta)
        log = math.lgamma(5 / beta) + math.lgamma(1 / beta) - 2 * math.lgamma(3 / beta)
        return log - math.log(ratio)

    low, high = 0.0, math.log(500.0)
    if not excess(high) < 0 < excess(low):
        raise DomainError(
            f"while matching kurtosis with a generalised normal: expected a ratio in (1.8, 6), got {ratio:.4g}; use "
            "a two-level law for less"
        )
    beta = math.exp(brentq(excess, low, high, xtol=1e-14))
    return GeneralisedGamma(1 / beta, beta).standardised()
