"""Formulas of parametric activations, whose parameters are numbers or tensors that are trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

Number = float | Tensor
# Parameters that must be positive are held above this where they are trained.
_LEAST = 1e-4
# Terms of Mittag-Leffler's power series, and where its asymptotic form takes over: its next term is below 1e-16 there.
_TERMS, _FAR = 128, 40.0
# From this α on the mixture has few nodes; below, arctangents that stay smooth down to α = 0.
MIXED = 0.3


def _positive(value: Number, like: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=like.dtype, device=like.device).clamp_min(_LEAST)


def snake(x: Tensor, a: Number = 1.0) -> Tensor:
    """z + sin²(a z)/a."""
    return x + torch.sin(a * x) ** 2 / a


def apa(x: Tensor, lam: Number = 1.0, kappa: Number = 1.0) -> Tensor:
    """(λ e^{−κz} + 1)^{−1/λ}."""
    lam = _positive(lam, x)
    return torch.exp(-torch.logaddexp(torch.log(lam) - kappa * x, torch.zeros_like(x)) / lam)


def aglu(x: Tensor, lam: Number = 1.0, kappa: Number = 1.0) -> Tensor:
    """z·APA(z)."""
    return x * apa(x, lam, kappa)


def sau(x: Tensor, alpha: Number = 0.15, beta: Number = 1.0) -> Tensor:
    """αz + (1 − α)[zΦ(βz) + p(βz)/β]."""
    density = torch.exp(-0.5 * (beta * x) ** 2) / math.sqrt(2 * math.pi)
    return alpha * x + (1 - alpha) * (x * torch.special.ndtr(beta * x) + density / beta)


def crrelu(x: Tensor, epsilon: Number = 0.01) -> Tensor:
    """max(0, z) + ε z e^{−z²/2}."""
    return torch.relu(x) + epsilon * x * torch.exp(-0.5 * x * x)


def ash(x: Tensor, alpha: Number = 1.0, mu: Number = 0.0, offset: Number = 0.0) -> Tensor:
    """z·sigmoid(α(z − μ − offset))."""
    return x * torch.sigmoid(alpha * (x - mu - offset))


def hard_ash(x: Tensor, alpha: Number = 1.0, mu: Number = 0.0, offset: Number = 0.0) -> Tensor:
    """clip(z, 0, 2)·hard_sigmoid(α(z − μ − offset))."""
    return torch.clamp(x, 0.0, 2.0) * F.hardsigmoid(alpha * (x - mu - offset))


def leaky_relu(x: Tensor, slope: Number = 0.01) -> Tensor:
    """max(z, 0) + slope·min(z, 0)."""
    return torch.relu(x) + slope * torch.clamp(x, max=0.0)


def elu(x: Tensor, alpha: Number = 1.0) -> Tensor:
    """Z for z > 0, alpha·(e^z − 1) below."""
    return torch.where(x > 0, x, alpha * torch.expm1(torch.clamp(x, max=0.0)))


def softplus(x: Tensor, beta: Number = 1.0) -> Tensor:
    """log(1 + e^{beta·z})/beta."""
    return torch.logaddexp(beta * x, torch.zeros_like(x)) / beta


def sine(x: Tensor, frequency: Number = 30.0) -> Tensor:
    """sin(frequency·z)."""
    return torch.sin(frequency * x)


def hermite(x: Tensor, coefficients: Tensor | list[float]) -> Tensor:
    """Σ c_k He_k(z)/√k!."""
    before, now, total = torch.zeros_like(x), torch.ones_like(x), coefficients[0] * torch.ones_like(x)
    for k in range(1, len(coefficients)):
        before, now = now, (x * now - math.sqrt(k - 1) * before) / math.sqrt(k)
        total = total + coefficients[k] * now
    return total


def fourier(x: Tensor, coefficients: Tensor | list[float], phase: float = math.pi / 4) -> Tensor:
    """c₀ + √2 Σ c_k cos(kz − phase)."""
    total = coefficients[0] * torch.ones_like(x)
    for k in range(1, len(coefficients)):
        total = total + math.sqrt(2) * coefficients[k] * torch.cos(k * x - phase)
    return total


def mittag_tanh(x: Tensor, alpha: Number = 2.0) -> Tensor:
    """z·E_{α,2}(z²)/E_{α,1}(z²) with α in [1, 4]: by both series, and by z·z^{−2/α} where z^{2/α} > 40."""
    wide, a = x.double(), torch.as_tensor(alpha, dtype=torch.float64, device=x.device).clamp(1.0, 4.0)
    square = wide.square().clamp_min(1e-300)
    far = square ** (1 / a) > _FAR
    k = torch.arange(_TERMS, dtype=torch.float64, device=x.device)
    # neither side of the choice overflows, so that a gradient by z or α stays a number
    powers = k * torch.log(torch.where(far, 1.0, square))[..., None]
    upper, lower = (torch.logsumexp(powers - torch.lgamma(a * k + beta), dim=-1) for beta in (2, 1))
    ratio = torch.where(far, torch.where(far, square, 1.0) ** (-1 / a), torch.exp(upper - lower))
    return x * ratio.to(x.dtype)


@lru_cache(maxsize=16)
def _nodes(alpha: float) -> tuple[Tensor, float]:
    strip = min(math.pi / 2, math.pi * (1 - alpha) / alpha)
    # exp(−2π·strip/step) is below 1e-17, and e^{−α|u|} at the ends too
    step = strip / 6.5
    u = torch.arange(-math.ceil(40 / alpha / step), math.ceil(40 / alpha / step) + 1, dtype=torch.float64)
    return u * step, step


def mixture(alpha: Number) -> tuple[Tensor, Tensor]:
    """Nodes u and weights of E_α(−t) = Σ w e^{−e^u t^{1/α}}: the trapezoid of an integral that is smooth in u."""
    a = torch.as_tensor(alpha, dtype=torch.float64)
    u, step = _nodes(float(a.detach()))
    u = u.to(a.device)
    # e^{αu}/(e^{2αu} + 2 e^{αu} cos απ + 1), divided through by e^{αu}
    weight = 1 / (torch.exp(a * u) + 2 * torch.cos(a * math.pi) + torch.exp(-a * u))
    return u, weight * step * torch.sin(a * math.pi) / math.pi


@lru_cache(maxsize=1)
def _exponential() -> tuple[Tensor, Tensor]:
    """Nodes s and weights of E f(log Y) for Y ~ Exp(1): the trapezoid of e^{s − e^s} f(s)."""
    # exp(−2π·(π/2)/step) is 7e-18, and the density is below 1e-17 at both ends
    step = 0.25
    s = torch.arange(-40.0, 4.0 + step, step, dtype=torch.float64)
    return s, step * torch.exp(s - torch.exp(s))


def near_sigmoid(x: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    r"""E_α(−e^{−x}) and its slope for α in [0, 0.3], with no singularity at α = 0.

    .. math:: E_α(-t) = E\, \frac{1}{πα} \arctan \frac{Y^α \sin πα}{t + Y^α \cos πα}, \qquad Y \sim \mathrm{Exp}(1)

    The integral of `mixture` by parts: at α = 0 it is 1/(1 + t) for every Y.
    """
    s, weight = (part.to(x.device) for part in _exponential())
    angle = math.pi * alpha
    cosine = torch.cos(angle)
    inside = torch.sigmoid(alpha * s + x[..., None] + torch.log(cosine))
    ratio = torch.sinc(alpha) / cosine * inside
    turn = angle * ratio
    small = angle < 1e-4
    share = torch.where(
        small, ratio * (1 - turn.square() / 3), torch.arctan(turn) / torch.where(small, 1.0, angle)
    )
    slope = ratio * (1 - inside) / (1 + turn.square())
    return (weight * share).sum(-1), (weight * slope).sum(-1)


def mittag_sigmoid(x: Tensor, alpha: Number = 0.5) -> Tensor:
    """E_{α,1}(−e^{−z}) with α in [0, 0.95]: from .3 on as a mixture of e^{−e^u t^{1/α}}, t^{1/α} = e^{−z/α}."""
    a = torch.as_tensor(alpha, dtype=torch.float64, device=x.device).clamp(0.0, 0.95)
    if float(a.detach()) < MIXED:
        return near_sigmoid(x.double(), a)[0].to(x.dtype)
    u, weight = mixture(a)
    return (weight * torch.exp(-torch.exp(u - x.double()[..., None] / a))).sum(-1).to(x.dtype)


# By the family's name: what is trained are the parameters of the formula.
FORMULAS: dict[str, Callable[..., Tensor]] = {
    "snake": snake,
    "apa": apa,
    "aglu": aglu,
    "sau": sau,
    "crrelu": crrelu,
    "ash": ash,
    "hard_ash": hard_ash,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "softplus": softplus,
    "sin": sine,
    "mittag_tanh": mittag_tanh,
    "mittag_sigmoid": mittag_sigmoid,
}
# The same for series, whose coefficients are trained.
SERIES: dict[str, Callable[..., Tensor]] = {"hermite_series": hermite, "fourier_series": fourier}
