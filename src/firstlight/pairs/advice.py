"""Which θ and which kind for a depth and a width, from the numbers of the pair and not from taste."""

from __future__ import annotations

import math
from dataclasses import dataclass

from firstlight.errors import DomainError
from firstlight.pairs.pair import weibull

_THETAS = (2.05, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0)


@dataclass(frozen=True)
class Recommendation:
    """A pair for a depth and a width.

    Attributes
    ----------
    theta, kind
        The pair: ``pairs.weibull(theta, kind=kind)``.
    gradient_factor
        χ₁^depth, the growth of the squared gradient norm through the network at infinite width.
    reasons
        The reasoning, one sentence each.
    """

    theta: float
    kind: str
    gradient_factor: float
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([f"Weibull θ = {self.theta:g}, {self.kind}", *self.reasons])


def recommend(depth: int, width: int) -> Recommendation:
    """The pair for a network of this depth and width that is meant to be trained.

    Two things pull apart. A large θ keeps gradients (χ₁ → 1 for odd pairs), but a narrow network drifts from
    N(0,1), because the units of a layer are dependent and a nearly linear φ does not damp that: the
    second moment moves like a random walk of variance ∝ depth/width with a restoring slope V'(1). So the
    largest θ is taken for which (depth of memory 1/(1 − V'²))·(excess of φ(X)²W²)/width stays small, and the
    odd kind unless its gradients would grow more than a thousandfold, then the critical one.

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
    chosen = _THETAS[0]
    for theta in _THETAS:
        check = weibull(theta).check()
        # q of the next layer given this one has variance about 2/width (kurtosis 3: Gaussian products)
        memory = min((1 - check.variance_slope ** (2 * depth)) / (1 - check.variance_slope**2), depth)
        if memory * 2 / width <= 0.5:
            chosen = theta
    odd = weibull(chosen).check()
    growth = depth * math.log(odd.chi)
    kind = "odd" if growth < math.log(1e3) else "critical"
    chi = odd.chi if kind == "odd" else 1.0
    reasons = (
        f"θ: V'(1) = {odd.variance_slope:.3f} holds the second moment against dependence between {width} units; "
        "a larger θ drifts further in narrow networks.",
        f"odd pair: χ₁ = {odd.chi:.4f}, so squared gradients grow by e^{growth:.1f} in {depth} layers"
        + (": usable." if kind == "odd" else ": too much; the critical split has χ₁ = 1."),
        "positive pair: Gaussian in the narrowest networks, but its gradients vanish "
        f"(χ₁ = {weibull(chosen, kind='positive').check().chi:.3f} a layer): not for training deep networks.",
    )
    return Recommendation(chosen, kind, chi**depth, reasons)
