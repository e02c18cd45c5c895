r"""One input and any law with a density: the next layer from its characteristic function, without weights.

Given activations h, the units of the next layer are independent with log-characteristic function
Σ_j log ψ_W(t a_j), a_j = σ_w h_j/√n. On an interval where log ψ_W(t) = Σ_m c_m t^{2m} this is a polynomial in t
whose coefficients are power sums of the a_j: O(n) work for the whole layer instead of n weights per unit. The
cdf follows by the Gil-Pelaez integral, and the map from a normal variable to a unit by Newton's method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.ensemble.samplers.base import Sampler, normals
from firstlight.ensemble.samplers.streamed import StreamedWeights, filler
from firstlight.weights import WeightLaw

SMALLEST = 96  # below this fan-in drawing the weights is as fast
_CUT = 7.0  # e^{−t²/2} is below 3e-11 from here on
_STEP = 0.3  # midpoint rule: its period 2π/0.3 holds more than twice the range of a standardised unit
_TERMS = 14
_NODES = torch.linspace(0.3, 5.4, 10, dtype=torch.float64)
_CHECKS = torch.tensor([0.6, 1.3, 2.1, 3.2], dtype=torch.float64)
_DEGREE = 6
_NEGLIGIBLE = 1e-10
TOLERANCE = 1e-6  # largest error of a unit's cdf; where it is exceeded the weights are drawn


@dataclass(frozen=True)
class InvertedWeights(Sampler):
    """Weights of ``law`` for one input; with more inputs, gradients or few units the weights are drawn.

    A few activations may be too large for the polynomial: their weights are drawn and added.
    """

    law: WeightLaw
    sigma_w: float | int = 1.0
    sigma_b: float | int = 0.0

    def forward(
        self,
        h: Float[Tensor, "nets fan_in inputs"],
        fan_out: int,
        generator: torch.Generator,
        *,
        keep: bool = False,
    ) -> tuple[Float[Tensor, "nets fan_out inputs"], Any]:
        """Pre-activations, and what ``backward`` needs (None unless ``keep``)."""
        nets, fan_in, inputs = h.shape
        streamed = StreamedWeights(self.law, self.sigma_w, self.sigma_b)
        if keep or inputs > 1 or fan_in < SMALLEST:
            return streamed.forward(h, fan_out, generator, keep=keep)
        a = h[..., 0].abs() * (self.sigma_w / math.sqrt(fan_in))
        reach, coefficients, variance = log_characteristic(self.law)
        # what the polynomial covers: t a_j ≤ reach for every t that matters
        scale = (a.double().square().sum(dim=1) * variance + self.sigma_b**2).sqrt()
        large = a > (scale * (reach / _CUT) * 0.9)[:, None]
        count = int(large.sum(dim=1).max()) if nets else 0
        if count > fan_in // 8 or not bool((scale > 0).all()):
            return streamed.forward(h, fan_out, generator)
        small = torch.where(large, 0.0, a)
        z, error = _units(small, reach, coefficients, variance, self.sigma_b, fan_out, generator)
        if not error <= TOLERANCE:
            return streamed.forward(h, fan_out, generator)
        if count:
            top = torch.where(large, a, 0.0).topk(count, dim=1).values
            w = torch.empty(nets * fan_out * count, dtype=h.dtype, device=h.device)
            filler(self.law)(w, generator)
            z += torch.bmm(w.view(nets, fan_out, count), top[..., None])[..., 0]
        return z[..., None], None

    def backward(
        self, memo: Any, delta: Float[Tensor, "nets fan_out inputs"], generator: torch.Generator
    ) -> Float[Tensor, "nets fan_in inputs"]:
        """Gradients by ``h`` from gradients by the pre-activations; call once per ``memo``."""
        return StreamedWeights(self.law, self.sigma_w, self.sigma_b).backward(memo, delta, generator)


def _units(
    a: Tensor,
    reach: float,
    coefficients: tuple[float, ...],
    variance: float,
    sigma_b: float,
    fan_out: int,
    generator: torch.Generator,
) -> tuple[Tensor, float]:
    """Independent units (nets, fan_out) and the largest error of their cdf."""
    # power sums of (a_j/reach)²: entries at most one, so that high powers neither overflow nor cancel
    base = a.square().div_(reach**2)
    # a matrix times a vector is the fastest way to sum rows; its float32 rounding moves the scale by 1e-6 at most
    ones = base.new_ones(base.shape[1])
    sums = [(base @ ones).double()]
    scale = (sums[0] * reach**2 * variance + sigma_b**2).sqrt()
    # small entries, a share below 1e-6 of the squares' sum, would only become denormal, which is slow
    base = torch.where(base > 1e-3 * base.mean(dim=1, keepdim=True), base, 0.0)
    power = base
    for m in range(2, _TERMS + 1):
        power = power * base
        sums.append((power @ ones).double())
        # t^{2m} e^{−t²/2} is at most (2m/e)^m: what this term can change in ψ, and later ones change less
        most = abs(coefficients[m - 1]) * sums[-1] / scale ** (2 * m) * (2 * m / math.e) ** m
        if float(most.max()) < _NEGLIGIBLE:
            break
    p = torch.stack(sums, dim=1)
    t = (torch.arange(int(_CUT / _STEP) + 1, dtype=torch.float64, device=a.device) + 0.5) * _STEP
    square = (t / scale[:, None]).square()
    log_psi = -0.5 * sigma_b**2 * square
    raised = torch.ones_like(square)
    for m in range(p.shape[1]):
        raised = raised * square
        log_psi = log_psi + coefficients[m] * p[:, m : m + 1] * raised
    psi = torch.exp(log_psi)
    g = torch.cat([_NODES, _CHECKS]).to(a.device)
    z = _inverse(psi, t, g)
    fit = _fit_matrix().to(a.device)
    c = (z[:, : len(_NODES)] / g[: len(_NODES)]) @ fit.T
    checks = _CHECKS.to(a.device)
    powers = checks[:, None].square() ** torch.arange(_DEGREE, device=a.device)
    back = checks * (c @ powers.T)
    error = float((_tail(psi, t, back) - torch.special.ndtr(-checks)).abs().max()) if len(a) else 0.0
    normal = normals((len(a), fan_out), a, generator)
    square = normal.square()
    c = (c * scale[:, None]).to(a.dtype)
    poly = c[:, -1:].expand_as(normal)
    for m in range(_DEGREE - 2, -1, -1):
        poly = torch.addcmul(c[:, m : m + 1], poly, square)
    return normal.mul_(poly), error


def _inverse(psi: Tensor, t: Tensor, g: Tensor) -> Tensor:
    """Standardised units z with P(Z > z) = Φ(−g), by Newton's method from z = g."""
    target = torch.special.ndtr(-g)
    z = g.expand(len(psi), -1).clone()
    for _ in range(6):
        angle = z[..., None] * t
        tail = 0.5 - (torch.sin(angle) / t * psi[:, None]).sum(dim=-1) * (_STEP / math.pi)
        density = (torch.cos(angle) * psi[:, None]).sum(dim=-1) * (_STEP / math.pi)
        step = ((tail - target) / density.clamp_min(1e-12)).clamp(-0.5, 0.5)
        z = z + step
        if float(step.abs().amax()) < 1e-5:  # the next step would be its square
            break
    return z


