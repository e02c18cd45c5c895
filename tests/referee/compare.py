"""Theory against brute force: one check for each number, and one line for all checks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from tests.referee import brute
from tests.referee.draw import Case

import firstlight
from firstlight.errors import DomainError
from firstlight.theory import Laws, LayerMap, finite_width, propagate_density

# Theory rounds here, relative; quadrature of a callable with jumps found by bisection is good to this.
ROUNDING = 2e-6


@dataclass(frozen=True)
class Check:
    """One number by theory and by measurement, with the measurement's error and what theory allows itself."""

    case: str
    what: str
    theory: float
    measured: float
    error: float
    freedom: float = math.inf
    allowed: float = 0.0

    @property
    def z(self) -> float:
        """Distance beyond ``allowed`` in standard errors, as the normal deviate of the same probability."""
        if math.isinf(self.theory) and math.isinf(self.measured):
            return 0.0
        excess = max(abs(self.theory - self.measured) - self.allowed, 0.0)
        if not math.isfinite(excess):
            return math.inf
        if excess == 0:
            return 0.0
        z = excess / self.error if self.error > 0 else math.inf
        if math.isinf(self.freedom) or math.isinf(z):
            return z
        from scipy.stats import norm, t

        tail = float(t.logsf(z, self.freedom))
        # far out the normal deviate of a tail p is √(−2 ln p) to a few per cent
        return float(norm.isf(math.exp(tail))) if tail > -600 else math.sqrt(-2 * tail)


def line(checks: int, level: float = 1e-3) -> float:
    """Bonferroni: |z| that one of so many checks passes with this probability if all theory is right."""
    from scipy.stats import norm

    return float(norm.isf(level / 2 / max(checks, 1)))


def checks(case: Case, seed: int) -> Iterator[Check]:
    """Every check of one case."""
    net = case.network
    if net.norm == "batch":
        yield from _batch(case, seed)
        return
    yield from recursion(case, seed)
    yield from _finite(case, seed)
    plain = (
        net.norm is None and net.skip == 0 and net.branch == 1 and net.dropout == 0 and net.law.independent
    )
    if plain and net.widths[0] <= 8:
        yield from density(case, seed)


def recursion(case: Case, seed: int, q: np.ndarray | None = None) -> Iterator[Check]:
    """q, its slope and the correlation of layers 2 and 3 from theory's own layer before, by Gaussian means."""
    net = case.network
    profile = firstlight.predict(net, q0=case.q0, c0=case.c0)
    path = profile["q"] if q is None else q
    scale = net.branch**2 * net.sigma_w**2 * net.law.variance
    g, h = brute.normals(seed), brute.normals(seed + 1, shuffled=True)
    for i in range(net.depth - 1):
        now = float(path[i])
        seen = 1.0 if net.norm else now
        if not (math.isfinite(now) and now > 0):
            continue
        bias, own, keep = net.branch**2 * net.sigma_b**2, net.skip**2, 1 - net.dropout
        values = net.phi(math.sqrt(seen) * g)
        if not _seen(values.square()):
            continue
        second, error = brute.mean(values.square())
        expected, error = own * now + scale * second / keep + bias, scale * error / keep
        free = brute.REPLICATES - 1
        yield Check(case.label, f"q[{i + 2}]", float(path[i + 1]), expected, error, free, ROUNDING * expected)
        if q is not None:
            continue
        if net.norm is None:
            # the score function's slope holds for jumps too
            slope, slope_error = brute.mean(values.square() * (g.square() - 1) / (2 * seen))
            theory = float(profile["variance_slope"][i])
            yield Check(
                case.label,
                f"slope[{i + 1}]",
                theory,
                own + scale * slope / keep,
                scale * slope_error / keep,
                free,
                1e-6 + 1e-5 * (scale * second / keep / seen),
            )
        c = float(profile["correlation"][i])
        if abs(c) < 0.9 and net.norm is None and net.skip == 0 and net.branch == 1 and net.dropout == 0:
            theory = float(LayerMap.of(net).correlation_slope(now, c))
            yield correlation_slope(case, now, c, theory, seed + 2)
        if abs(c) < 1 and math.isfinite(c):
            v = net.phi(math.sqrt(seen) * (c * g + math.sqrt(1 - c * c) * h))
            if not _seen(values * v):
                continue
            pair, error = brute.mean(values * v)
            covariance = own * c * now + scale * pair + bias
            yield Check(
                case.label,
                f"c[{i + 2}]",
                float(profile["correlation"][i + 1]) * float(path[i + 1]),
                covariance,
                scale * error,
                free,
                1e-5 * expected,
            )
    star = profile.meta.get("q_star")
    if star and q is None and net.norm is None:
        yield from stationary(case, float(star), seed)


