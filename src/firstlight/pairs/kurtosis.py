"""Kurtosis matching: the approximate answer when an activation has no exact partner, or an inconvenient one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.pairs._reading import ActivationLike, read
from firstlight.weights import GeneralisedGamma, PowerUniform, Rademacher, WeightLaw

_SAME = 1e-9  # relative: how near a moment by quadrature is to the one it stands for


@dataclass(frozen=True)
class KurtosisMatch:
    """The symmetric law of a family that cancels the leading finite-width correction of an activation.

    Attributes
    ----------
    rho
        ρ₄ = E φ⁴/(E φ²)² under N(0,1).
    target
        k_w = 3/ρ₄, the ratio E w⁴/(E w²)² that cancels it, between 1 and 3.
    law
        The law of unit variance with that ratio: a generalised normal above 1.8, the ratio of the uniform law; a power
        of a uniform variable below; Rademacher at 1.
    remaining
        |κ₄| with uniform weights over |κ₄| with normal weights, κ₄ = (k_w ρ₄ − 3)/n: what the common
        bounded law leaves of the correction. NaN where normal weights leave nothing (ρ₄ = 1).
    """

    rho: float
    target: float
    law: WeightLaw
    remaining: float


@clean
def match_kurtosis(activation: ActivationLike) -> KurtosisMatch:
    r"""The law whose fourth moment kills κ₄ = (k_w ρ₄ − 3)/n for an activation.

    For k_w between 1 and 1.8 the law is that of ±U^{1/κ}, scaled to unit variance:

    .. math:: k_w = \frac{(κ+2)^2}{κ(κ+4)}, \qquad κ = 2\sqrt{1 + \frac{1}{k_w - 1}} - 2

    Parameters
    ----------
    activation
        φ: a name, or any callable of one float64 tensor.

    Raises
    ------
    DomainError
        ρ₄ > 3 (no symmetric law has k_w < 1), a φ that is 0, or an activation that is not a function of one variable.

    References
    ----------
    Edgeworth correction of a finite sum; derived in the theory chapter on pairs.

    Examples
    --------
    >>> from firstlight import pairs
    >>> round(pairs.match_kurtosis("tanh").remaining, 3)  # uniform weights remove 96 % for tanh
    0.038
    >>> pairs.match_kurtosis("linear").law
    Rademacher()
    """
    seen = read(activation)
    square = seen.mean(seen.value**2)
    if not square > 0:
        raise DomainError(
            "while matching the kurtosis of an activation: expected E φ² > 0, got 0; a φ that is 0 has no kurtosis"
        )
    rho = seen.mean((seen.value / math.sqrt(square)) ** 4)
    target = 3 / rho
    if target < 1 - _SAME:
        raise DomainError(
            f"while matching the kurtosis of an activation: expected ρ₄ = E φ⁴/(E φ²)² ≤ 3, got {rho:.4g}; no "
            "symmetric weight law can cancel it: subtract the mean, or use another activation"
        )
    remaining = abs(1.8 * rho - 3) / abs(3 * rho - 3) if rho > 1 + _SAME else math.nan
    return KurtosisMatch(rho, target, _law_of(target), remaining)


def _law_of(ratio: float) -> WeightLaw:
    """The law of unit variance with E w⁴/(E w²)² = ratio, 1 ≤ ratio ≤ 3."""
    if ratio < 1 + _SAME:
        return Rademacher()
    if ratio <= 1.8:
        return PowerUniform(2 * math.sqrt(1 + 1 / (ratio - 1)) - 2).standardised()
    return _generalised_normal(ratio)


def _generalised_normal(ratio: float) -> WeightLaw:
    """The generalised normal of unit variance with E w⁴/(E w²)² = ratio > 1.8, by a bracketed root in log β."""
    from scipy.optimize import brentq

    def excess(log_beta: float) -> float:
        beta = math.exp(log_beta)
        log = math.lgamma(5 / beta) + math.lgamma(1 / beta) - 2 * math.lgamma(3 / beta)
        return log - math.log(ratio)

    high = math.log(500.0)
    if excess(high) > 0:  # nearly uniform: 1.8 + 7e-6
        return PowerUniform(1.0).standardised()
    beta = math.exp(brentq(excess, 0.0, high, xtol=1e-14))
    return GeneralisedGamma(1 / beta, beta).standardised()
