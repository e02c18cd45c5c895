"""Errors of what states an accuracy, each by a second computation; ``claims`` puts them beside the sentences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import mpmath
import numpy as np
import torch
from scipy.special import loggamma, ndtr

from firstlight import RandomNetwork, activations, gauss, pairs, weights
from firstlight.ensemble.samplers._characteristic import log_characteristic, table
from firstlight.ensemble.sums.distance import _reduced
from firstlight.ensemble.sums.sketch import Sketch
from firstlight.ensemble.sums.streaming import compare
from firstlight.gauss.integral import _EDGES
from firstlight.pairs.modules.ship import COMMON
from firstlight.theory import DualMap, LayerMap, kernels, variance_fixed_points
from firstlight.theory.batchnorm import degenerate_slope, gap_step, gaussian_slope
from firstlight.weights.haar import haar as draw_haar

REACH = np.linspace(-12.0, 12.0, 4001)


def module_error(
    kinds: tuple[str, ...],
    dtype: torch.dtype,
    *,
    above: float = 2.0,
    below: float = 99.0,
    native: bool = False,
) -> float:
    """Largest error of the module of a pair on [−12, 12], over kinds and shipped θ."""
    worst = 0.0
    for theta in (t for t in COMMON if above <= t <= below):
        for kind in kinds:
            pair = pairs.weibull(theta, kind=kind)
            phi = pair.native().activation if native else pair.activation
            x = torch.from_numpy(REACH).to(dtype)
            with torch.no_grad():
                found = phi(x).double().numpy()
            worst = max(worst, float(np.abs(found - pair.exact(x.double().numpy())).max()))
    return worst


def at_minus_five(dtype: torch.dtype) -> float:
    """Relative error of the positive module at θ = 2.05, x = −5."""
    pair, x = pairs.weibull(2.05, kind="positive"), torch.tensor([-5.0], dtype=dtype)
    return abs(float(pair.activation(x)) / float(pair.exact(np.array([-5.0]))[0]) - 1)


def tail_error() -> float:
    """Relative error of the float32 module beyond 12."""
    x, worst = torch.tensor([12.5, 20.0, 1e2, 1e4, 1e6]), 0.0
    for theta in COMMON:
        for kind in ("odd", "positive", "critical"):
            pair = pairs.weibull(theta, kind=kind)
            ratio = pair.activation(x).double().numpy() / pair.exact(x.double().numpy())
            worst = max(worst, float(np.abs(ratio - 1).max()))
    return worst


def exact_error() -> float:
    """The exact φ against the residue series of the law of |Y|, E|Y|^s = E|G|^s/Γ(1 + s/θ), in 120 digits."""
    worst = 0.0
    with mpmath.workdps(120):
        for theta in (2.5, 3.0, 7.0):
            for kind, points in (
                ("odd", (1e-6, 0.3, 1.0, 2.5, 5.0)),
                ("positive", (-5.0, -2.0, 0.1, 2.0, 4.0)),
            ):
                phi = pairs.weibull(theta, kind=kind).exact
                for x in points:
                    y = mpmath.mpf(float(phi(np.array([x]))[0]))
                    below, density = _law_of_partner(y, theta)
                    want = mpmath.erf(x / mpmath.sqrt(2)) if kind == "odd" else mpmath.ncdf(x)
                    worst = max(worst, float(abs((below - want) / density / y)))
    return worst


def _law_of_partner(y: mpmath.mpf, theta: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """P(|Y| ≤ y) and its density, by the residues at s = −1, −3, …"""
    below = density = mpmath.mpf(0)
    for k in range(4000):
        power = 2 * k + 1
        size = (
            2
            * (-1) ** k
            / mpmath.factorial(k)
            * mpmath.power(2, -mpmath.mpf(power) / 2)
            / mpmath.sqrt(mpmath.pi)
        )
        size *= mpmath.rgamma(1 - mpmath.mpf(power) / theta)
        term = size * y ** (2 * k)
        density, below = density + term, below + term * y / power
        if k > 20 and abs(term) < mpmath.mpf(10) ** -100 and abs(size) > 0:
            break
    return below, density


def _both(phi: Callable[[np.ndarray], np.ndarray], q1: float, q2: float, k: float) -> float:
    """E φ(u)φ(v) by a trapezoid sum over two independent Gaussians, whose error is below 1e-30 for tanh at q ≤ 4."""
    h = 0.08
    z = np.arange(-9.6, 9.6 + h / 2, h)
    bell = np.exp(-z * z / 2) * h / math.sqrt(2 * math.pi)
    a, b = math.sqrt(q1), k / math.sqrt(q1)
    rest = math.sqrt(max(q2 - b * b, 0.0))
    return float((bell * phi(a * z)) @ (phi(b * z[:, None] + rest * z) @ bell))


def kernel_error(name: str, phi: Callable[[np.ndarray], np.ndarray], depth: int, sigma_w: float) -> float:
    """NNGP kernel of three inputs against sums over both Gaussians, layer by layer."""
    x = torch.tensor([[1.0, 0.2, -0.4], [0.8, 0.5, 0.1], [-0.3, 1.1, 0.9]], dtype=torch.float64)
    net = RandomNetwork(depth=depth, width=8, activation=name, sigma_w=sigma_w, sigma_b=0.1)
    found = kernels(net, x).nngp.numpy()
    now = sigma_w**2 * (x @ x.T).numpy() / 3 + 0.01
    for _ in range(depth - 1):
        after = np.empty_like(now)
        for i in range(3):
            for j in range(i, 3):
                after[i, j] = after[j, i] = _both(phi, now[i, i], now[j, j], now[i, j])
        now = sigma_w**2 * after + 0.01
    return float(np.abs(found / now - 1).max())


def elu_error() -> float:
    """E ELU(u)ELU(v) with the inner mean in closed form and panels that end at zero."""
    nodes, share = np.polynomial.legendre.leggauss(40)
    phi, worst = activations.get("elu"), 0.0
    for q, c in ((1.0, 0.3), (0.01, -0.8), (50.0, 0.9), (1e-6, 0.5)):
        edges = math.sqrt(q) * np.array([-9.0, -6, -4, -2.5, -1.5, -0.7, 0, 0.7, 1.5, 2.5, 4, 6, 9])
        half = np.diff(edges)[:, None] / 2
        u = (edges[:-1, None] + half * (1 + nodes)).ravel()
        weight = (half * share).ravel() * np.exp(-u * u / (2 * q)) / math.sqrt(2 * math.pi * q)
        m, s = c * u, math.sqrt(q * (1 - c * c))
        bell = np.exp(-m * m / (2 * s * s)) / math.sqrt(2 * math.pi)
        inner = m * ndtr(m / s) + s * bell + np.exp(m + s * s / 2) * ndtr(-m / s - s) - ndtr(-m / s)
        want = float(weight @ (np.where(u > 0, u, np.expm1(u)) * inner))
        worst = max(worst, abs(float(activations.dual(phi, q, q, c)) / want - 1))
    return worst


def _fractions(q: float, c: float, terms: int = 400) -> float:
    """E of the product of two fractional parts, by their Fourier series."""
    k = np.arange(1, terms + 1, dtype=np.float64)
    square, cross = k[:, None] ** 2 + k**2, 2 * c * np.outer(k, k)
    waves = np.exp(-2 * math.pi**2 * q * (square - cross)) - np.exp(-2 * math.pi**2 * q * (square + cross))
    return 0.25 + float((waves / np.outer(k, k)).sum()) / (2 * math.pi**2)


def fractions_error(*, stated: bool = False) -> float:
    """The map of z − ⌊z⌋ against its Fourier series, relative to its second moment; or the error that it states."""
    dual = DualMap.of(activations.get(lambda x: x - torch.floor(x)), 1.0)
    c = np.array([-0.9, -0.3, 0.2, 0.6, 0.9, 0.99])
    off = max(abs(float(dual(np.array([x]))[0]) - _fractions(1.0, x)) for x in c) / _fractions(1.0, 1 - 1e-12)
    return dual.error if stated else off


def steps_error() -> float:
    """The map of ⌊z⌋ against E uv − 2 E u·frac(v) + E frac(u)frac(v)."""
    dual, k = DualMap.of(activations.get(torch.floor), 1.0), np.arange(1, 40)
    worst = 0.0
    for c in (-0.8, -0.2, 0.35, 0.7, 0.95):
        mixed = -2 * c * float(np.exp(-2 * math.pi**2 * k**2).sum())
        worst = max(worst, abs(float(dual(np.array([c]))[0]) - (c - 2 * mixed + _fractions(1.0, c))))
    return worst


def fixed_points_error() -> float:
    """V(q)/q − 1 at fixed points, V by a trapezoid sum."""
    worst = 0.0
    for name, phi in (("tanh", np.tanh), ("silu", lambda x: x / (1 + np.exp(-x)))):
        for sigma_w, sigma_b in ((1.3, 0.1), (1.05, 0.3), (1.4, 0.2)):
            for point in variance_fixed_points(
                LayerMap.of(name, sigma_w=sigma_w, sigma_b=sigma_b), within=(1e-3, 9.0)
            ):
                after = sigma_w**2 * _both(phi, point.q, point.q, point.q * (1 - 1e-16)) + sigma_b**2
                worst = max(worst, abs(after / point.q - 1))
    return worst


def gap_error() -> float:
    """The expected step of the isometry gap by mpmath's quadrature."""
    worst = 0.0
    with mpmath.workdps(40):
        for lam in ([0.5, 1.5], [0.1, 0.4, 2.5], [0.9, 1.0, 1.1, 1.0], [1e-3, 1.0, 1.999]):
            d = len(lam)
            scaled = [mpmath.mpf(v) * d / sum(map(mpmath.mpf, lam)) for v in lam]

            def inside(t: mpmath.mpf, scaled: list[mpmath.mpf] = scaled) -> mpmath.mpf:
                return (mpmath.exp(-t) - mpmath.fprod((1 + 2 * t * v) ** -0.5 for v in scaled)) / t

            cuts = [0, *(mpmath.mpf(10) ** e for e in range(-3, 40, 2)), mpmath.inf]
            want = mpmath.quad(inside, cuts) - mpmath.digamma(mpmath.mpf(d) / 2) - mpmath.log(2)
            worst = max(worst, abs(gap_step(lam) - float(want)))
    return worst


