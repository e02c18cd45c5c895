"""What each known initialisation keeps stationary, computed for any activation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from firstlight import activations
from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.theory.designs.edge import edge_of_chaos
from firstlight.theory.maps.fixed_points import variance_fixed_points
from firstlight.theory.maps.layer import LayerMap


@dataclass(frozen=True)
class Stationarity:
    """One initialisation with one activation.

    Attributes
    ----------
    name
        The initialisation.
    sigma_w, sigma_b
        Its scales for fan-in equal to fan-out.
    q_ratio
        V(1)/1: a second moment of 1 is kept if this is 1.
    q
        The variance at which ``slope`` and ``chi`` are taken: 1, or the stationary one of an edge of chaos or of the
        slope at zero.
    slope, chi
        V' and χ₁ there: gradients are kept if χ₁ is 1.
    isometric
        Whether each layer's linear part is an isometry (its Jacobian spectrum is kept).
    reason
        What the scale is chosen for.
    """

    name: str
    sigma_w: float
    sigma_b: float
    q_ratio: float
    q: float
    slope: float
    chi: float
    isometric: bool
    reason: str


@clean
def unified_view(activation: object) -> tuple[Stationarity, ...]:
    """The table of known initialisations for one activation, every number computed.

    Examples
    --------
    >>> from firstlight.theory import unified_view
    >>> {r.name: (round(r.q_ratio, 3), round(r.chi, 3)) for r in unified_view("relu")}["He"]
    (1.0, 1.0)
    """
    phi = activations.get(activation)
    one = activations.moments(phi, 1.0)
    slope0 = float(phi.derivative(torch.zeros(1, dtype=torch.float64))[0])
    value0 = float(phi(torch.zeros(1, dtype=torch.float64))[0])
    choices: list[tuple[str, float, float, float, bool, str]] = [
        (
            "LeCun / Glorot",
            1.0,
            0.0,
            1.0,
            False,
            "E w² = 1/n: keeps the variance of a linear layer, both ways",
        ),
        ("orthogonal", 1.0, 0.0, 1.0, True, "keeps the Jacobian spectrum of a linear layer"),
        ("He", math.sqrt(2), 0.0, 1.0, False, "keeps the second moment through ReLU"),
        (
            "gain / LSUV",
            float(one.gain),
            0.0,
            1.0,
            False,
            "keeps the second moment 1 through this activation",
        ),
    ]
    if slope0 != 0:
        weight = 1 / (abs(slope0) * math.sqrt(1 + value0**2))
        reason = "1/(φ'(0)²(1 + φ(0)²)): keeps small signals"
        choices.append(("slope at zero", weight, 0.0, _stationary(phi, weight), False, reason))
    if not phi.jumps:
        edge = edge_of_chaos(phi)
        stable = [i for i in range(len(edge.q)) if edge.stable[i] and edge.q[i] > 0]
        if stable:
            i = min(stable, key=lambda j: abs(math.log(edge.q[j])))
            reason = "keeps the variance, equal inputs and gradients at its q"
            w, b = float(edge.sigma_w[i]), float(edge.sigma_b[i])
            choices.append(("edge of chaos", w, b, float(edge.q[i]), False, reason))
    rows = []
    for name, w, b, q, isometric, reason in choices:
        layer = LayerMap.of(phi, sigma_w=w, sigma_b=b)
        _, slope, chi = (float(v) for v in layer.moments(q))
        ratio = float(layer.variance(1.0))
        rows.append(Stationarity(name, w, b, ratio, q, slope, chi, isometric, reason))
    return tuple(rows)


def _stationary(phi: activations.Activation, sigma_w: float) -> float:
    """The variance that signals of variance 1 tend to without biases; 1 if that is 0 or there is none."""
    points = variance_fixed_points(LayerMap.of(phi, sigma_w=sigma_w), within=(1e-6, 1e6))
    own = [p.q for p in points if p.q > 0 and p.stability != "unstable" and p.basin[0] <= 1 <= p.basin[1]]
    return own[0] if own else 1.0


@dataclass(frozen=True)
class Gain:
    """A weight scale with its reason and its consequences.

    Attributes
    ----------
    value
        σ_w such that σ_w² E φ² = 1 at q = 1: ``std = value/√fan_in``.
    backward
        σ_w that keeps gradients instead, 1/√E φ'²; the two agree on the edge of chaos only.
    chi
        χ₁ with ``value``: what the forward gain does to squared gradients, per layer.
    reason
        In words.
    """

    value: float
    backward: float
    chi: float
    reason: str


@clean
def gain(activation: Any) -> Gain:
    """The gain of any activation, with its reason, where ``torch.nn.init.calculate_gain`` raises or guesses.

    Raises
    ------
    DomainError
        φ vanishes on N(0, 1) or its moment diverges.

    Examples
    --------
    >>> from firstlight.theory import gain
    >>> round(gain("tanh").value, 4), round(gain("tanh").chi, 4)  # torch's 5/3 is folklore
    (1.5925, 1.1778)
    """
    phi = activations.get(activation)
    value = activations.gain(phi)
    slope = float(activations.moments(phi, 1.0).slope)
    if not math.isfinite(slope):
        raise DomainError(f"while computing the gain of {phi.name!r}: expected E φ'² finite, got {slope}")
    chi = value**2 * slope
    backward = 1 / math.sqrt(slope) if slope > 0 else math.inf
    word = "keeps" if abs(chi - 1) < 1e-6 else "grows" if chi > 1 else "shrinks"
    reason = (
        f"σ_w = {value:.5g} keeps E z² = 1 through {phi.name}; squared gradients then {word} "
        f"(χ₁ = {chi:.4g} per layer). σ_w = {backward:.5g} would keep gradients."
    )
    return Gain(value, backward, chi, reason)
