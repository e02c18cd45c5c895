"""Prove a pair by numbers, and say plainly what it does to gradients and correlations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from firstlight.pairs.exact.function import ExactActivation
from firstlight.pairs.exact.magnitude import Magnitude
from firstlight.pairs.exact.numbers import chi, correlation_map, expect, nodes, variance_slope
from firstlight.weights import Discrete, WeightLaw


@dataclass(frozen=True)
class Constraint:
    """One thing a pair has to obey: the number, what it should be, and how near it has to be."""

    name: str
    value: float
    target: float
    tolerance: float

    @property
    def met(self) -> bool:
        """Whether the number is where it should be (inf meets inf)."""
        return self.value == self.target or abs(self.value - self.target) <= self.tolerance


@dataclass(frozen=True)
class PairCheck:
    """The constraints of a pair and what it does to signals and gradients at infinite width.

    Attributes
    ----------
    constraints
        Each with its number.
    chi
        χ₁, growth of the squared gradient norm per layer.
    variance_slope
        V'(1): below 1 a second moment that left 1 comes back.
    correlation_at_zero
        C(0): what independent inputs become after one layer.
    correlation_from_three_tenths
        C(.3).
    slope_at_zero
        φ' at the zero of φ, E[1/|W|] for an odd pair (NaN for a positive one).
    """

    constraints: tuple[Constraint, ...]
    chi: float
    variance_slope: float
    correlation_at_zero: float
    correlation_from_three_tenths: float
    slope_at_zero: float

    @property
    def passed(self) -> bool:
        """Whether every constraint is met."""
        return all(constraint.met for constraint in self.constraints)

    @property
    def gradient(self) -> str:
        """What happens to gradients, in words."""
        if not math.isfinite(self.chi):
            return "the slope of φ has no second moment: gradients are dominated by rare units"
        if abs(self.chi - 1) < 1e-9:
            return "critical: the squared gradient norm keeps its mean from layer to layer (χ₁ = 1)"
        depth = math.log(10) / abs(math.log(self.chi))
        if self.chi > 1:
            return (
                f"mildly chaotic: the squared gradient norm grows by {self.chi:.4f} a layer "
                f"(tenfold in {depth:.0f} layers)"
            )
        return (
            f"vanishing: the squared gradient norm shrinks by {self.chi:.4f} a layer "
            f"(tenfold in {depth:.1f} layers), and inputs collapse onto each other"
        )

    @property
    def correlation(self) -> str:
        """What happens to correlations, in words."""
        if self.correlation_at_zero < 1e-9:
            return "unrelated inputs stay unrelated; C(.3) = " + f"{self.correlation_from_three_tenths:.3f}"
        return (
            f"unrelated inputs get correlation {self.correlation_at_zero:.3f} in one layer; "
            f"C(.3) = {self.correlation_from_three_tenths:.3f}"
        )

    def __str__(self) -> str:
        lines = [
            f"{'ok ' if c.met else 'NO '} {c.name}: {c.value:.12g} (should be {c.target:g})"
            for c in self.constraints
        ]
        lines.append(f"χ₁ = {self.chi:.6f}: {self.gradient}")
        lines.append(f"C(0) = {self.correlation_at_zero:.4f}: {self.correlation}")
        return "\n".join(
            [*lines, f"V'(1) = {self.variance_slope:.4f}", f"φ' at its zero = {self.slope_at_zero:.6g}"]
        )


def check(law: WeightLaw, exact: ExactActivation) -> PairCheck:
    """The numbers of one pair, from its exact activation by quadrature.

    Parameters
    ----------
    law, exact
        The weights and the activation.

    Examples
    --------
    >>> from firstlight import pairs
    >>> round(pairs.weibull(3.0).check().chi, 4)
    1.0464
    """
    at = nodes(exact.kink)
    value = exact(at.x)
    variance, fourth = law.moment(2), law.moment(4)
    share = float(at.weight[value < 0].sum())
    constraints = (
        Constraint("largest |P(Wφ(X) ≤ z) − Φ(z)|", law_distance(law, exact.magnitude), 0.0, 1e-9),
        Constraint("E W² · E φ²", variance * at.mean(value**2), 1.0, 1e-8),
        Constraint("E W⁴ · E φ⁴ (kurtosis match)", fourth * at.mean(value**4), 3.0, 1e-6),
        Constraint("share of X where φ < 0", share, exact.split, 1e-9),
        Constraint("probability that φ(X) = 0", float(at.weight[value == 0].sum()), 0.0, 0.0),
    )
    at_zero = math.nan
    if exact.split:
        with np.errstate(divide="ignore"):
            at_zero = float(exact.derivative(np.array([exact.kink]))[0])
    powers = correlation_map(exact, variance)
    return PairCheck(
        constraints,
        chi(exact, variance),
        variance_slope(exact, variance),
        variance * expect(exact, lambda x, y, d: y) ** 2,
        float(np.polyval(powers[::-1], 0.3)),
        at_zero,
    )


def law_distance(law: WeightLaw, magnitude: Magnitude, *, points: int = 60) -> float:
    """sup_z |P(|W Y| > z)/2 − Φ(−z)| over z in (0, 8], without sampling.

    P(|W Y| > z) = E[S(z/|W|)], S the survival of |Y|; the mean over W is an integral over its quantile by a
    double-exponential rule, and a plain sum for a discrete law.
    """
    from scipy.special import ndtr

    z = np.concatenate([np.geomspace(1e-4, 0.1, points // 3), np.linspace(0.15, 8, points - points // 3)])
    z = z[:, None]
    if isinstance(law, Discrete):
        size, mass = np.array(law.magnitudes), np.array(law.probabilities)
    elif not law.has_density:
        size, mass = np.array([law.moment(1)]), np.ones(1)
    else:
        # only |W| > z/edge counts: ending the integral there keeps its integrand smooth
        edge = min(magnitude.edge, float(magnitude.quantile(np.array([1.0]), np.array([-41.0]))[0]))
        reach = law._sf(torch.from_numpy(z / edge)).numpy()
        s = np.linspace(-3.6, 3.6, 301)
        v = 1 / (1 + np.exp(-math.pi * np.sinh(s)))
        mass = math.pi * np.cosh(s) * v * (1 - v)
        mass = reach * mass / mass.sum()
        size = law._isf(torch.from_numpy(np.maximum(reach * v, 1e-300))).numpy()
    tail = magnitude.sf(np.minimum(z / np.maximum(size, 1e-12), 1e9))
    return float(np.abs((tail * mass).sum(-1) / 2 - ndtr(-z[:, 0])).max())
