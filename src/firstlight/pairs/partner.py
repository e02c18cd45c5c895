"""The partner of any symmetric weight law, the weights of any odd activation, and why there may be none."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firstlight.errors import DomainError
from firstlight.pairs.exact._families import PointMagnitude, ScaledMagnitude, closed_partner
from firstlight.pairs.exact.function import ExactActivation
from firstlight.pairs.exact.inversion import MellinMagnitude, NoPartnerError
from firstlight.pairs.exact.magnitude import Magnitude
from firstlight.pairs.exact.numbers import nodes
from firstlight.pairs.pair import Pair, from_exact
from firstlight.weights import Discrete, Normal, WeightLaw, get

_GAUSS = Normal()


def partner(law: WeightLaw | str, *, split: float = 0.5, numerical: bool = False) -> Pair:
    """The pair of a symmetric weight law: the φ for which W φ(X) ~ N(0,1).

    E|Y|^s = E|G|^s / E|W|^s has to be the Mellin transform of a law of |φ(X)|. Closed forms are used where one
    is known; otherwise the transform is inverted numerically.

    Parameters
    ----------
    law
        The weights, at whatever scale; a law or its name.
    split
        Share of X on which φ is negative: ½ odd, 0 positive.
    numerical
        Invert numerically even where a closed form is known.

    Raises
    ------
    NoPartnerError
        When no activation exists; the message says which moment, or where the density turns negative.

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
        magnitude = MellinMagnitude(
            f"partner of {law.name}", lambda s: _GAUSS.log_mellin(s) - law.log_mellin(s)
        )
    return from_exact(f"partner of {law.name}", law, ExactActivation(magnitude, split))


def _gaussian(law: WeightLaw) -> WeightLaw | None:
    """The normal law that this one is, to its moments: it leaves |φ| constant, an atom that no inversion finds."""
    scale = law.moment(2)
    exact = [_GAUSS.moment(order) * scale ** (order / 2) for order in (1, 4, 6, 8)]
    got = [law.moment(order) for order in (1, 4, 6, 8)]
    alike = all(math.isclose(a, b, rel_tol=1e-10) for a, b in zip(exact, got, strict=True))
    return _GAUSS.scaled(math.sqrt(scale)) if alike else None


def _refuse_by_moments(law: WeightLaw) -> None:
    what = f"while solving for the partner of {law.name}"
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


def weights_for(activation: Callable[[Tensor], Tensor]) -> Magnitude:
    """The law of |W| that makes W φ(X) ~ N(0,1) for a given activation, by numerical inversion.

    Parameters
    ----------
    activation
        φ on float64 tensors.

    Raises
    ------
    NoPartnerError
        When no weights can: the message says why.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from firstlight import pairs
    >>> law = pairs.weights_for(lambda x: 3**0.5 * torch.erf(x / 2**0.5))  # Maxwell, χ₃/√3
    >>> round(float(law.cdf(np.array([1.0]))[0]), 6)
    0.608375
    """
    reasons = why_not(activation, solve=False)
    if reasons:
        raise NoPartnerError(f"while solving for the weights of an activation: {reasons[0]}")
    at = nodes(0.0)
    size = np.abs(_values(activation, at.x))
    logs = np.log(np.maximum(size, 1e-300))

    waves: dict[bytes, Any] = {}

    def log_quotient(s: Any) -> Any:
        s = np.asarray(s, dtype=np.complex128)
        imaginary = np.ascontiguousarray(s.imag)
        key = imaginary.tobytes()
        if key not in waves:  # lines that differ only in their real part share their waves
            waves.clear()
            waves[key] = np.exp(1j * np.outer(imaginary, logs))
        if np.ptp(s.real) == 0:
            moments = waves[key] @ (at.weight * np.exp(s.real[0] * logs))
        else:
            moments = (waves[key] * np.exp(np.outer(s.real, logs))) @ at.weight
        return _GAUSS.log_mellin(s) - np.log(moments)

    # weights of one size, as the identity's, leave an atom that no inversion finds: E|W|^s = c^s
    orders = np.array([1.0, 2.0, 3.0, 4.0])
    rates = np.real(log_quotient(orders)) / orders
    if np.ptp(rates) < 1e-10:
        return ScaledMagnitude(PointMagnitude(), float(np.exp(rates.mean())))
    return MellinMagnitude("weights of the activation", log_quotient)


def why_not(activation: Callable[[Tensor], Tensor], *, solve: bool = True) -> list[str]:
    """Which constraints of a pair an activation breaks; empty when weights for it exist.

    Parameters
    ----------
    activation
        φ: any callable of one tensor.
    solve
        Also try to find the weights when no simple constraint is broken.

    Examples
    --------
    >>> import torch
    >>> from firstlight import pairs
    >>> print(pairs.why_not(torch.relu)[0][:60])
    atom at 0: φ(X) = 0 with probability 0.5, so W φ(X) has an a
    """
    at = nodes(0.0)
    value = _values(activation, at.x)
    reasons = []
    atom = float(at.weight[value == 0].sum())
    if atom > 1e-6:
        reasons.append(
            f"atom at 0: φ(X) = 0 with probability {atom:.3g}, so W φ(X) has an atom whatever W is (constraint 2)"
        )
    square, fourth = at.mean(value**2), at.mean(value**4)
    if fourth > 3 * square**2 * (1 + 1e-9):
        reasons.append(
            f"kurtosis: E φ⁴/(E φ²)² = {fourth / square**2:.4g} > 3, and kurt(W) · kurt(φ) = 3 leaves kurt(W) < 1"
        )
    if not reasons and solve:
        try:
            weights_for(activation)
        except NoPartnerError as error:
            reasons.append(_tail_reason(activation) or str(error))
    return reasons


def _tail_reason(activation: Callable[[Tensor], Tensor]) -> str:
    """A bounded φ needs Gaussian-tailed weights at least: W = G/φ at the edge; say so when that is the case."""
    far = np.abs(_values(activation, np.array([6.0, 8.0])))
    if far[1] - far[0] < 1e-4 * far[1]:
        return (
            f"tail: φ saturates at {far[1]:.4g}, so the weights need exactly Gaussian-like tails (1/θ + 1/θ' = ½ with "
            "θ' = ∞), and the law that the moments ask for is not one"
        )
    return ""


def _values(activation: Callable[[Tensor], Tensor], x: np.ndarray) -> np.ndarray:
    what = "while reading an activation: expected a function of one variable, entry by entry"
    points = torch.from_numpy(x)
    # entries of another tensor, in another order: softmax and norms would give them other values
    some = torch.arange(len(x) - 1, len(x) // 3 - 1, -1)
    try:
        with torch.no_grad():
            out = activation(points)
            again = activation(points[some])
    except (RuntimeError, TypeError, IndexError) as error:
        raise DomainError(
            f"{what}, of float64 tensors, got {type(error).__name__}: {error}; wrap it so that it takes them"
        ) from error
    if not isinstance(out, Tensor) or out.shape != x.shape:
        got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise DomainError(f"{what}, got {got} for an input of shape {x.shape}; apply it elementwise")
    if not bool(torch.isfinite(out).all()):
        at = x[int((~torch.isfinite(out)).int().argmax())]
        raise DomainError(
            f"{what}, finite at every x, got a value that is not at x = {at:.3g}; mend it there"
        )
    if again.shape != some.shape or not torch.allclose(again, out[some], rtol=1e-6, atol=1e-12):
        raise DomainError(
            f"{what}, got values that depend on the other entries (as softmax or a norm does) or on chance; pairs are "
            "made of functions of one number"
        )
    return out.detach().double().numpy()