def characteristic_error(*, logarithm: bool = False) -> float:
    """The table of characteristic functions, or the polynomial of their logarithms, against closed forms."""
    root3 = math.sqrt(3.0)
    forms = {
        "normal": lambda t: np.exp(-t * t / 2),
        "uniform": lambda t: np.sinc(root3 * t / math.pi),
        "laplace": lambda t: 1 / (1 + t * t / 2),
    }
    worst = 0.0
    for name, form in forms.items():
        law = weights.get(name)
        unit = math.sqrt(law.moment(2))
        if not logarithm:
            t = np.linspace(0, 8, 3001)
            worst = max(worst, float(np.abs(table(law)(torch.from_numpy(t / unit)).numpy() - form(t)).max()))
            continue
        reach, c, _ = log_characteristic(law)
        if reach:
            t = np.linspace(0.05 * reach, reach, 400)
            series = sum(v * (t / reach) ** (2 * m) for m, v in enumerate(c, start=1))
            # the polynomial is fitted to log ψ over t²
            worst = max(worst, float(np.abs((series - np.log(form(t * unit))) / t**2).max()))
    return worst


def haar_error() -> float:
    """Largest entry of WᵀW − 1 in float64."""
    g, worst = torch.Generator().manual_seed(0), 0.0
    for n in (3, 64, 300):
        w = draw_haar(n, n, generator=g, dtype=torch.float64)
        worst = max(worst, float((w.mT @ w - torch.eye(n, dtype=torch.float64)).abs().max()))
    return worst