def _tail(psi: Tensor, t: Tensor, z: Tensor) -> Tensor:
    """P(Z > z) by the Gil-Pelaez integral."""
    return 0.5 - (torch.sin(z[..., None] * t) / t * psi[:, None]).sum(dim=-1) * (_STEP / math.pi)


@lru_cache(maxsize=1)
def _fit_matrix() -> Tensor:
    """From z/g at the nodes to an even polynomial in g, by least squares that favours the middle."""
    powers = _NODES[:, None].square() ** torch.arange(_DEGREE)
    weight = torch.exp(-_NODES.square() / 8)[:, None]
    return torch.linalg.pinv(powers * weight) * weight.T


@lru_cache(maxsize=32)
def log_characteristic(law: WeightLaw) -> tuple[float, tuple[float, ...], float]:
    """Reach, coefficients and variance: log ψ_W(t) = Σ c_m (t/reach)^{2m}, m = 1…14, for |t| ≤ reach.

    ψ_W(t) = E cos(tW) by double-exponential quadrature of the quantile; the polynomial interpolates
    log ψ_W(t)/t² at Chebyshev points of t², on the largest interval where it is good to 1e-11.

    Examples
    --------
    >>> from firstlight import weights
    >>> from firstlight.ensemble.samplers.inversion import log_characteristic
    >>> reach, c, variance = log_characteristic(weights.Normal())
    >>> abs(c[0] + reach**2 / 2) < 1e-9, abs(variance - 1) < 1e-9
    (True, True)
    """
    u = np.linspace(-4.2, 4.2, 1201)
    s = np.pi / 2 * np.sinh(u)
    v = np.exp(-np.logaddexp(0.0, 2 * s))  # 1/(1 + e^{2s}), to its last digit near both ends
    weight = np.pi * np.cosh(u) * v * np.exp(-np.logaddexp(0.0, -2 * s)) * (u[1] - u[0])
    magnitude = law._isf(torch.from_numpy(np.clip(v, 1e-300, 1.0))).numpy()
    good = np.isfinite(magnitude) & (weight > 0)
    magnitude, weight = magnitude[good], weight[good] / weight[good].sum()
    variance = float(weight @ magnitude**2)
    for reach in 2.0 ** np.arange(2, -8, -0.25) / math.sqrt(variance):
        nodes = 0.5 - 0.5 * np.cos(np.pi * (np.arange(_TERMS) + 0.5) / _TERMS)
        between = np.linspace(0.003, 1, 57)
        values = [_log_psi_over_t2(magnitude, weight, reach * np.sqrt(x)) for x in (nodes, between)]
        if not all(np.isfinite(part).all() for part in values):
            continue
        series = np.polynomial.Chebyshev.fit(nodes, values[0], _TERMS - 1, domain=[0, 1])
        if np.abs(series(between) - values[1]).max() < 3e-11 * variance:
            c = series.convert(kind=np.polynomial.Polynomial).coef
            return float(reach), tuple((np.pad(c, (0, _TERMS - len(c))) * reach**2).tolist()), variance
    return 0.0, (0.0,) * _TERMS, variance


def _log_psi_over_t2(magnitude: np.ndarray, weight: np.ndarray, t: np.ndarray) -> np.ndarray:
    half = np.sin(0.5 * t[:, None] * magnitude) ** 2 @ weight
    # ψ = 1 − 2 E sin²(tW/2): no digits are lost where t is small; NaN from the first zero of ψ on
    return np.where(half < 0.45, np.log1p(-2 * np.minimum(half, 0.45)), np.nan) / t**2
