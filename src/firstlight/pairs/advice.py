"""Which θ and which kind for a depth and a width, from the numbers of the pair and not from taste."""

from __future__ import annotations

import math
from dataclasses import dataclass

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.pairs.pair import weibull

_THETAS = (2.05, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0)
# What a layer of width n takes from the typical log squared gradient, times n: measured for odd pairs at width 10
# and depth 100 (experiments.wolinski2025.pairs_in_depth) at θ = 2.05, 3, 5, 10, linear in 1/θ between.
_LOSS = {2.05: 1.9, 2.5: 1.45, 3.0: 1.1, 4.0: 0.91, 5.0: 0.81, 7.0: 0.68, 10.0: 0.59}


@dataclass(frozen=True)
class Recommendation:
    """A pair for a depth and a width.

    Attributes
    ----------
    theta, kind
        The pair: ``pairs.weibull(theta, kind=kind)``.
    gradient_factor
        Growth of the squared gradient norm through a typical network of this width (its median, not its mean).
    reasons
        The reasoning, one sentence each.
    """

    theta: float
    kind: str
    gradient_factor: float
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([f"Weibull θ = {self.theta:g}, {self.kind}", *self.reasons])


@checked
@clean
def recommend(depth: int, width: int) -> Recommendation:
    """The pair for a network of this depth and width that is meant to be trained.

    Three facts decide, each measured on ensembles of depth 100 (``firstlight pair weibull --experiment N``).
    First, a layer multiplies the mean squared gradient by χ₁ > 1 (odd pairs). A typical network of width n loses a
    share of about δ/n in each layer, because its products are random. The log of the typical squared gradient moves
    by log χ₁ − δ/n. So the advice is the θ whose χ₁ compensates for that loss: near 2 for narrow networks, larger for
    wide networks. Second, a large θ lets a narrow network drift from N(0,1), because a nearly linear φ does not damp
    the second moment. So θ is bounded by (memory 1/(1 − V'²)) · 2/width ≤ ½. Third, the critical split, χ₁ = 1, loses
    gradient like every other network (e^−6.8 at θ = 3, width 10). Its mean is not 0, so the correlation of any two
    inputs goes to 1. The positive kind loses more of both. So the kind is odd.

    Raises
    ------
    DomainError
        Depth or width below 1.

    Examples
    --------
    >>> from firstlight import pairs
    >>> pairs.recommend(depth=30, width=100).kind
    'odd'
    """
    if depth < 1 or width < 1:
        raise DomainError(
            f"while recommending a pair: expected depth and width ≥ 1, got {depth} and {width}; give the network's"
        )
    best, chosen = math.inf, _THETAS[0]
    for theta in _THETAS:
        check = weibull(theta).check()
        memory = min((1 - check.variance_slope ** (2 * depth)) / (1 - check.variance_slope**2), depth)
        drift = abs(math.log(check.chi) - _LOSS[theta] / width)
        # the second moment of the next layer given this one has variance about 2/width
        if memory * 2 / width <= 0.5 and drift < best:
            best, chosen = drift, theta
    odd = weibull(chosen).check()
    growth = depth * (math.log(odd.chi) - _LOSS[chosen] / width)
    reasons = (
        f"χ₁ = {odd.chi:.4f} against a loss of {_LOSS[chosen] / width:.4f} a layer at width {width}: the typical "
        f"squared gradient changes by e^{growth:.1f} in {depth} layers, the least of all θ that stay Gaussian.",
        f"V'(1) = {odd.variance_slope:.3f} holds the second moment against dependence between {width} units; a larger "
        "θ drifts further in narrow networks.",
        "not critical: χ₁ = 1 holds for the mean only, and the correlation of any two inputs goes to 1 with depth.",
        "not positive: Gaussian in the narrowest networks, but its gradients vanish "
        f"(χ₁ = {weibull(chosen, kind='positive').check().chi:.3f} a layer).",
    )
    return Recommendation(chosen, "odd", math.exp(growth), reasons)
