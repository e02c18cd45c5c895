"""Activations from the literature: sparsity-inducing, log-periodic, series, gates and other families."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from firstlight.activations.activation import Activation
from firstlight.errors import DomainError


def _named(name: str, **parameters: float) -> tuple[str, dict[str, float]]:
    return f"{name}({', '.join(repr(float(v)) for v in parameters.values())})", {
        key: float(value) for key, value in parameters.items()
    }


def crelu(tau: float, m: float = math.inf) -> Activation:
    """min(max(z − tau, 0), m): the clipped sparse ReLU of Price, Adam and Tanner (2024)."""
    name, parameters = _named("crelu", tau=tau, m=m)
    return Activation(
        name,
        lambda x: torch.clamp(x - tau, 0.0, m),
        lambda x: ((x > tau) & (x < tau + m)).to(x.dtype),
        kinks=(tau,) if math.isinf(m) else (tau, tau + m),
        parameters=parameters,
    )


def cst(tau: float, m: float = math.inf) -> Activation:
    """sign(z)·min(max(|z| − tau, 0), m): the clipped soft threshold of Price, Adam and Tanner (2024)."""
    name, parameters = _named("cst", tau=tau, m=m)
    outer = () if math.isinf(m) else (tau + m,)
    return Activation(
        name,
        lambda x: torch.sign(x) * torch.clamp(x.abs() - tau, 0.0, m),
        lambda x: ((x.abs() > tau) & (x.abs() < tau + m)).to(x.dtype),
        kinks=(*(-v for v in outer), -tau, tau, *outer),
        parity="odd",
        parameters=parameters,
    )


def log_periodic(delta: float = 0.99, omega: float = 6.0) -> Activation:
    """z·exp((δ/ω) sin(ω log|z|)): infinitely many stable variances (Wolinski and Arbel, 2025)."""
    name, parameters = _named("log_periodic", delta=delta, omega=omega)

    def log(x: Tensor) -> Tensor:
        return torch.log(x.abs().clamp_min(torch.finfo(x.dtype).tiny))

    def slope(x: Tensor) -> Tensor:
        angle = omega * log(x)
        return torch.exp(delta / omega * torch.sin(angle)) * (1 + delta * torch.cos(angle))

    return Activation(
        name,
        lambda x: x * torch.exp(delta / omega * torch.sin(omega * log(x))),
        slope,
        kinks=(0.0,),
        parity="odd",
        parameters=parameters,
    )


def snake(a: float = 1.0) -> Activation:
    """z + sin²(a z)/a (Ziyin et al., 2020)."""
    if a <= 0:
        raise DomainError(f"while making snake: expected a > 0, got {a}; it is a frequency")
    name, parameters = _named("snake", a=a)
    return Activation(
        name,
        lambda x: x + torch.sin(a * x) ** 2 / a,
        lambda x: 1 + torch.sin(2 * a * x),
        parameters=parameters,
    )


def bump(s: float = 1.0) -> Activation:
    """exp(−z²/2s²)."""
    name, parameters = _named("bump", s=s)
    return Activation(
        name,
        lambda x: torch.exp(-0.5 * (x / s) ** 2),
        lambda x: -x / s**2 * torch.exp(-0.5 * (x / s) ** 2),
        parity="even",
        parameters=parameters,
    )


def apa(lam: float = 1.0, kappa: float = 1.0) -> Activation:
    """(λ e^{−κz} + 1)^{−1/λ}: adaptive parametric activation (Alexandridis et al., 2024)."""
    if lam <= 0:
        raise DomainError(f"while making apa: expected lam > 0, got {lam}; at 0 it is Gumbel's")
    name, parameters = _named("apa", lam=lam, kappa=kappa)
    log_lam = math.log(lam)
    return Activation(
        name,
        lambda x: torch.exp(-torch.logaddexp(log_lam - kappa * x, torch.zeros_like(x)) / lam),
        parameters=parameters,
    )


def aglu(lam: float = 1.0, kappa: float = 1.0) -> Activation:
    """z·APA(z)."""
    gate = apa(lam, kappa)
    name, parameters = _named("aglu", lam=lam, kappa=kappa)
    return Activation(name, lambda x: x * gate(x), parameters=parameters)


def sau(alpha: float = 0.15, beta: float = 1.0) -> Activation:
    """αz + (1 − α)[zΦ(βz) + p(βz)/β]: smooth leaky ReLU (Biswas et al., 2022)."""
    name, parameters = _named("sau", alpha=alpha, beta=beta)

    def function(x: Tensor) -> Tensor:
        density = torch.exp(-0.5 * (beta * x) ** 2) / math.sqrt(2 * math.pi)
        return alpha * x + (1 - alpha) * (x * torch.special.ndtr(beta * x) + density / beta)

    return Activation(
        name, function, lambda x: alpha + (1 - alpha) * torch.special.ndtr(beta * x), parameters=parameters
    )


def crrelu(epsilon: float = 0.01) -> Activation:
    """max(0, z) + ε z e^{−z²/2}."""
    name, parameters = _named("crrelu", epsilon=epsilon)
    return Activation(
        name,
        lambda x: torch.relu(x) + epsilon * x * torch.exp(-0.5 * x * x),
        lambda x: (x > 0).to(x.dtype) + epsilon * (1 - x * x) * torch.exp(-0.5 * x * x),
        kinks=(0.0,),
        parameters=parameters,
    )


def ash(alpha: float = 1.0, mu: float = 0.0, offset: float = 0.0) -> Activation:
    """z·sigmoid(α(z − μ − offset)): adaptive swish with fixed statistics (Lee et al., 2022)."""
    name, parameters = _named("ash", alpha=alpha, mu=mu, offset=offset)
    return Activation(name, lambda x: x * torch.sigmoid(alpha * (x - mu - offset)), parameters=parameters)


def hermite_series(degree: float = 3, renormalise: float = 1) -> Activation:
    """Hermite series that tends to the edge of chaos at q = 1: both E φ² and E φ'² tend to 1.

    Σ c_k He_k/√k! up to ``degree`` with c₀ = √(6(π²/6 − ζ(3)))/π and c_k = (√6/π) k^{−3/2}. Cutting it short
    loses a part of both moments; ``renormalise=1`` divides by √(E φ²).
    """
    n = int(degree)
    name, parameters = _named("hermite_series", degree=n, renormalise=renormalise)
    zeta3 = 1.2020569031595942
    c = [math.sqrt(6 * (math.pi**2 / 6 - zeta3)) / math.pi]
    c += [math.sqrt(6) / math.pi * k**-1.5 for k in range(1, n + 1)]
    norm = math.sqrt(sum(v * v for v in c)) if renormalise else 1.0
    c = [v / norm for v in c]

    def combine(x: Tensor, weights: list[float]) -> Tensor:
        before, now, total = torch.zeros_like(x), torch.ones_like(x), weights[0] * torch.ones_like(x)
        for k in range(1, len(weights)):
            before, now = now, (x * now - math.sqrt(k - 1) * before) / math.sqrt(k)
            total = total + weights[k] * now
        return total

    slopes = [math.sqrt(k) * c[k] for k in range(1, n + 1)] or [0.0]
    return Activation(name, lambda x: combine(x, c), lambda x: combine(x, slopes), parameters=parameters)


CATALOGUE: dict[str, Callable[..., Activation]] = {
    "crelu": crelu,
    "cst": cst,
    "log_periodic": log_periodic,
    "snake": snake,
    "bump": bump,
    "apa": apa,
    "aglu": aglu,
    "sau": sau,
    "crrelu": crrelu,
    "ash": ash,
    "hermite_series": hermite_series,
}
