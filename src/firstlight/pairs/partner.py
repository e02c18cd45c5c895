"""The partner of any symmetric weight law, the weights of any odd activation, and why there may be none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.pairs._reading import REACH_OF_MOMENTS, ActivationLike, Reading, read
from firstlight.pairs.exact._families import PointMagnitude, ScaledMagnitude, closed_partner
from firstlight.pairs.exact.function import ExactActivation
from firstlight.pairs.exact.inversion import MellinMagnitude, NoPartnerError
from firstlight.pairs.exact.magnitude import Magnitude
from firstlight.pairs.exact.zeros import zero_in_strip, zero_of
from firstlight.pairs.pair import Pair, from_exact
from firstlight.weights import Discrete, Normal, ScaledLaw, WeightLaw, get

_GAUSS = Normal()


@checked
@clean
def partner(law: WeightLaw | str, *, split: float = 0.5, numerical: bool = False) -> Pair:
    """The pair of a symmetric weight law: the φ for which W φ(X) ~ N(0,1).

    E|Y|^s = E|G|^s / E|W|^s has to be the Mellin transform of a law of |φ(X)|. Closed forms are used where one
    is known; otherwise the transform is inverted numerically.

    Parameters
    ----------
    law
        The weights, at any scale; a law or its name.
    split
        Share of X on which φ is negative: ½ odd, 0 positive.
    numerical
        Invert numerically even where a closed form is known.

    Raises
    ------
    NoPartnerError
        When no activation exists; the message says which moment, where E|W|^s is zero (``pairs.exact.zeros`` says how
        far that search reaches), or where the density turns negative.

    References
    ----------
    Derived in the theory chapter on pairs; the constraint is Wolinski & Arbel (TMLR 2025), constraint 2.

    Examples
    --------
    >>> import math
    >>> import numpy as np
    >>> from firstlight import pairs, weights
    >>> phi = pairs.partner(weights.chi(3)).exact  # Maxwell weights: √3 erf(x/√2)
    >>> bool(abs(phi(np.array([1.0]))[0] - math.sqrt(3) * math.erf(2**-0.5)) < 1e-12)
    True
    """
    law = get(law)
    _refuse_by_moments(law)
    magnitude = None if numerical else closed_partner(_gaussian(law) or law)
    if magnitude is None:
        _refuse_zero(law)
        magnitude = MellinMagnitude(
            f"partner of {law.name}", lambda s: _GAUSS.log_mellin(s) - law.log_mellin(s)
        )
    spelling = f"partner({law.spelling})" if law.spelling and split == 0.5 else None
    return from_exact(f"partner of {law.name}", law, ExactActivation(magnitude, split), spelling=spelling)


def _gaussian(law: WeightLaw) -> WeightLaw | None:
    """The normal law that this one is, to its moments: it leaves |φ| constant, an atom that no inversion finds."""
    scale = law.moment(2)
    exact = [_GAUSS.moment(order) * scale ** (order / 2) for order in (1, 4, 6, 8)]
    got = [law.moment(order) for order in (1, 4, 6, 8)]
    alike = all(math.isclose(a, b, rel_tol=1e-10) for a, b in zip(exact, got, strict=True))
    return _GAUSS.scaled(math.sqrt(scale)) if alike else None


def _refuse_by_moments(law: WeightLaw) -> None:
    what = f"while solving for the partner of {law.name}"
    if not law.independent:
        raise NoPartnerError(
            f"{what}: expected independent weights, got a law of whole matrices; try 'normal'"
        )
    if isinstance(law, Discrete) and law.magnitudes[0] == 0:
        raise NoPartnerError(
            f"{what}: expected no atom at 0, got P(W = 0) = {law.probabilities[0]:g}; then P(Wφ(X) = 0) > 0, which no "
            "Gaussian allows: use dense weights"
        )
    if not math.isfinite(law.moment(2)) or not math.isfinite(law.moment(4)):
        raise NoPartnerError(
            f"{what}: expected every moment finite, as a Gaussian's are, got an infinite one"
        )
    ratio = law.moment(4) / law.moment(2) ** 2
    if ratio > 3 * (1 + 1e-9):
        raise NoPartnerError(
            f"{what}: expected kurtosis E W⁴/(E W²)² ≤ 3, got {ratio:.4g}; kurt(W) · kurt(φ) = 3 and kurt(φ) ≥ 1: use "
            "lighter-tailed weights"
        )


def _refuse_zero(law: WeightLaw) -> None:
    zero = zero_of(law)
    if zero is None:
        return
    hint = "use another law"
    if isinstance(law.base if isinstance(law, ScaledLaw) else law, Discrete):
        hint = (
            "there is a partner where p/|w| of the largest magnitude is at least the sum of p/|w| over the others: "
            "give the largest magnitude more probability"
        )
    raise NoPartnerError(
        f"while solving for the partner of {law.name}: expected E|W|^s without zeros for Re s > −1, got one at "
        f"s = {_written(zero)}, where E|φ(X)|^s = E|G|^s/E|W|^s would be infinite although all its moments are finite; "
        f"{hint}"
    )


def _written(s: complex) -> str:
    return f"{s.real:.4g} ± {s.imag:.4g}i"


@clean
def weights_for(activation: ActivationLike) -> Magnitude:
    """The law of |W| that makes W φ(X) ~ N(0,1) for a given activation, by numerical inversion.

    Parameters
    ----------
    activation
        φ: a name, or any callable of one float64 tensor.

    Raises
    ------
    NoPartnerError
        When no weights can: the message says why.
    DomainError
        The activation is not a function of one variable, or has too many zeros for quadrature of its powers.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from firstlight import pairs
    >>> law = pairs.weights_for(lambda x: 3**0.5 * torch.erf(x / 2**0.5))  # Maxwell, χ₃/√3
    >>> round(float(law.cdf(np.array([1.0]))[0]), 6)
    0.608375
    """
    seen = read(activation)
    reasons = _simple_reasons(seen)
    if reasons:
        raise NoPartnerError(f"while solving for the weights of an activation: {reasons[0]}")
    return _solve(seen)


def _solve(seen: Reading) -> Magnitude:
    if not seen.resolved:
        raise DomainError(
            "while solving for the weights of an activation: expected one whose powers |φ|^s quadrature resolves, got "
            "one with too many zeros, kinks or turns within 12 of zero (64 zeros are possible); smooth it"
        )
    log_moments = seen.log_moments()

    def log_quotient(s: object) -> Any:
        return _GAUSS.log_mellin(s) - log_moments(s)

    # weights of one size, as the identity's, leave an atom that no inversion finds: E|W|^s = c^s
    orders = np.array([1.0, 2.0, 3.0, 4.0])
    rates = np.real(log_quotient(orders)) / orders
    if np.ptp(rates) < 1e-10:
        return ScaledMagnitude(PointMagnitude(), float(np.exp(rates.mean())))
    zero = zero_in_strip(log_moments, low=seen.low + 0.05, top=REACH_OF_MOMENTS)
    if zero is not None:
        raise NoPartnerError(
            "while solving for the weights of the activation: expected E|φ(X)|^s without zeros for Re s > −1, got one "
            f"at s = {_written(zero)}, where E|W|^s = E|G|^s/E|φ(X)|^s would be infinite although all its moments are "
            "finite; use another activation"
        )
    return MellinMagnitude("weights of the activation", log_quotient)


@clean
def why_not(activation: ActivationLike, *, solve: bool = True) -> list[str]:
    """Which constraints of a pair an activation breaks; empty when weights for it exist.

    Parameters
    ----------
    activation
        φ: a name, or any callable of one float64 tensor.
    solve
        Also try to find the weights when no simple constraint is broken.

    Raises
    ------
    DomainError
        The activation is not a function of one variable, or has too many zeros for quadrature of its powers.

    Examples
    --------
    >>> import torch
    >>> from firstlight import pairs
    >>> print(pairs.why_not(torch.relu)[0][:60])
    atom at 0: φ(X) = 0 with probability 0.5, so W φ(X) has an a
    """
    seen = read(activation)
    reasons = _simple_reasons(seen)
    if not reasons and solve:
        try:
            _solve(seen)
        except NoPartnerError as error:
            reasons.append(str(error))
    return reasons


def _simple_reasons(seen: Reading) -> list[str]:
    reasons = []
    atom = float(seen.weight[seen.value == 0].sum())
    if atom > 1e-6:
        reasons.append(
            f"atom at 0: φ(X) = 0 with probability {atom:.3g}, so W φ(X) has an atom whatever W is (constraint 2)"
        )
    square, fourth = seen.mean(seen.value**2), seen.mean(seen.value**4)
    if fourth > 3 * square**2 * (1 + 1e-9):
        reasons.append(
            f"kurtosis: E φ⁴/(E φ²)² = {fourth / square**2:.4g} > 3, and kurt(W) · kurt(φ) = 3 leaves kurt(W) < 1"
        )
    return reasons
