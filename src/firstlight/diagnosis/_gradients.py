"""Rules about gradients: exploding, vanishing, through batch norm, absent, not finite."""

from __future__ import annotations

import math

import numpy as np

from firstlight import activations, gauss
from firstlight.diagnosis.catalogue import verdict
from firstlight.diagnosis.findings import Findings, factor, names, number
from firstlight.diagnosis.trend import Trend
from firstlight.diagnosis.verdict import Severity, Verdict

# On the gradient norm between the first and the last layer.
UNHEALTHY = math.log(100.0)
WARNING = math.log(10.0)
TORCH_DEFAULT = 1.0 / math.sqrt(3.0)


def gradient_verdicts(f: Findings) -> list[Verdict]:
    """Exploding or vanishing gradients, named by their cause."""
    found = _broken(f)
    trend = f.gradient
    if trend is None or not trend.beyond(WARNING):
        return found
    severity: Severity = "unhealthy" if abs(trend.total) > UNHEALTHY else "warning"
    code = "exploding-gradients" if trend.slope < 0 else "vanishing-gradients"
    evidence, specific = _evidence(f, trend), _specific(f, trend)
    if trend.slope < 0 and f.batch_normed and not f.residual:
        code, specific = "batch-norm-explosion", {}
        evidence += _mean_field(f)
    order = f.log_gradient_norms
    return [
        *found,
        verdict(
            code,
            severity,
            evidence,
            measured=abs(trend.total) / math.log(10.0),
            uncertainty=trend.total_se / math.log(10.0),
            threshold=(UNHEALTHY if severity == "unhealthy" else WARNING) / math.log(10.0),
            layers=names(f.weights, np.isfinite(order), order, limit=3),
            **specific,
        ),
    ]


def _evidence(f: Findings, trend: Trend) -> str:
    rate = math.exp(-trend.slope)
    ends = f.log_gradient_norms[np.isfinite(f.log_gradient_norms)]
    text = (
        f"The gradient norm changes by a factor {rate:.3f} ± {rate * trend.se:.3f} per layer towards the "
        f"input (squared: {rate**2:.3f}), a factor 10 every {number(trend.decade)} layers: the first layer's "
        f"is {factor(float(ends[0] - ends[-1]))} times the last one's, {trend.span:.0f} layers on."
    )
    if math.isfinite(f.theory_growth):
        text += (
            f" Gaussian theory from the measured moments: {math.exp(f.theory_growth):.3f} squared per layer."
        )
    return text


def _mean_field(f: Findings) -> str:
    """The rate of Yang et al. 2019 in wide networks and large batches, where one known activation is used."""
    used = {str(op) for op in f.profile.select("activation")["op"]}
    if len(used) != 1 or not used <= set(activations.names()):
        return ""
    phi = activations.get(name := used.pop())
    mean, square, slope = (
        float(gauss.expect(function, 0.0, 1.0, kinks=phi.kinks))
        for function in (phi, lambda t: phi(t) ** 2, lambda t: phi.derivative(t) ** 2)
    )
    formula = "π/(π−1)" if name == "relu" else "E φ'²/Var φ"
    rate = slope / (square - mean**2)
    return f" Mean field for {name}, wide networks and large batches: {formula} = {rate:.3f} (squared, per layer)."


def _specific(f: Findings, trend: Trend) -> dict[str, str]:
    """Cause and remedy in numbers, where the slope χ₁ at the measured q explains the trend."""
    chi = f.weights["chi"]
    chi = chi[np.isfinite(chi) & (chi > 0)]
    if not len(chi):
        return {}
    mean = float(np.log(chi).mean())
    if (mean > 0) != (trend.slope < 0):
        return {}
    sigma = float(np.nanmedian(f.weights["sigma_w"]))
    size = "large" if mean > 0 else "small"
    default = "; 0.577 is torch's default" if abs(sigma - TORCH_DEFAULT) < 0.03 else ""
    return {
        "cause": (
            f"χ₁ = σ_w² E φ'(z)² is {math.exp(mean):.3f} at the measured q, and every layer multiplies the "
            f"squared gradient by it: the weights are too {size} for the activation (median "
            f"σ_w = {number(sigma)}{default})"
        ),
        "remedy": (
            f"bring χ₁ to 1: at these q scale the weights by about {math.exp(-mean / 2):.3f}, or choose "
            "(σ_w, σ_b) on the edge of chaos of the activation (He, σ_w = √2, for ReLU); q moves with the "
            "scale, so audit again"
        ),
    }


def _broken(f: Findings) -> list[Verdict]:
    """Gradients that are not numbers, or exactly zero where the loss should reach."""
    rows = f.profile
    broken = np.isposinf(rows["log_grad"])
    found = []
    if broken.any():
        evidence = f"{int(broken.sum())} of {len(rows)} rows received an infinite gradient."
        found.append(
            verdict(
                "non-finite-gradients",
                "unhealthy",
                evidence,
                measured=float(broken.sum()),
                threshold=0.0,
                layers=names(rows, broken),
            )
        )
    zero = np.isneginf(f.weights["log_grad"])
    if zero.any() and not zero.all():
        evidence = f"The gradient is exactly zero at {int(zero.sum())} of {len(f.weights)} weight layers."
        found.append(
            verdict(
                "zero-gradients",
                "warning",
                evidence,
                measured=float(zero.sum()),
                threshold=0.0,
                layers=names(f.weights, zero),
            )
        )
    return found
