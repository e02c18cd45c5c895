"""Which classifier an infinitely wide and deep network becomes, read from its dual activation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from firstlight import activations
from firstlight.clean_room import clean
from firstlight.errors import DomainError

ClassifierKind = Literal["majority vote", "nearest neighbour", "singular kernel", "none"]


@dataclass(frozen=True)
class DeepClassifier:
    """The classifier that the NTK of ever deeper networks tends to.

    Attributes
    ----------
    kind
        ``"majority vote"`` (inputs are forgotten), ``"nearest neighbour"``, ``"singular kernel"`` (a weighted vote with
        weights |x − x'|^{−2·order}), or ``"none"`` of these.
    order
        α = −log A'/log B' of a singular kernel, else NaN.
    optimal_dimension
        2α: data on a sphere of this dimension are classified consistently; else NaN.
    at_zero, slope_at_zero, slope_at_one
        A, A' and B': the dual activation at 0, its slope there and at 1, scaled to 1 at 1.
    """

    kind: ClassifierKind
    order: float
    optimal_dimension: float
    at_zero: float
    slope_at_zero: float
    slope_at_one: float


@clean
def deep_classifier(activation: object, *, q: float = 1.0) -> DeepClassifier:
    r"""The limit of depth of a wide network that is trained as a classifier.

    .. math::
        \check φ(ξ) = \frac{E φ(u)φ(v)}{E φ(u)^2}, \quad A = \check φ(0), \; A' = \check φ'(0), \; B' = \check φ'(1),
        \quad α = -\frac{\log A'}{\log B'}

    Raises
    ------
    DomainError
        q ≤ 0, or φ without a signal.

    Notes
    -----
    Radhakrishnan, Belkin and Uhler (2023), *Wide and deep neural networks achieve consistency for classification*.

    Examples
    --------
    >>> from firstlight.theory import deep_classifier
    >>> deep_classifier("gelu", q=0.1).kind, deep_classifier(lambda z: (z**3 - 3 * z) / 6**0.5).kind
    ('none', 'nearest neighbour')
    """
    if not (q > 0 and math.isfinite(q)):
        raise DomainError(f"while looking for a deep classifier: expected a variance q > 0, got {q}")
    phi = activations.get(activation)
    power = float(activations.second(phi, q))
    if not power > 0:
        raise DomainError(
            f"while looking for a deep classifier: expected a signal, got none from {phi.name!r}"
        )
    zero = float(activations.dual(phi, q, q, 0.0)) / power
    slope0 = float(q) * float(activations.dual_slope(phi, q, q, 0.0)) / power
    slope1 = float(q) * float(activations.moments(phi, q).slope) / power
    # what quadrature leaves of an exact zero
    a, a1 = (0.0 if abs(v) < 1e-12 else v for v in (zero, slope0))
    kind: ClassifierKind = "none"
    order = math.nan
    if a > 0 and slope1 < 1:
        kind = "majority vote"
    elif a == 0 and a1 == 0:
        kind = "nearest neighbour"
    elif a == 0 and 0 < a1 < 1 < slope1:
        kind, order = "singular kernel", -math.log(a1) / math.log(slope1)
    return DeepClassifier(kind, order, 2 * order, a, a1, slope1)
