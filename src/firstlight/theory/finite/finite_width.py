"""What finite width adds: Edgeworth kurtosis, and the variance of the layer's second moment over networks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from firstlight import activations, gauss, weights
from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.network import RandomNetwork
from firstlight.theory.maps.layer import LayerMap


@dataclass(frozen=True, eq=False)
class FiniteWidth:
    """Corrections of order depth/width, one entry for each layer.

    Attributes
    ----------
    vertex
        Var(S)/E(S)², where S is the variance of a unit given the layer before: how networks differ. With a skip
        path it is Cov(z_i², z_j²)/q² of two units of one layer.
    spread
        Var(K̂)/K², where K̂ is the mean of z² over the layer's units.
    kurtosis
        Excess kurtosis of one unit over networks.
    exact
        Whether the numbers are exact at this width (φ of degree one, neither skip nor normaliser) or the leading
        order in depth/width.
    """

    vertex: np.ndarray
    spread: np.ndarray
    kurtosis: np.ndarray
    exact: bool


@clean
def rho4(activation: object, q: float = 1.0) -> float:
    """ρ₄ = E φ⁴/(E φ²)² at variance q: 6 for ReLU, 3 for a linear unit.

    Examples
    --------
    >>> from firstlight.theory import rho4
    >>> round(rho4("relu"), 12)
    6.0
    """
    phi = activations.get(activation)
    return float(activations.fourth(phi, q) / activations.second(phi, q) ** 2)


@clean
def edgeworth_kurtosis(activation: object, *, width: int = 1, weight_kurtosis: float = 3.0) -> float:
    r"""Excess kurtosis of the second layer at q = 1: κ₄ = (k_w ρ₄ − 3)/n.

    The density is N(z)·[1 + κ₄/24·He₄(z)]; 24 divides its He₄ coefficient times n: .625 for ReLU.

    Examples
    --------
    >>> from firstlight.theory import edgeworth_kurtosis
    >>> round(edgeworth_kurtosis("relu") / 24, 3)
    0.625
    """
    return (float(weight_kurtosis) * rho4(activation) - 3) / width


@clean
def matching_weight_kurtosis(activation: object) -> float | None:
    """k_w = 3/ρ₄, for which the leading correction vanishes, or None where no law has it (k_w < 1).

    Examples
    --------
    >>> from firstlight.theory import matching_weight_kurtosis
    >>> matching_weight_kurtosis("relu") is None, round(matching_weight_kurtosis("sign"), 6)
    (True, 3.0)
    """
    kurtosis = 3 / rho4(activation)
    return kurtosis if kurtosis >= 1 else None


def weight_kurtosis(law: str | weights.WeightLaw) -> float:
    """E W⁴/(E W²)² of a law as ``RandomNetwork`` takes it."""
    law = weights.get(law) if isinstance(law, str) else law
    return float(law.excess_kurtosis) + 3.0


@checked
@clean
def finite_width(network: RandomNetwork, q: np.ndarray) -> FiniteWidth:
    r"""Corrections along a network whose layers have variances q (one for each weight layer).

    .. math::
        \operatorname{Var} S^{l+1} &= σ_w^4 \Big(\frac{E φ^4 - (E φ^2)^2}{n_l} + (q\,\partial_q E φ^2)^2\, o_l\Big),
        \qquad o = \frac{\operatorname{Cov}(z_i^2, z_j^2)}{q^2} \\
        q^2 κ &= 3 \operatorname{Var} S + (k_w - 3)\, σ_w^4 \frac{E φ^4}{n}, \qquad q^2 o = \operatorname{Var} S

    Orthogonal weights put a layer on a sphere in m = max(fan-in, fan-out) dimensions, which takes 6a²/(m + 2) from q²κ
    and 2a²/(m + 2) from q²o, with a = q − σ_b². A normaliser over the units does the same to what φ sees. Skip
    paths add the covariance of z_i² with S. The first layer follows ``first_layer``: it is on a sphere only if that
    is orthogonal, and inputs are taken to be of equal size. For φ of degree one the fourth moments E z_i⁴ and
    E z_i² z_j² have an exact linear recursion for any law of the weights, with bias and dropout.

    Notes
    -----
    Roberts, Yaida and Hanin (2022), equation 4.90 and chapter 5; ReLU's exact kurtosis 3(1 + 5/n)^{l−1}, and
    3n/(n + 2)·(1 + 5/n)·((n + 5)/(n + 2))^{l−2} for orthogonal weights from layer 2 on.

    Examples
    --------
    >>> import firstlight
    >>> from firstlight.theory import finite_width
    >>> net = firstlight.RandomNetwork(depth=3, width=16, activation="relu", sigma_w=2**0.5, weight_law="orthogonal")
    >>> finite_width(net, firstlight.predict(net)["q"]).kurtosis.round(4).tolist()
    [0.0, 0.5, 1.0833]
    """
    exact = network.phi.degree == 1 and network.norm is None and network.skip == 0
    found = _exact(network, q) if exact else _leading(network, q)
    vertex, pair, kurtosis = (np.array(column) for column in zip(*found))
    n = np.array(network.widths, dtype=np.float64)
    spread = (kurtosis + 2) / n + (1 - 1 / n) * pair
    return FiniteWidth(vertex if network.skip == 0 else pair, spread, kurtosis, exact)


def _sphere(network: RandomNetwork, index: int) -> float:
    """Dimension of the sphere that holds a layer's pre-activations under orthogonal weights; infinite otherwise."""
    law = network.law if index else network.first_law
    before = network.widths[index - 1] if index else network.in_features or math.inf
    return math.inf if law.independent else float(max(before, network.widths[index]))