def quantile_error(what: str) -> float:
    """A normal law known by its quantile function alone, against the normal law."""
    from scipy.special import ndtri

    law = weights.from_icdf(torch.special.ndtri)
    x = np.array([-30.0, -12.0, -5.0, -1.0, -0.1])
    if what == "cdf":
        want = np.array([float(mpmath.ncdf(v)) for v in x])
        return float(np.abs(np.array([float(law.cdf(float(v))) for v in x]) / want - 1).max())
    if what == "pdf":
        plain = weights.from_icdf(lambda p: ndtri(p.detach().numpy()))
        want = np.exp(-(x[2:] ** 2) / 2) / math.sqrt(2 * math.pi)
        return float(
            np.abs(np.array([math.exp(float(plain.log_prob(float(v)))) for v in x[2:]]) / want - 1).max()
        )
    orders = (-0.5, -0.9) if what == "singular" else (-0.2, 0.5, 1.0, 3.0, 7.3)
    if what in ("moments", "singular"):
        want = [2 ** (s / 2) * math.gamma((s + 1) / 2) / math.sqrt(math.pi) for s in orders]
        return max(abs(law.moment(s) / w - 1) for s, w in zip(orders, want))
    bent = weights.from_icdf(
        lambda p: torch.where((p - 0.5).abs() < 0.25, p - 0.5, 3 * (p - 0.5) - 0.5 * (p - 0.5).sign())
    )
    want = [2 * (0.25 ** (s + 1) / (s + 1) + (1 - 0.25 ** (s + 1)) / (3 * (s + 1))) for s in orders]
    return max(abs(bent.moment(s) / w - 1) for s, w in zip(orders, want))


