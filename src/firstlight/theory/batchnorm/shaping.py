"""How fast a gain must fall with depth so that an activation does not make gradients explode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from firstlight import activations, gauss
from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError


@clean
def shaped_rates(activation: object, gains: Sequence[float]) -> Float64[Tensor, " layers"]:
    r"""Growth of log ‖∂L/∂z‖ over each layer φ(α BN(z)), beyond that of a linear layer.

    .. math:: \tfrac12 \log \frac{α^2\,E\,φ'(αz)^2}{\operatorname{Var} φ(αz)}, \qquad z \sim N(0, 1)

    The rate of a continuous φ is zero only for linear φ, and positive for every other one; for a smooth odd φ the rate
    falls like α⁴. A jump adds to the variance and not to the slope, so the rate of a step is −∞. The formula is the
    large-batch limit; with orthogonal weights and full rank the gradient has no other growth.

    Parameters
    ----------
    activation
        Anything that ``firstlight.activations.get`` takes.
    gains
        α of each layer, positive.

    Returns
    -------
    Tensor
        Nats per layer, float64.

    Raises
    ------
    DomainError
        If the gains are not a sequence of positive numbers.

    Examples
    --------
    >>> from firstlight.theory.batchnorm import shaped_rates
    >>> [round(r, 4) for r in shaped_rates("sin", [1.0, 0.5]).tolist()]      # 0.134 measured at gain 1
    [0.1362, 0.0103]
    """
    phi = activations.get(activation)
    alpha = torch.as_tensor(gains, dtype=torch.float64)
    if alpha.ndim != 1 or len(alpha) == 0 or not bool((alpha > 0).all() & torch.isfinite(alpha).all()):
        raise DomainError(
            f"while computing growth under gains: expected positive finite gains, got {alpha.tolist()[:8]}"
        )
    slope = gauss.expect(lambda z: phi.derivative(z).square(), 0.0, alpha, kinks=phi.kinks)
    if phi.parity == "odd":
        mean = phi(torch.zeros_like(alpha))
    else:
        mean = gauss.expect(phi, 0.0, alpha, kinks=phi.kinks)
    # φ(0) and then the mean are taken off before squaring, so that small gains lose few digits
    origin = phi(torch.zeros((), dtype=torch.float64))
    square = gauss.expect(lambda z: (phi(z) - origin).square(), 0.0, alpha, kinks=phi.kinks)
    variance = square - (mean - origin).square()
    if not bool((variance > 0).all()):
        raise DomainError(
            f"while computing growth under gains: expected an activation that varies, got {phi.name} with "
            "Var φ = 0"
        )
    rates = 0.5 * torch.log(alpha.square() * slope / variance)
    # Var φ ≤ α² E φ'² for continuous φ (Poincaré), so what is below zero is rounding; a jump adds to Var φ alone, and
    # a backward of one's own has nothing to do with φ
    return rates if phi.jumps or phi.backward is not None else rates.clamp(min=0)


@checked
@clean
def shaped_growth(activation: object, gains: Sequence[float]) -> float:
    """Total growth of the log gradient norm from the output to the input, beyond a linear network, in nats.

    Equal gains are computed once, so a constant gain costs the same at any depth.

    Examples
    --------
    >>> from firstlight.theory.batchnorm import shaped_growth
    >>> round(shaped_growth("sin", [1.0] * 100), 1), round(shaped_growth("tanh", [1.0] * 100), 1)
    (13.6, 8.2)
    """
    distinct, counts = torch.tensor(list(gains), dtype=torch.float64).unique(return_counts=True)
    return float((shaped_rates(activation, distinct.tolist()) * counts).sum())


@dataclass(frozen=True)
class GammaChoice:
    """A gain exponent for an activation, and what it rests on.

    Attributes
    ----------
    gamma
        The chosen exponent: α_ℓ = ℓ^{−γ}.
    critical
        1/p: the growth is bounded at every depth for γ above it, and only there; 0 for φ that is a line near zero,
        such as hardtanh, whose growth falls faster than any power.
    order, coefficient
        p and C in the growth C α^p per layer at small gain α.
    growth
        Predicted growth of the log gradient norm over the depth at this γ, in nats.
    depth
        The depth it was chosen for; None: any.
    """

    gamma: float
    critical: float
    order: float
    coefficient: float
    growth: float
    depth: int | None


@clean
def choose_gamma(
    activation: object,
    *,
    depth: int | None = None,
    budget: float = math.log(10.0),
    first_gain: float = 1.0,
) -> GammaChoice:
    r"""Smallest exponent γ of the gains α_ℓ = ℓ^{−γ} that keeps the gradient within a factor.

    At small gain every smooth φ with φ'(0) ≠ 0 grows gradients by C α^p per layer, p = 4 for an odd φ with a
    cubic term. The sum of ℓ^{−pγ} over layers is bounded if and only if γ > 1/p; γ is then the smallest for
    which the predicted total stays within the budget.

    Parameters
    ----------
    activation
        Anything that ``firstlight.activations.get`` takes.
    depth
        Number of layers; None for a bound that holds at any depth.
    budget
        Largest growth allowed, in nats; a factor of ten by default.
    first_gain
        Gain α₁ of the first layer: the gains are α₁ ℓ^{−γ}.

    Returns
    -------
    GammaChoice
        γ, to three digits upwards, with the asymptotics behind it.

    Raises
    ------
    DomainError
        If no exponent helps: φ is kinked at 0 like ReLU, whose growth does not depend on the gain, or has no
        slope at 0, or jumps; or the budget is too small for the first layers at any exponent.

    References
    ----------
    Meterez et al., ICLR 2024, section 5 (γ = 0.4 for tanh and sin); the law α⁴ is derived for this project.

    Examples
    --------
    >>> from firstlight.theory.batchnorm import choose_gamma
    >>> choice = choose_gamma("tanh")
    >>> round(choice.critical, 3), round(choice.coefficient, 3)
    (0.25, 0.667)
    """
    phi = activations.get(activation)
    if phi.jumps and phi.backward is None:
        raise DomainError(
            f"while choosing a gain exponent: expected a continuous activation, got {phi.name}, which jumps; the "
            "growth of gradients through a jump does not follow from its slope"
        )
    order, coefficient = _asymptotics(phi)
    if order == math.inf and not phi.kinks:
        return GammaChoice(0.0, 0.0, math.inf, 0.0, 0.0, depth)

    def growth(gamma: float) -> float:
        return _total(phi, gamma, depth, first_gain, order, coefficient)

    critical = 1 / order  # 0 where the growth falls faster than any power
    low, high = (0.0 if depth is not None else critical), 8.0
    if depth is not None and growth(0.0) <= budget:
        return GammaChoice(0.0, critical, order, coefficient, growth(0.0), depth)
    if growth(high) > budget:
        raise DomainError(
            f"while choosing a gain exponent for {phi.name}: expected a budget above {growth(high):.3g} nats, "
            f"which the first layer alone costs at gain {first_gain:g}, got {budget:.3g}; lower first_gain"
        )
    while high - low > 5e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if growth(middle) <= budget else (middle, high)
    gamma = math.ceil(high * 1000) / 1000
    return GammaChoice(gamma, critical, order, coefficient, growth(gamma), depth)


def _line_at_zero(phi: activations.Activation) -> bool:
    """Whether φ is a line up to its first kink: its growth falls faster than any power of the gain."""
    if not phi.kinks or 0.0 in phi.kinks:
        return False
    reach = min(abs(k) for k in phi.kinks)
    slopes = phi.derivative(reach * torch.linspace(-0.99, 0.99, 21, dtype=torch.float64))
    return float(slopes[10]) != 0 and float(slopes.max() - slopes.min()) <= 1e-12 * float(slopes[10].abs())


def _asymptotics(phi: activations.Activation) -> tuple[float, float]:
    """P and C of the growth C α^p at small α, from its size at two gains."""
    linear = bool(
        torch.allclose(phi.derivative(torch.linspace(-3, 3, 13).double()),
                       phi.derivative(torch.zeros(1).double()), rtol=1e-12, atol=0)
    )  # fmt: skip
    if linear or _line_at_zero(phi):
        return math.inf, 0.0
    gains = [0.08, 0.04, 0.02]
    rates = shaped_rates(phi, gains).tolist()
    if min(rates) <= 1e-13:
        gains = [0.5, 0.35, 0.25]
        rates = shaped_rates(phi, gains).tolist()
    first = math.log(rates[0] / rates[1]) / math.log(gains[0] / gains[1])
    second = math.log(rates[1] / rates[2]) / math.log(gains[1] / gains[2])
    order = float(round(second)) if abs(second - round(second)) < 0.15 else second
    if second < 0.5 or not math.isfinite(second):
        raise DomainError(
            f"while choosing a gain exponent: expected an activation that is smooth at 0 with a slope there, "
            f"got {phi.name}, whose growth per layer ({rates[-1]:.3g}) does not fall with the gain; use a "
            "smooth odd activation such as tanh or sin"
        )
    # Richardson step: the growth over α^p is C (1 + O(α²))
    c1, c2 = rates[1] / gains[1] ** order, rates[2] / gains[2] ** order
    ratio = (gains[1] / gains[2]) ** 2
    coefficient = (ratio * c2 - c1) / (ratio - 1) if abs(first - second) < 1 else c2
    return order, coefficient


_HEAD = 300  # layers summed exactly; the rest by their asymptotics on a logarithmic grid


def _total(
    phi: activations.Activation,
    gamma: float,
    depth: int | None,
    first_gain: float,
    order: float,
    coefficient: float,
) -> float:
    """Growth over the depth, or over infinitely many layers."""
    head = min(depth or _HEAD, _HEAD)
    gains = [first_gain * layer**-gamma for layer in range(1, head + 1)]
    total = shaped_growth(phi, gains)
    if depth is not None and depth <= _HEAD:
        return total
    # the tail is a smooth function of log ℓ: ∫ rate(ℓ) dℓ by the trapezoidal rule in log ℓ
    if depth is None and order == math.inf and gamma < 1e-2:
        return math.inf  # the gains fall too slowly for the tail to end in the range that is summed
    last = math.log(depth + 0.5) if depth is not None else math.log(_HEAD) + 14
    s = torch.linspace(math.log(_HEAD + 0.5), last, 60, dtype=torch.float64)
    rates = shaped_rates(phi, (first_gain * torch.exp(-gamma * s)).tolist())
    if order == math.inf:
        rates = torch.where(rates > 1e-13, rates, 0.0)  # what quadrature leaves of nothing
    total += float(torch.trapezoid(rates * torch.exp(s), s))
    if depth is None and order < math.inf:
        power = order * gamma
        beyond = math.exp(last * (1 - power)) / (power - 1) if power > 1 else math.inf
        total += coefficient * first_gain**order * beyond
    return total