def _exact(network: RandomNetwork, q: np.ndarray) -> list[tuple[float, float, float]]:
    """Var S/(E S)², Cov(z_i², z_j²)/q² and excess kurtosis of each layer, for φ of degree one."""
    phi, keep = network.phi, 1 - network.dropout
    # E φ⁴/(E φ²)² of a unit over E z⁴/(E z²)², with the dropped units
    ratio = float(activations.fourth(phi, 1.0)) / 3 / float(activations.second(phi, 1.0)) ** 2 / keep
    rows: list[tuple[float, float, float]] = []
    fourth = cross = 0.0
    for i, n in enumerate((network.in_features or math.inf, *network.widths[:-1])):
        bias = (network.branch**2 if i else 1.0) * network.sigma_b**2
        share = 1 - bias / q[i] if bias and q[i] > 0 else 1.0
        # E (Σh²)²/(E Σh²)² and E Σh⁴/(E Σh²)²; entries of the input are of one size
        single = (ratio * fourth if i else 1.0) / n
        square = single + (1 - 1 / n) * cross if i else 1.0
        mixed, m = 1 + share**2 * (square - 1), _sphere(network, i)
        law = network.law if i else network.first_law
        if math.isfinite(m):
            cross = mixed - 2 * share**2 * square / (m + 2)
            fourth = 3 * cross
        else:
            cross = mixed
            fourth = 3 * mixed + (
                _times(weight_kurtosis(law) - 3, share**2 * single) if law.independent else 0.0
            )
        rows.append((mixed - 1, cross - 1, fourth - 3))
    return rows


def _times(kurtosis: float, size: float) -> float:
    """Their product, and nothing of an infinite kurtosis where nothing of that size is passed on."""
    return kurtosis * size if size else 0.0


def _leading(network: RandomNetwork, q: np.ndarray) -> list[tuple[float, float, float]]:
    """The three numbers of each layer in leading order in depth/width."""
    layer, keep = LayerMap.of(network), 1 - network.dropout
    lost = ~((q < 1e140) & (q > 1e-140))  # fourth moments leave the floating range from here on
    q = np.where(lost, 1.0, q)
    unique, inverse = np.unique(np.ones_like(q) if layer.norm else q, return_inverse=True)
    values = torch.from_numpy(np.maximum(unique, 1e-300))
    m = activations.moments(layer.phi, values)
    fourth = (activations.fourth(layer.phi, values) / keep**3).numpy()[inverse]
    second, growth = (m.second / keep).numpy()[inverse], (m.growth / keep).numpy()[inverse]
    response = growth * (1.0 if layer.norm else q)  # dE φ²/d log q
    scale, skip2 = layer.branch**2 * layer.sigma_w2, layer.skip**2
    centred = _centred(network)
    sphere = _sphere(network, 0)
    weight = (q[0] - network.sigma_b**2) / q[0]
    pair = -2 * weight**2 / sphere
    shown = -2 * weight**2 / (sphere + 2)
    kurtosis = 3 * shown
    if network.first_law.independent:
        kurtosis = _times(
            weight_kurtosis(network.first_layer) - 3, weight**2 / (network.in_features or math.inf)
        )
    rows = [(0.0, shown, kurtosis)]
    for i in range(1, len(q)):
        n, before = network.widths[i - 1], i - 1
        seen = {None: pair, "layer": -2 / n, "rms": -2 / n}.get(layer.norm, 0.0)
        own = fourth[before] - second[before] ** 2 - centred**2
        variance = scale**2 * (own / n + response[before] ** 2 * seen)
        joint = 0.0  # Cov(z_i², S): a normaliser over the units makes S blind to the size of z
        if layer.norm not in ("layer", "rms"):
            joint = scale * q[before] * response[before] * (2 / n + seen)
        size, sphere = scale * second[before], _sphere(network, i)
        # 2/m goes on to the next layer, where it meets 1/n; what is shown has the sphere's own 2/(m + 2)
        own_pair = variance - 2 * size**2 / sphere
        exactly = own_pair + 2 * size**2 / sphere - 2 * (size**2 + variance) / (sphere + 2)
        own_fourth = 3 * exactly
        if network.law.independent:
            own_fourth += _times(weight_kurtosis(network.weight_law) - 3, scale**2 * fourth[before] / n)
        kept = (skip2 * q[before]) ** 2
        passed = [
            _times(k, kept) + skip2 * joint * share for k, share in ((pair, 2), (shown, 2), (kurtosis, 6))
        ]
        pair, shown, kurtosis = (
            (old + own) / q[i] ** 2 for old, own in zip(passed, (own_pair, exactly, own_fourth))
        )
        rows.append((variance / q[i] ** 2, shown, kurtosis))
    gone = (math.nan,) * 3
    return [gone if off else row for row, off in zip(rows, lost)]


def _centred(network: RandomNetwork) -> float:
    """E g φ(g)² of a layer norm: what its centring takes from the deviation of the mean of φ²."""
    if network.norm != "layer":
        return 0.0
    phi = network.phi
    return float(gauss.expect(lambda g: g * phi(g) ** 2, 0.0, 1.0, kinks=phi.kinks)) / (1 - network.dropout)