def mellin_error(*, density: bool) -> float:
    """Weibull laws by their transforms, against their closed cdf or density."""
    x, worst = np.geomspace(0.01, 3.0, 25), 0.0
    for theta in (1.0, 2.0, 3.0):

        def transform(s: object, theta: float = theta) -> np.ndarray:
            return loggamma(1 + np.asarray(s, dtype=np.complex128) / theta)

        law = weights.from_mellin(transform, strip=(-theta, math.inf))
        for at in map(float, x):
            if density:
                off = 2 * math.exp(float(law.log_prob(at))) - theta * at ** (theta - 1) * math.exp(
                    -(at**theta)
                )
            else:
                off = 2 * float(law.cdf(at)) - 1 + math.expm1(-(at**theta))
            worst = max(worst, abs(off))
    return worst


def inverted_partner_error() -> float:
    """The partner of a Weibull law known by its quantile function, against the exact pair."""
    law = weights.from_icdf(
        lambda p: torch.sign(p - 0.5) * (-torch.log(2 * torch.minimum(p, 1 - p))) ** (1 / 3)
    )
    x = np.array([0.3, 1.0, 2.0, 3.5])
    return float(np.abs(pairs.partner(law).exact(x) / pairs.weibull(3.0).exact(x) - 1).max())


def quadrature_error() -> float:
    """Second moments of tanh and GELU at variances from 1e-6 to 1e6, by mpmath."""
    worst = 0.0
    with mpmath.workdps(30):
        for name, phi in (("tanh", mpmath.tanh), ("gelu", lambda x: x * mpmath.ncdf(x))):
            for q in (1e-6, 0.3, 40.0, 1e6):
                std = mpmath.sqrt(q)
                cuts = sorted(
                    {s * e / std for s in (-1, 1) for e in (0.3, 1, 3, 8, 20)} | {-12, -6, -3, 0, 3, 6, 12}
                )
                cuts = [c for c in cuts if abs(c) <= 12]

                def inside(z: mpmath.mpf, std: mpmath.mpf = std, phi: Callable = phi) -> mpmath.mpf:  # type: ignore[type-arg]
                    return phi(std * z) ** 2 * mpmath.npdf(z)

                want = mpmath.quad(inside, cuts)
                found = activations.second(activations.get(name), q, closed=False)
                worst = max(worst, float(abs(mpmath.mpf(float(found)) / want - 1)))
    return worst


