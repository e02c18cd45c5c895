"""The whole law of a pre-activation at finite width, layer by layer, by characteristic functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from firstlight.errors import DomainError
from firstlight.network import RandomNetwork
from firstlight.theory.maps.layer import weight_variance

_POINTS = 4096
_REACH = 40.0
_KNOTS = 600


@dataclass(frozen=True, eq=False)
class Laws:
    """Laws of the pre-activations of every layer.

    Attributes
    ----------
    q, kurtosis
        Second moment and excess kurtosis, from moments propagated next to the density.
    ks, ks_standardised
        Kolmogorov–Smirnov distance to N(0, 1), of z and of z/√q.
    atom
        P(z = 0): a layer whose units are all switched off.
    lost
        Mass found outside the grid, with the largest imbalance of the density: an error estimate of the cdf.
    x, cdf
        For each layer the grid (non-negative, in units of z) and P(z ≤ x) on it, (depth, points).
    """

    q: np.ndarray
    kurtosis: np.ndarray
    ks: np.ndarray
    ks_standardised: np.ndarray
    atom: np.ndarray
    lost: np.ndarray
    x: np.ndarray
    cdf: np.ndarray


def propagate_density(network: RandomNetwork, *, q1: float | int, points: int = _POINTS) -> Laws:
    r"""Propagate the law of z through a network of independent units.

    .. math:: E e^{itZ^{l+1}} = e^{-t^2 σ_b^2/2}
        \Big[E\, \hat P\big(t σ_w φ(Z^l)/\sqrt n\big)\Big]^n, \qquad \hat P(s) = E e^{isW}

    The first layer is N(0, q₁). Each layer is inverted on a grid of 40 standard deviations by a cosine
    transform; what does not decay of the characteristic function is an atom at zero (ReLU) and is carried apart.
    Units of one layer are taken as independent, which they are not in a real network: the difference is what
    narrow nets show (odd pairs at width 3).

    Parameters
    ----------
    network
        Plain layers: no normaliser, skip or dropout, and weights with independent entries.
    q1
        Variance of the first layer.
    points
        Grid points; ``lost`` falls as it grows.

    Raises
    ------
    DomainError
        A network outside the above.

    Examples
    --------
    >>> from firstlight import RandomNetwork
    >>> from firstlight.theory import propagate_density
    >>> laws = propagate_density(RandomNetwork(depth=2, width=10, activation="tanh"), q1=1.0)
    >>> bool(laws.ks_standardised[1] > laws.ks_standardised[0])
    True
    """
    if network.norm or network.skip or network.dropout or network.branch != 1 or not network.law.independent:
        raise DomainError(
            "while propagating a density: expected plain layers with independent weights, got "
            f"norm={network.norm!r}, skip={network.skip}, dropout={network.dropout}, weight_law={network.weight_law!r}"
        )
    if not (math.isfinite(q1) and q1 > 0):
        raise DomainError(f"while propagating a density: expected a variance q1 > 0, got {q1}")
    state = _Gaussian(float(q1), points)
    transform = _characteristic(network.weight_law)
    rows = [state]
    for n in network.widths[:-1]:
        state = _layer(network, state, n, transform, points)
        rows.append(state)
    return Laws(
        q=np.array([r.q for r in rows]),
        kurtosis=np.array([r.kurtosis for r in rows]),
        ks=np.array([r.ks(1.0) for r in rows]),
        ks_standardised=np.array([r.ks(math.sqrt(r.q)) for r in rows]),
        atom=np.array([r.atom for r in rows]),
        lost=np.array([r.lost for r in rows]),
        x=np.stack([r.x for r in rows]),
        cdf=np.stack([r.cdf for r in rows]),
    )


@dataclass(frozen=True, eq=False)
class _Law:
    """A symmetric law: atom at 0, density on a grid x ≥ 0, cdf on the grid, exact moments."""

    x: np.ndarray
    density: np.ndarray
    cdf: np.ndarray
    atom: float
    q: float
    kurtosis: float
    lost: float

    def ks(self, scale: float) -> float:
        """Largest distance to N(0, scale²)... of z/scale to N(0, 1); at an atom both sides count."""
        from scipy.special import ndtr

        if not scale > 0:
            return 0.5
        gap = np.abs(self.cdf - ndtr(self.x / scale)) if scale != 1.0 else np.abs(self.cdf - ndtr(self.x))
        return float(max(gap.max(), self.atom / 2, 1 - ndtr(self.x[-1] / scale)))

    def expect(self, values: np.ndarray) -> float:
        """E h(Z) for values of h on x, already averaged over ±x; h(0) comes first."""
        step = self.x[1]
        weights = np.full(len(self.x), 2 * step)
        weights[0] = weights[-1] = step
        mass = self.density * weights
        # the grid's own mass is made exact, so that constants are
        mass *= (1 - self.atom) / mass.sum()
        return float(values @ mass + self.atom * values[0])


def _Gaussian(q: float, points: int) -> _Law:
    from scipy.special import ndtr

    s = math.sqrt(q)
    x = np.linspace(0, 12 * s, points + 1)
    density = np.exp(-0.5 * (x / s) ** 2) / (s * math.sqrt(2 * math.pi))
    return _Law(x, density, ndtr(x / s), 0.0, q, 0.0, 0.0)


def _layer(
    network: RandomNetwork, law: _Law, n: int, transform: Callable[[np.ndarray], np.ndarray], points: int
) -> _Law:
    from scipy.fft import dct, dst
    from scipy.interpolate import CubicSpline

    phi = network.phi
    both = np.stack([phi(torch.from_numpy(side * law.x)).numpy() for side in (1.0, -1.0)])
    second = float(law.expect((both**2).mean(0)))
    fourth = float(law.expect((both**4).mean(0)))
    w2, b2 = network.sigma_w**2 * weight_variance(network.weight_law), network.sigma_b**2
    q = w2 * second + b2
    if not q > 0:
        zero = np.linspace(0, 1, points + 1)
        return _Law(zero, 0 * zero, 0 * zero + 1.0, 1.0, 0.0, math.nan, 0.0)
    kurtosis = (_fourth_ratio(network.weight_law) * w2**2 * fourth - 3 * (w2 * second) ** 2) / n / q**2
    s = math.sqrt(q)
    reach = min(_REACH, 12 + 3 * math.sqrt(max(kurtosis, 0.0)))
    x = np.linspace(0, reach * s, points + 1)
    t = math.pi / (reach * s) * np.arange(points + 1)
    scale = network.sigma_w / math.sqrt(n)
    # The mean over one weight and one unit is smooth in t: knots, dense at 0, then a spline.
    knots = t[-1] * np.linspace(0, 1, _KNOTS) ** 2
    # A zero of φ at one point carries no mass, a zero on an interval does.
    size = np.abs(both)
    size[:, 0] = np.where(size[:, 1] == 0, size[:, 0], np.maximum(size[:, 0], 0.25 * size[:, 1]))
    folded, mass = _folded(law, size, scale, float(both[0, 0]))
    one = np.array([transform(k * folded) @ mass for k in knots])
    single = CubicSpline(knots, one)(t)
    off = float(mass[folded == 0].sum())
    atom = off**n if b2 == 0 else 0.0
    whole = np.power(np.abs(single), n) * (np.sign(single) ** n) * np.exp(-0.5 * b2 * t**2)
    smooth = whole - atom
    step = t[1]
    density = dct(np.concatenate([smooth[:-1], smooth[-1:]]), type=1) * step / (2 * math.pi)
    sine = dst(smooth[1:-1] / t[1:-1], type=1) * step / (2 * math.pi)
    # ∫₀^x f = (1/π)∫ sin(tx)/t · cf dt, with the term at t = 0 equal to x·cf(0)/2 per step
    cdf = np.concatenate([[0.0], sine, [0.0]]) + x * smooth[0] * step / (2 * math.pi)
    cdf[-1] = (1 - atom) / 2
    negative = float(-np.minimum(density, 0).sum() * x[1])
    cdf = 0.5 + atom / 2 + np.clip(cdf, 0.0, (1 - atom) / 2)
    lost = negative + abs(float(smooth[-1]))
    return _Law(x, np.maximum(density, 0.0), np.maximum.accumulate(cdf), atom, q, kurtosis, lost)


def _folded(law: _Law, both: np.ndarray, scale: float, at_zero: float) -> tuple[np.ndarray, np.ndarray]:
    """Values of |φ(Z)|·scale with their masses, thinned to a few hundred points of equal resolution."""
    step = law.x[1]
    weights = np.full(len(law.x), step)
    weights[0] = weights[-1] = step / 2
    mass = law.density * weights
    mass *= (1 - law.atom) / (2 * mass.sum()) if mass.sum() > 0 else 0.0
    values, masses = both.reshape(-1) * scale, np.concatenate([mass, mass])
    values = np.concatenate([values, [abs(at_zero) * scale]])
    masses = np.concatenate([masses, [law.atom]])
    zero = values == 0
    order = np.argsort(values[~zero], kind="stable")
    v, m = values[~zero][order], masses[~zero][order]
    # Groups of neighbours act at their mean square: the error is fourth order in a group's width.
    top = v[-1] if len(v) else 0.0
    group = np.minimum((v / top * 1500).astype(int), 1499) if top > 0 else np.zeros(0, int)
    total = np.bincount(group, m, 1500)
    square = np.bincount(group, m * v * v, 1500)
    keep = total > 0
    folded = np.sqrt(square[keep] / total[keep])
    return np.concatenate([[0.0], folded]), np.concatenate([[masses[zero].sum()], total[keep]])


def _characteristic(law: Any) -> Callable[[np.ndarray], np.ndarray]:
    """E cos(sW) of a symmetric law."""
    if law == "normal":
        return lambda s: np.exp(-0.5 * s * s)
    if law == "uniform":
        return lambda s: np.sinc(s / math.pi)
    if law == "rademacher":
        return np.cos
    from firstlight import weights

    found = weights.get(law) if isinstance(law, str) else law
    # Gauss–Legendre in the probability, refined in the tail by p = 1 − (1 − u)²
    nodes, w = np.polynomial.legendre.leggauss(800)
    u = (nodes + 1) / 2
    inside = torch.from_numpy(0.5 + 0.5 * (1 - (1 - u) ** 2))
    values = found.icdf(inside).double().numpy()
    mass = w * (1 - u)

    from scipy.interpolate import CubicSpline

    # Past the table a law with a density has a transform near zero, and its n-th power nearer.
    grid = np.linspace(0, 300, 6001)
    spline = CubicSpline(
        grid, np.concatenate([np.cos(np.outer(g, values)) @ mass for g in np.split(grid, [3000])])
    )
    return lambda s: np.where(s < 300, spline(np.minimum(s, 300.0)), 0.0)


def _fourth_ratio(law: Any) -> float:
    from firstlight.theory.finite.finite_width import weight_kurtosis

    return weight_kurtosis(law)
