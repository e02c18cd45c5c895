"""Activations from the literature: sparsity-inducing, log-periodic, series, gates and other families."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from firstlight.activations.activation import Activation
from firstlight.activations.families import _formulas as formulas
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
        lambda x: formulas.snake(x, a),
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
    return Activation(name, lambda x: formulas.apa(x, lam, kappa), parameters=parameters)


def aglu(lam: float = 1.0, kappa: float = 1.0) -> Activation:
    """z·APA(z)."""
    name, parameters = _named("aglu", lam=lam, kappa=kappa)
    return Activation(name, lambda x: formulas.aglu(x, lam, kappa), parameters=parameters)


def sau(alpha: float = 0.15, beta: float = 1.0) -> Activation:
    """αz + (1 − α)[zΦ(βz) + p(βz)/β]: smooth leaky ReLU (Biswas et al., 2022)."""
    name, parameters = _named("sau", alpha=alpha, beta=beta)

    return Activation(
        name,
        lambda x: formulas.sau(x, alpha, beta),
        lambda x: alpha + (1 - alpha) * torch.special.ndtr(beta * x),
        parameters=parameters,
    )


def crrelu(epsilon: float = 0.01) -> Activation:
    """max(0, z) + ε z e^{−z²/2}."""
    name, parameters = _named("crrelu", epsilon=epsilon)
    return Activation(
        name,
        lambda x: formulas.crrelu(x, epsilon),
        lambda x: (x > 0).to(x.dtype) + epsilon * (1 - x * x) * torch.exp(-0.5 * x * x),
        kinks=(0.0,),
        parameters=parameters,
    )


def ash(alpha: float = 1.0, mu: float = 0.0, offset: float = 0.0) -> Activation:
    """z·sigmoid(α(z − μ − offset)): adaptive swish with fixed statistics (Lee et al., 2022)."""
    name, parameters = _named("ash", alpha=alpha, mu=mu, offset=offset)
    return Activation(name, lambda x: formulas.ash(x, alpha, mu, offset), parameters=parameters)


def hard_ash(alpha: float = 1.0, mu: float = 0.0, offset: float = 0.0) -> Activation:
    """clip(z, 0, 2)·hard_sigmoid(α(z − μ − offset)): ASH without exponentials (Lee et al., 2022)."""
    if alpha <= 0:
        raise DomainError(f"while making hard_ash: expected alpha > 0, got {alpha}; it is a steepness")
    name, parameters = _named("hard_ash", alpha=alpha, mu=mu, offset=offset)
    low, high = mu + offset - 3 / alpha, mu + offset + 3 / alpha
    # the clip's own kinks count where the gate is open, the gate's where the clip is not zero
    kinks = [at for at in (0.0, 2.0) if at > low] + [at for at in (low, high) if at > 0]
    return Activation(
        name,
        lambda x: formulas.hard_ash(x, alpha, mu, offset),
        kinks=tuple(sorted(set(kinks))),
        parameters=parameters,
    )


def matrix_step(inner: float = 1.0, outer: float = 0.5, edge: float = 1.0) -> Activation:
    """Z times a step function of z: ``inner`` for |z| ≤ edge, ``outer`` beyond.

    A diagonal matrix of step functions in place of an activation; ``modules.StepActivation`` trains the steps.
    """
    name, parameters = _named("matrix_step", inner=inner, outer=outer, edge=edge)
    kinks = () if inner == outer else (-edge, edge)

    def slope(x: Tensor) -> Tensor:
        return torch.where(x.abs() > edge, torch.full_like(x, outer), torch.full_like(x, inner))

    return Activation(name, lambda x: x * slope(x), slope, kinks, kinks, "odd", parameters=parameters)


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
    "hard_ash": hard_ash,
    "matrix_step": matrix_step,
}