def stationary(case: Case, star: float, seed: int) -> Iterator[Check]:
    """V(q*) = q* by Gaussian means."""
    net = case.network
    squares = net.phi(math.sqrt(star) * brute.normals(seed)).square()
    if not _seen(squares):
        return
    second, error = brute.mean(squares)
    scale = net.branch**2 * net.sigma_w**2 * net.law.variance / (1 - net.dropout)
    after = net.skip**2 * star + scale * second + net.branch**2 * net.sigma_b**2
    yield Check(case.label, "q*", star, after, scale * error, brute.REPLICATES - 1, ROUNDING * star)


def correlation_slope(case: Case, q: float, c: float, theory: float, seed: int) -> Check:
    """C'(c) by the score of the correlation, which holds for jumps too."""
    net = case.network
    g, h = brute.normals(seed), brute.normals(seed + 1, shuffled=True)
    v, rest = c * g + math.sqrt(1 - c * c) * h, 1 - c * c
    score = (c * rest + (1 + c * c) * g * v - c * (g**2 + v**2)) / rest**2
    values = net.phi(math.sqrt(q) * g)
    slope, error = brute.mean(values * net.phi(math.sqrt(q) * v) * score)
    scale = net.sigma_w**2 * net.law.variance
    variance = scale * brute.mean(values.square())[0] + net.sigma_b**2
    share = scale / variance
    return Check(case.label, "C'(c)", theory, share * slope, share * error, brute.REPLICATES - 1, 1e-5)


def _seen(values: torch.Tensor) -> bool:
    """Whether enough samples carry a mean; a few far ones would say nothing of its error."""
    size = values.abs()
    return float(size.sum() ** 2) > 300 * float(size.square().sum()) > 0


def _light(values: torch.Tensor) -> bool:
    """Whether no single sample carries a noticeable part of a variance: then z is a normal deviate."""
    deviation = (values - values.mean()).square()
    return float(deviation.max() / deviation.sum().clamp_min(1e-300)) < 0.1


