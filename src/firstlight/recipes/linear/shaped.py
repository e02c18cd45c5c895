"""Shaped activations without touching the code: DKS and TAT, folded into the weights and biases around φ."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from firstlight import activations, gauss
from firstlight.activations import Activation
from firstlight.errors import DomainError
from firstlight.recipes.layout.slots import Slot
from firstlight.recipes.linear.chains import chain_of, mirrored
from firstlight.recipes.linear.leaky import tat_leak
from firstlight.recipes.linear.slope import local_slope
from firstlight.recipes.recipe import Draft, Need, Recipe
from firstlight.recipes.scales import usual_moment

# α in units of the activation's own length, and β in units of α
_STARTS = tuple((a, b) for a in (1.0, 0.5, 0.25, 0.1, 2.0) for b in (0.5, -0.5, 1.0, -1.0, 0.1, 2.0, -2.0))
_NODES = 300  # of a Gauss–Hermite rule, for activations without kinks
_REACH = 20.0  # lengths of the activation beyond which no shape is looked for


@dataclass(frozen=True)
class Shape:
    """φ̂(x) = γ (φ(α x + β) + δ)."""

    alpha: float
    beta: float
    gamma: float
    delta: float


@dataclass(frozen=True)
class _Moments:
    """Moments of φ(u), u = β + α G."""

    mean: float
    var: float
    slope: float
    product: float
    drift: float


@lru_cache(maxsize=1)
def _rule() -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    return torch.from_numpy(nodes), torch.from_numpy(weights / math.sqrt(2 * math.pi))


def _mean(phi: Activation, f: Callable[[Tensor], Tensor], alpha: float, beta: float) -> float:
    """E f(β + α G); f has the kinks of φ."""
    if phi.kinks:
        return float(gauss.expect(f, beta, abs(alpha), kinks=phi.kinks))
    nodes, weights = _rule()
    return float((weights * f(beta + abs(alpha) * nodes)).sum())


def _moments(phi: Activation, alpha: float, beta: float) -> _Moments:
    first = _mean(phi, phi, alpha, beta)
    return _Moments(
        first,
        _mean(phi, lambda u: (phi(u) - first) ** 2, alpha, beta),
        _mean(phi, lambda u: phi.derivative(u) ** 2, alpha, beta),
        _mean(phi, lambda u: phi(u) * phi.derivative(u) * (u - beta) / alpha, alpha, beta),
        _mean(phi, lambda u: phi.derivative(u) * (u - beta) / alpha, alpha, beta),
    )


def dks_shape(phi: Activation, slope: float) -> Shape:
    r"""α, β, γ, δ with Q(1) = 1, Q'(1) = 1, C(0) = 0 and C'(1) = the slope.

    Raises
    ------
    DomainError
        No such shape was found: the slope is out of the activation's reach.

    Notes
    -----
    Along the shapes of sin(ωx), whatever ω is, the slope is 1 + a² with a = ωα, and β goes from 0 to π/2ω, where
    Q'(1) = 2a²/(e^{a²} − 1) = 1 ends them at a² = 1.2564: a sine has no shape of a slope above 2.2564.

    Examples
    --------
    >>> from firstlight import activations
    >>> from firstlight.recipes import dks_shape
    >>> shape = dks_shape(activations.get("softplus"), 1.1)
    >>> shape.gamma > 0
    True
    """

    def miss(alpha: float, beta: float) -> tuple[float, float]:
        m = _moments(phi, alpha, beta)
        gamma2 = 1.0 / max(m.var, 1e-300)
        return gamma2 * alpha**2 * m.slope - slope, gamma2 * alpha * (m.product - m.mean * m.drift) - 1.0

    alpha, beta = _solved(miss, phi, f"slope {slope:.4g}")
    m = _moments(phi, alpha, beta)
    return Shape(alpha, beta, m.var**-0.5, -m.mean)


def tat_shape(phi: Activation, curvature: float) -> Shape:
    r"""α, β, γ, δ with Q(1) = 1, Q'(1) = 1, C'(1) = 1 and C''(1) = E φ̂''² = the curvature, for a smooth φ.

    Raises
    ------
    DomainError
        A kink, or no such shape.
    """
    if phi.kinks:
        raise DomainError(
            f"while shaping {phi.name!r} by TAT: expected a smooth activation, got kinks at {phi.kinks}; use dks"
        )

    unit = _length(phi)

    def delta_of(alpha: float, beta: float) -> tuple[_Moments, float, float]:
        m = _moments(phi, alpha, beta)
        gamma2 = 1.0 / max(alpha**2 * m.slope, 1e-300)
        # of the two δ with E φ̂² = 1 the one that keeps the offset small
        root = max(1.0 / gamma2 - m.var, 0.0) ** 0.5
        return m, gamma2, min((-m.mean + root, -m.mean - root), key=abs)

    def miss(alpha: float, beta: float) -> tuple[float, float]:
        m, gamma2, delta = delta_of(alpha, beta)
        bend = _mean(phi, lambda u: _second_derivative(phi, u, unit) ** 2, alpha, beta)
        return gamma2 * alpha**4 * bend / curvature - 1.0, gamma2 * alpha * (
            m.product + delta * m.drift
        ) - 1.0

    alpha, beta = _solved(miss, phi, f"curvature {curvature:.4g}")
    _, gamma2, delta = delta_of(alpha, beta)
    return Shape(alpha, beta, gamma2**0.5, delta)


def _second_derivative(phi: Activation, u: Tensor, unit: float) -> Tensor:
    step = 1e-3 * unit
    return (phi.derivative(u + step) - phi.derivative(u - step)) / (2 * step)


def _length(phi: Activation) -> float:
    """The length on which φ bends: its deviation over its slope."""
    m = activations.moments(phi, 1.0)
    return math.sqrt(max(float(m.second - m.mean**2), 1e-12) / max(float(m.slope), 1e-12))


def _solved(
    miss: Callable[[float, float], tuple[float, float]], phi: Activation, what: str
) -> tuple[float, float]:
    from scipy.optimize import root

    unit = _length(phi)

    def scaled(x: np.ndarray) -> tuple[float, float]:
        alpha, beta = float(x[0]), float(x[1])
        if not 1e-3 < alpha < _REACH or abs(beta) > _REACH:
            return 10.0 + abs(alpha), 10.0 + abs(beta)  # too far: no shape is there
        return miss(alpha * unit, beta * unit)

    for start in _STARTS:
        try:
            found = root(scaled, start, tol=1e-12, options={"maxfev": 60})
        except (DomainError, ArithmeticError):
            continue
        if max(map(abs, found.fun)) < 1e-7:
            return float(found.x[0]) * unit, float(found.x[1]) * unit
    raise DomainError(
        f"while shaping {phi.name!r}: expected an α and a β that give {what}, found none; ask for a slope nearer to 1"
    )


def _fold(draft: Draft, shape_of: Callable[[Activation], Shape], said: str) -> None:
    """Draft orthogonal weights with the shape of each activation folded into the weights and biases around it."""
    chain = chain_of(draft)
    shapes: dict[str, Shape] = {}
    for slot in chain[1:]:
        if slot.phi is None:
            draft.refuse(
                "a known activation in front of every weight", f"none in front of {slot.name}", "use lsuv"
            )
        if slot.phi.name not in shapes:
            shapes[slot.phi.name] = shape_of(slot.phi)
    for index, slot in enumerate(chain):
        before = None if slot.phi is None else shapes[slot.phi.name]
        after = None if index + 1 == len(chain) else shapes[chain[index + 1].phi.name]  # type: ignore[union-attr]
        sigma_w = 1.0 / usual_moment(slot.q_in) ** 0.5 if index == 0 else 1.0
        weight = mirrored(slot.weight, sigma_w, draft.generator)
        bias = torch.zeros(weight.shape[0], dtype=torch.float64)
        if before is not None:
            bias = before.gamma * before.delta * weight.flatten(1).sum(1)
            weight = before.gamma * weight
        if after is not None:
            weight, bias = after.alpha * weight, after.alpha * bias + after.beta
        if not slot.bias and bool(bias.abs().max() > 1e-9):
            draft.refuse(
                "a bias on every weight", f"{slot.name} without one", "add biases, or use small-signals"
            )
        draft.put(slot, weight, f"orthogonal, {said}")
        draft.shift(slot, bias)


def _bent_at_zero(phi: Activation) -> bool:
    return phi.kinks == (0.0,) and phi.degree == 1


def _tailor(draft: Draft, chain: Sequence[Slot], leak: float) -> None:
    """Draft orthogonal weights with the gain of leaky ReLUs of this slope, and the slope where a parameter holds it."""
    gain = math.sqrt(2.0 / (1.0 + leak * leak))
    for slot in chain:
        scale = gain if slot.phi is not None else 1.0 / usual_moment(slot.q_in) ** 0.5
        draft.put(slot, mirrored(slot.weight, scale, draft.generator), f"orthogonal × {scale:.4g}")
        draft.shift(slot, 0.0)
    for path, module in draft.blueprint.model.named_modules():
        if isinstance(module, nn.PReLU):
            draft.set(f"{path}.weight".lstrip("."), torch.tensor(leak), f"slope {leak:.6g} below zero")
        elif isinstance(module, nn.LeakyReLU):
            draft.leave(path, f"its slope is part of the code: write nn.LeakyReLU({leak:.6g})")


def _graph(draft: Draft) -> tuple[list[str], list[tuple[int, ...]]]:
    sheet = draft.blueprint
    if sheet.structure is not None:
        return [str(kind) for kind in sheet.structure.profile["kind"]], list(sheet.structure.links)
    kinds = ["input"]
    for slot in sheet.slots:
        kinds += ["activation", "weight"] if slot.phi is not None else ["weight"]
    return kinds, [(row - 1,) if row else () for row in range(len(kinds))]


@dataclass(frozen=True)
class DKS(Recipe):
    r"""Deep kernel shaping: every activation acts as φ̂(x) = γ(φ(αx + β) + δ), with α, β, γ, δ in weights and biases.

    Q(1) = 1, Q'(1) = 1, C(0) = 0, and C'(1) such that the slope of the whole network, over all its parts
    (`maximal_slope` of the traced graph), is ζ. Weights are orthogonal. A convolution with zero padding feels the shift
    at its border.

    Attributes
    ----------
    slope
        ζ > 1.
    """

    slope: float = 1.5
    word: ClassVar[str] = "dks"
    purpose: ClassVar[str] = "plain deep networks of smooth activations, which then train as residual ones do"
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    source: ClassVar[str] = (
        "Martens et al., Rapid training of deep neural networks without skip connections, 2021"
    )

    def draft(self, draft: Draft) -> None:
        """Every weight and bias."""
        chain_of(draft)
        local = local_slope(*_graph(draft), self.slope)
        _fold(draft, lambda phi: dks_shape(phi, local), f"shaped to C'(1) = {local:.6g} a layer")


@dataclass(frozen=True)
class TAT(Recipe):
    r"""Tailored activation transformation for smooth activations: C'(1) = 1 and C''(1) = τ over the whole depth.

    As `DKS`, with Q(1) = Q'(1) = C'(1) = 1 in every layer, and the curvature τ divided among the activations. In a
    chain of leaky ReLUs the slope below zero is tailored instead (`tat_leak`): written where a PReLU learns the slope,
    named with its value where the code holds it; weights get the gain that keeps second moments.

    Attributes
    ----------
    curvature
        τ, .3 in the paper.
    eta
        η of leaky ReLUs, .9 in the paper.
    """

    curvature: float = 0.3
    eta: float = 0.9
    word: ClassVar[str] = "tat"
    purpose: ClassVar[str] = "plain deep networks of smooth activations; closer to linear than DKS"
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    source: ClassVar[str] = "Zhang, Botev & Martens, ICLR 2022"

    def draft(self, draft: Draft) -> None:
        """Every weight and bias."""
        chain = chain_of(draft)
        count = max(sum(slot.phi is not None for slot in chain), 1)
        leaky = [m for m in draft.blueprint.model.modules() if isinstance(m, nn.LeakyReLU | nn.PReLU)]
        if leaky and all(slot.phi is None or _bent_at_zero(slot.phi) for slot in chain):
            _tailor(draft, chain, tat_leak(count, self.eta))
            return
        _fold(
            draft,
            lambda phi: tat_shape(phi, self.curvature / count),
            f"C''(1) = {self.curvature:g}/{count}",
        )
