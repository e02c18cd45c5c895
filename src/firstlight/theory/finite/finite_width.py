"""What finite width adds: Edgeworth kurtosis, and the variance of the layer's second moment over networks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from firstlight import activations, weights
from firstlight.network import RandomNetwork
from firstlight.theory.maps.layer import LayerMap


@dataclass(frozen=True, eq=False)
class FiniteWidth:
    """Corrections of order depth/width, one entry for each layer.

    Attributes
    ----------
    vertex
        Var(S)/E(S)², where S is the variance of a unit given the layer before: how networks differ.
    spread
        Var(K̂)/K², where K̂ is the mean of z² over the layer's units.
    kurtosis
        Excess kurtosis of one unit over networks.
    exact
        Whether the numbers are exact at this width (φ of degree one, σ_b = 0, Gaussian weights) or the leading
        order in depth/width.
    """

    vertex: np.ndarray
    spread: np.ndarray
    kurtosis: np.ndarray
    exact: bool


def rho4(activation: Any, q: float | int = 1.0) -> float:
    """ρ₄ = E φ⁴/(E φ²)² at variance q: 6 for ReLU, 3 for a linear unit.

    Examples
    --------
    >>> from firstlight.theory import rho4
    >>> round(rho4("relu"), 12)
    6.0
    """
    phi = activations.get(activation)
    return float(activations.fourth(phi, q) / activations.second(phi, q) ** 2)


def edgeworth_kurtosis(activation: Any, *, width: int = 1, weight_kurtosis: float | int = 3.0) -> float:
    r"""Excess kurtosis of the second layer at q = 1: κ₄ = (k_w ρ₄ − 3)/n.

    The density is N(z)·[1 + κ₄/24·He₄(z)]; 24 divides its He₄ coefficient times n: .625 for ReLU.

    Examples
    --------
    >>> from firstlight.theory import edgeworth_kurtosis
    >>> round(edgeworth_kurtosis("relu") / 24, 3)
    0.625
    """
    return (float(weight_kurtosis) * rho4(activation) - 3) / width


def matching_weight_kurtosis(activation: Any) -> float | None:
    """k_w = 3/ρ₄, for which the leading correction vanishes, or None where no law has it (k_w < 1).

    Examples
    --------
    >>> from firstlight.theory import matching_weight_kurtosis
    >>> matching_weight_kurtosis("relu") is None, round(matching_weight_kurtosis("sign"), 6)
    (True, 3.0)
    """
    kurtosis = 3 / rho4(activation)
    return kurtosis if kurtosis >= 1 else None


def weight_kurtosis(law: Any) -> float:
    """E W⁴/(E W²)² of a law as ``RandomNetwork`` takes it."""
    law = weights.get(law) if isinstance(law, str) else law
    return float(law.excess_kurtosis) + 3.0


def finite_width(network: RandomNetwork, q: np.ndarray) -> FiniteWidth:
    r"""Corrections along a network whose layers have variances q (one for each weight layer).

    .. math::
        \operatorname{Var} S^{l+1} = \frac{σ_w^4}{n_l} (E φ^4 - (E φ^2)^2) + V'(q_l)^2 \operatorname{Var} S^l,
        \qquad κ = \frac{3 \operatorname{Var} S + (k_w - 3) σ_w^4 E φ^4/n}{q^2}

    For orthogonal weights the layer lies on a sphere: 2q²(dE φ²/dq)² is taken from the first term. For φ of
    degree one without bias and Gaussian weights the recursion is the exact (1 + vertex) ↦ (1 + (ρ₄ − 1)/n)(1 + vertex).

    Notes
    -----
    Roberts, Yaida and Hanin (2022), equation 4.90 and chapter 5; ReLU's exact kurtosis 3(1 + 5/n)^{l−1}.
    """
    phi = network.phi
    layer = LayerMap.of(network)
    n = np.array(network.widths, dtype=np.float64)
    lost = ~((q < 1e140) & (q > 1e-140))  # fourth moments leave the floating range from here on
    q = np.where(lost, 1.0, q)
    seen = np.ones_like(q) if layer.norm else q
    unique, inverse = np.unique(seen, return_inverse=True)
    values = torch.from_numpy(np.maximum(unique, 1e-300))
    m = activations.moments(phi, values)
    fourth = activations.fourth(phi, values).numpy()[inverse]
    second, growth = m.second.numpy()[inverse], m.growth.numpy()[inverse]
    orthogonal = not network.law.independent
    normal = isinstance(network.law, weights.Normal)
    exact = phi.degree == 1 and network.sigma_b == 0 and normal and _plain(network)
    k_w = weight_kurtosis(network.weight_law)
    scale = layer.branch**2 * layer.sigma_w2
    vertex, kurtosis, spread = np.zeros(len(q)), np.zeros(len(q)), np.zeros(len(q))
    first = weight_kurtosis(network.first_layer) - 3
    kurtosis[0] = first / (network.in_features or math.inf)
    for i in range(len(q)):
        if i:
            own = fourth[i - 1] - second[i - 1] ** 2
            if orthogonal:
                own -= 2 * (seen[i - 1] * growth[i - 1]) ** 2
            if exact:
                vertex[i] = (1 + vertex[i - 1]) * (1 + own / second[i - 1] ** 2 / n[i - 1]) - 1
            else:
                slope = layer.skip**2 + (0.0 if layer.norm else scale * growth[i - 1])
                carried = (slope * q[i - 1]) ** 2 * vertex[i - 1]
                vertex[i] = (scale**2 * own / n[i - 1] + carried) / q[i] ** 2 if q[i] > 0 else 0.0
            extra = (k_w - 3) * scale**2 * fourth[i - 1] / n[i - 1] / q[i] ** 2 if q[i] > 0 else 0.0
            kurtosis[i] = 3 * vertex[i] + extra - (6 / (n[i] + 2) if orthogonal else 0.0)
        spread[i] = vertex[i] if orthogonal and i else vertex[i] + 2 / n[i] * (1 + vertex[i])
    if not exact:
        vertex[lost], spread[lost], kurtosis[lost] = math.nan, math.nan, math.nan
    return FiniteWidth(vertex, spread, kurtosis, exact)


def _plain(network: RandomNetwork) -> bool:
    return network.norm is None and network.skip == 0 and network.dropout == 0