def _finite(case: Case, seed: int) -> Iterator[Check]:
    """Kurtosis and spread of networks drawn, exact for degree one, else with the next order allowed."""
    net = case.network
    q = firstlight.predict(net, q0=case.q0)["q"]
    found = finite_width(net, q)
    n = net.widths[0]
    if not found.exact and (n < 32 or (net.phi.kinks and net.norm)):
        return
    for i, z in enumerate(brute.layers(net, case.q0, nets=min(20_000, 1_500_000 // n**2 + 500), seed=seed)):
        second, fourth = z.square().mean(dim=1), z.pow(4).mean(dim=1)
        mean, k4, root = float(second.mean()), float(fourth.mean()), math.sqrt(len(z))
        if not mean > 0:
            continue
        # the next order of the expansion, relative to the size of the first
        size = 0.0 if found.exact else float((found.vertex[i] + 6 / n) * (0.3 + 3 * found.vertex[i]))
        error = float(second.std()) / root
        if found.exact and _light(second):
            yield Check(case.label, f"network q[{i + 1}]", float(q[i]), mean, error, allowed=1e-9 * mean)
        if _light(fourth) and math.isfinite(found.kurtosis[i]):
            theory = float(found.kurtosis[i])
            error = float((fourth / mean**2 - 2 * k4 / mean**3 * second).std()) / root
            allowed = 3 * size + 1e-9
            yield Check(case.label, f"kurtosis[{i + 1}]", theory, k4 / mean**2 - 3, error, allowed=allowed)
        if _light((second - mean).square()) and math.isfinite(found.spread[i]):
            spread = float(second.var()) / mean**2
            error = float(((second / mean - 1).square() - 2 * spread * second / mean).std()) / root
            yield Check(
                case.label, f"spread[{i + 1}]", float(found.spread[i]), spread, error, allowed=size + 1e-9
            )


def density(
    case: Case, seed: int, kurtosis: np.ndarray | None = None, q: np.ndarray | None = None
) -> Iterator[Check]:
    """q, kurtosis and the whole law under independent units, each sample from a tree of its own."""
    net = case.network
    q1 = net.sigma_w**2 * net.first_law.variance * case.q0 + net.sigma_b**2
    net = net.with_(first_layer="normal")
    try:
        laws = propagate_density(net, q1=q1)
    except DomainError:  # refused beyond its stated error, which is an answer
        return
    count = 60_000 if net.widths[0] <= 5 else 15_000
    for i, z in enumerate(brute.independent(net, q1, count=count, seed=seed)):
        square = z.square()
        mean, fourth, root = float(square.mean()), float(square.square().mean()), math.sqrt(count)
        if not mean > 0:
            continue
        theory = float((laws.q if q is None else q)[i])
        if _light(square):
            error = float(square.std()) / root
            yield Check(case.label, f"density q[{i + 1}]", theory, mean, error, allowed=1e-4 * mean)
        theory = float((laws.kurtosis if kurtosis is None else kurtosis)[i])
        if _light(square.square()) and math.isfinite(theory):
            error = float((square.square() / mean**2 - 2 * fourth / mean**3 * square).std()) / root
            ratio = fourth / mean**2
            yield Check(
                case.label, f"density kurtosis[{i + 1}]", theory, ratio - 3, error, allowed=1e-3 * ratio
            )
        if kurtosis is None and q is None:
            yield from _cdf(case.label, f"density cdf[{i + 1}]", z, laws, i)


def _cdf(label: str, what: str, z: torch.Tensor, laws: Laws, layer: int) -> Iterator[Check]:
    """P(|z| ≤ x) at quantiles, a little beyond them so that none stands on an atom."""
    size = np.sort(np.abs(z.numpy()))
    at = np.quantile(size, [0.1, 0.3, 0.5, 0.7, 0.9, 0.98]) + 1.7e-4 * float(np.sqrt(np.mean(size**2)))
    for place, drawn in zip(at, np.searchsorted(size, at, side="right") / len(size), strict=True):
        if 0.002 < drawn < 0.998:
            mine = 2 * float(np.interp(place, laws.x[layer], laws.cdf[layer], right=1.0)) - 1
            error = math.sqrt(drawn * (1 - drawn) / len(size))
            yield Check(label, what, mine, float(drawn), error, allowed=float(laws.lost[layer]) + 2e-4)


def _batch(case: Case, seed: int, chi: float | None = None) -> Iterator[Check]:
    """Stationary growth of the squared gradient with a batch; the theory wants a width above the batch squared."""
    plain = {"sigma_b": 0.0, "skip": 0.0, "branch": 1.0, "dropout": 0.0, "weight_law": "normal"}
    net = case.network.with_(**plain, first_layer="normal", depth=40)
    batch, width = case.batch or 8, 256
    if chi is None:
        try:
            chi = firstlight.predict(net, q0=case.q0, c0=case.c0, batch=batch).meta.get("chi_star")
        except DomainError:
            # entries of a batch stay within √(B − 1), where φ may be constant: theory must refuse then, and only then
            inside = net.phi(math.sqrt(batch - 1) * torch.linspace(-1, 1, 4001, dtype=torch.float64))
            if float(inside.max() - inside.min()) > 0:
                raise
    if chi is None or (net.phi.kinks and not net.phi.degree):
        return  # a jump has no gradient
    grown, error = brute.batch_growth(net, batch, width=width, nets=10, seed=seed)
    allowed = 0.5 * chi * batch**2 / width
    yield Check(case.label, "batch growth", float(chi), grown, error, freedom=9, allowed=allowed)
