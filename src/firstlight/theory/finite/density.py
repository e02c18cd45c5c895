"""The whole law of a pre-activation at finite width, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork
from firstlight.theory.finite._marginal import Marginal
from firstlight.theory.finite._sum import sum_of
from firstlight.theory.finite._summand import levels, magnitude_cdf, summand
from firstlight.theory.finite.finite_width import weight_kurtosis
from firstlight.theory.maps.layer import weight_variance
from firstlight.weights import Normal, WeightLaw

_POINTS = 4096
# Points of the transform for each of these.
_FINE = 8
_CELLS = 2400
# Factors on the points, tried in turn until the error is small enough.
_REFINED = (1, 4)


@dataclass(frozen=True, eq=False)
class Laws:
    """Laws of the pre-activations of every layer.

    Attributes
    ----------
    q, kurtosis
        Second moment and excess kurtosis, from moments propagated next to the law; exact where φ has degree one.
    ks, ks_standardised
        Kolmogorov–Smirnov distance to N(0, 1), of z and of z/√q.
    atom
        P(z = 0): a layer whose units are all switched off.
    lost
        Error estimate: the mass that was lost, with the largest difference of the cdf, or relative difference of q, to
        a run with an eighth of the points.
    x, cdf
        For each layer points x ≥ 0 (in units of z) and P(z ≤ x), (depth, points). An atom is a point that stands
        twice, with the two values of the cdf.
    """

    q: np.ndarray
    kurtosis: np.ndarray
    ks: np.ndarray
    ks_standardised: np.ndarray
    atom: np.ndarray
    lost: np.ndarray
    x: np.ndarray
    cdf: np.ndarray


@checked
@clean
def propagate_density(
    network: RandomNetwork, *, q1: float, points: int = _POINTS, tolerance: float = 0.01
) -> Laws:
    r"""Propagate the law of z through a network of independent units.

    .. math:: Z^{l+1} = \sum_{i=1}^{n} \tfrac{σ_w}{\sqrt n} W_i φ(Z_i^l) + σ_b B, \qquad
        P(|W φ(Z)| ≤ x) = E\, P(|W| ≤ x/|φ(Z)|)

    The law of one term follows exactly from the laws of W and Z; the sum of n of them is a power of its Fourier
    transform. Atoms are carried apart: at zero, where φ switches off, and everywhere for discrete weights. The second
    and the fourth moment have recursions of their own, exact for φ of degree one.

    The first layer is N(0, q₁), or with ``in_features`` and another first law the sum over inputs of equal size.
    Units of one layer are taken as independent, which they are not in a real network: the difference is what
    narrow networks show (odd pairs at width 3).

    Parameters
    ----------
    network
        Plain layers, or blocks that are such layers: no normaliser, skip or dropout, and weights with independent
        entries.
    q1
        Variance of the first layer.
    points
        Resolution: the transform has eight times as many points. ``lost`` falls as their number grows.
    tolerance
        Largest error of the cdf, or relative error of q, that is accepted. Where it is not met, four times
        the points are tried.

    Raises
    ------
    DomainError
        A network outside the above, or an error beyond ``tolerance``.

    Examples
    --------
    >>> from firstlight import RandomNetwork
    >>> from firstlight.theory import propagate_density
    >>> laws = propagate_density(RandomNetwork(depth=2, width=10, activation="tanh"), q1=1.0)
    >>> bool(laws.ks_standardised[1] > laws.ks_standardised[0])
    True
    >>> three = RandomNetwork(depth=5, width=3, activation="relu", sigma_w=2**0.5, weight_law="rademacher")
    >>> propagate_density(three, q1=2.0).kurtosis.round(3).tolist()
    [0.0, 1.0, 1.667, 2.111, 2.407]
    """
    layers = [network] * network.depth if network.blocks is None else network.chain.layers()
    for layer in dict.fromkeys(layers):
        _check(layer, q1, points)
    for refined in _REFINED:
        fine, lost = _with_error(layers, network.widths, float(q1), points * refined)
        if lost.max() <= tolerance:
            break
    else:
        worst = int(lost.argmax())
        raise DomainError(
            f"while propagating a density: expected an error of at most {tolerance:g}, got {lost[worst]:.2g} "
            f"at layer {worst + 1} with {points * refined} points, because the law spans more decades than the grid; "
            "give fewer or wider layers or a larger tolerance, or simulate the network"
        )
    x, cdf = _tables(fine)
    return Laws(
        q=np.array([r.q for r in fine]),
        kurtosis=np.array([r.kurtosis for r in fine]),
        ks=np.array([r.ks(1.0) for r in fine]),
        ks_standardised=np.array([r.ks(math.sqrt(r.q)) for r in fine]),
        atom=np.array([r.atom for r in fine]),
        lost=lost,
        x=x,
        cdf=cdf,
    )


def _check(network: RandomNetwork, q1: float, points: int) -> None:
    first, later = network.first_law, network.law
    dependent = not later.independent or (not first.independent and network.in_features is not None)
    if network.norm or network.skip or network.dropout or network.branch != 1 or dependent:
        raise DomainError(
            "while propagating a density: expected plain layers with independent weights, got "
            f"norm={network.norm!r}, skip={network.skip}, branch={network.branch}, dropout={network.dropout}, "
            f"weight_law={network.weight_law!r}, first_layer={network.first_layer!r}; simulate this network instead"
        )
    if not (math.isfinite(q1) and q1 > 0):
        raise DomainError(f"while propagating a density: expected a variance q1 > 0, got {q1}")
    if points < 64:
        raise DomainError(f"while propagating a density: expected at least 64 points, got {points}")


def _rows(layers: Sequence[RandomNetwork], widths: Sequence[int], q1: float, points: int) -> list[Marginal]:
    grid, cells = points * _FINE, min(max(_CELLS * points // _POINTS, 64), 2 * _CELLS)
    rows = [_first(layers[0], q1, grid, cells)]
    cdfs = {layer.weight_law: magnitude_cdf(layer.law) for layer in layers[1:] if levels(layer.law) is None}
    for layer, n in zip(layers[1:], widths):
        cdf = cdfs.get(layer.weight_law)
        rows.append(_next(layer, rows[-1], n, layer.law, cdf, grid, cells))
    return rows


def _first(network: RandomNetwork, q1: float, grid: int, cells: int) -> Marginal:
    """N(0, q₁), or n₀ terms with inputs of one size where that is another law."""
    law, n = network.first_law, network.in_features
    bias = network.sigma_b**2
    if n is None or isinstance(law, Normal) or not law.independent or q1 <= bias:
        return Marginal.normal(q1, cells)
    size = math.sqrt((q1 - bias) / weight_variance(law))
    point = Marginal(
        np.array([0.0, 1.0]), np.zeros(1), np.ones(1), np.ones(1), np.ones(1, bool), 1.0, -2.0, 0.0
    )
    from firstlight import activations

    cdf = magnitude_cdf(law) if levels(law) is None else None
    one = summand(point, activations.get("linear"), size / math.sqrt(n), law, cdf)
    kurtosis = (weight_kurtosis(law) - 3) * (q1 - bias) ** 2 / n / q1**2
    return sum_of(one, n, bias=bias, q=q1, kurtosis=kurtosis, grid=grid, cells=cells)


def _next(
    network: RandomNetwork, before: Marginal, n: int, law: WeightLaw, cdf: object, grid: int, cells: int
) -> Marginal:
    second, fourth = before.moments(network.phi)
    w2, bias = network.sigma_w**2 * weight_variance(law), network.sigma_b**2
    q = w2 * second + bias
    if not math.isfinite(q):
        raise DomainError(
            f"while propagating a density: expected a finite second moment, got {q} for φ={network.phi.name}; "
            "choose an activation or scales for which E φ(z)² exists"
        )
    if not q > 0:
        return Marginal(
            np.array([0.0, 1.0]), np.zeros(1), np.zeros(1), np.ones(1), np.ones(1, bool), 0.0, math.nan, 0.0
        )
    kurtosis = (
        (weight_kurtosis(law) * w2**2 * fourth - 3 * (w2 * second) ** 2) / n / q**2 if second > 0 else 0.0
    )
    one = summand(before, network.phi, network.sigma_w / math.sqrt(n), law, cdf)  # type: ignore[arg-type]
    return sum_of(one, n, bias=bias, q=q, kurtosis=kurtosis, grid=grid, cells=cells)


def _with_error(
    layers: Sequence[RandomNetwork], widths: Sequence[int], q1: float, points: int
) -> tuple[list[Marginal], np.ndarray]:
    """The laws, and for each the error that a run with an eighth of the points shows."""
    fine, coarse = _rows(layers, widths, q1, points), _rows(layers, widths, q1, max(points // 8, 32))
    return fine, np.array([_error(a, b) for a, b in zip(fine, coarse, strict=True)])


def _error(fine: Marginal, coarse: Marginal) -> float:
    """Largest difference of two laws, away from atoms that may have moved, and the mass that was lost."""
    z = np.concatenate([fine.edges, coarse.edges])
    near = 1e-4 * math.sqrt(fine.q)
    for a in np.concatenate([fine.at, coarse.at]):
        z = z[(np.abs(z - a) > near) | (a == 0)]
    gap = float(np.abs(fine.cdf(z) - coarse.cdf(z)).max()) if len(z) else 0.0
    moved = abs(fine.q - coarse.q) / fine.q if fine.q > 0 else abs(coarse.q)
    return max(gap, moved) + max(fine.lost, 0.0)


def _tables(rows: list[Marginal]) -> tuple[np.ndarray, np.ndarray]:
    """Points and cdf of each layer, of one length: the ends of its cells, and each atom twice."""
    xs, values = [], []
    for row in rows:
        atoms = row.at[row.at > 0]
        places = np.concatenate([row.edges, atoms, atoms])
        after = np.repeat([False, True], [len(row.edges) + len(atoms), len(atoms)])
        value = np.where(after, row.cdf(places), row.cdf(places, left=True))
        value[places == 0] = row.cdf(np.zeros(1))[0]
        order = np.lexsort((after, places))
        xs.append(places[order])
        values.append(value[order])
    length = max(map(len, xs))
    pad = [(0, length - len(x)) for x in xs]
    return (
        np.stack([np.pad(x, p, mode="edge") for x, p in zip(xs, pad)]),
        np.stack([np.pad(v, p, mode="edge") for v, p in zip(values, pad)]),
    )