def hidden_kink_error() -> float:
    """E |G − k| with a kink k that is not declared, beside the ends of panels, where no node sees it."""
    worst = 0.0
    for low, high in itertools.pairwise(_EDGES):
        for away in np.geomspace(3e-4, 3e-3, 8) * (high - low):
            for k in (low + away, high - away):
                found = float(gauss.integrate(lambda x, k=k: (x - k).abs(), 0.0, 1.0).value)
                want = k * (2 * float(ndtr(k)) - 1) + 2 * math.exp(-k * k / 2) / math.sqrt(2 * math.pi)
                worst = max(worst, abs(found - want))
    return worst


def _sketch() -> tuple[Sketch, np.ndarray]:
    """A hundred thousand scales of a log-normal law, as the sketch of deep networks holds."""
    s = np.exp(0.7 * np.random.default_rng(2).standard_normal(100_000))
    return Sketch.of(torch.from_numpy(s)), s


def joined_bins_error() -> float:
    """The mixture cdf of N(0, s²) with bins joined sixteen by sixteen, against the unbinned scales."""
    sketch, s = _sketch()
    centres, mass = _reduced(sketch)
    t = np.geomspace(0.01, 20, 60)
    return float(max(abs(float(ndtr(x / centres) @ mass) - float(ndtr(x / s).mean())) for x in t))


def binned_distance_error() -> float:
    """Wasserstein distance of a sketch to N(0, 1) against that of the sorted values; relative."""
    values = 1.3 * np.random.default_rng(3).standard_normal(200_000)
    x = np.sort(values.astype(np.float32).astype(np.float64))
    found = compare(Sketch.of(torch.from_numpy(x).float())).wasserstein
    grid = np.linspace(-9, 9, 1_800_001)
    gap = np.abs(np.searchsorted(x, grid, side="right") / len(x) - ndtr(grid))
    return abs(found / float(np.trapezoid(gap, grid)) - 1)


def _rise(rank: int, *, haar: bool, first: int, seed: int) -> float:
    """Growth of log ‖∇W‖ per layer from ``first`` to 100 of a linear network with batch norm, 100 wide, by autograd."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(100, rank, generator=g, dtype=torch.float64)
    x = x @ torch.randn(rank, 100, generator=g, dtype=torch.float64) if rank < 100 else x
    layers = []
    for _ in range(100):
        if haar:
            w = draw_haar(100, 100, generator=g, dtype=torch.float64)
        else:
            w = torch.randn(100, 100, generator=g, dtype=torch.float64) / 10
        layers.append(w.requires_grad_())
        x = w @ x
        x = x / x.square().mean(1, keepdim=True).sqrt()
    (x * torch.randn(100, 100, generator=g, dtype=torch.float64)).sum().backward()
    logs = [math.log(float(w.grad.norm())) for w in layers if w.grad is not None]
    return -float(np.polyfit(np.arange(first, 100), logs[first:], 1)[0])


def degenerate_error() -> float:
    """Relative error of the slope of batches of low rank, over layers 50 to 100 of four networks a rank."""
    return max(
        abs(
            np.mean([_rise(rank, haar=True, first=50, seed=s) for s in range(4)])
            / degenerate_slope(rank, 100)
            - 1
        )
        for rank in (5, 10, 20)
    )


def gaussian_error() -> float:
    """Relative error of the slope of Gaussian weights at full rank, over layers 10 to 100 of eight networks."""
    rises = [_rise(100, haar=False, first=10, seed=s) for s in range(8)]
    return abs(float(np.mean(rises)) / gaussian_slope(100, 100) - 1)


def silu(x: np.ndarray) -> np.ndarray:
    """x σ(x)."""
    return x / (1 + np.exp(-x))
