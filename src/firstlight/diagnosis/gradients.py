"""Rules about gradients: exploding, vanishing, through batch norm, absent, not finite."""

from __future__ import annotations

import math

import numpy as np

from firstlight.diagnosis.findings import Findings, factor, names, number
from firstlight.diagnosis.trend import Trend
from firstlight.diagnosis.verdict import Verdict

# Between the first and the last layer, on the gradient norm. One learning rate serves every layer, and
# training makes up for a decade; at two decades one end of the network stands still while the other diverges.
UNHEALTHY = math.log(100.0)
WARNING = math.log(10.0)
WHY = (
    "one learning rate serves all layers: a factor of 10 between the gradient norms of the first and the last "
    "layer is worth a warning, a factor of 100 is not made up for; the line is on the total over this depth, so "
    "a rate that is harmless at 10 layers counts at 500"
)
SCHOENHOLZ = (
    "Schoenholz et al., Deep Information Propagation, ICLR 2017 (χ₁ and the depth scale of gradients)"
)
YANG = "Yang et al., A Mean Field Theory of Batch Normalization, ICLR 2019; Meterez et al., ICLR 2024"


def gradient_verdicts(f: Findings) -> list[Verdict]:
    """Exploding or vanishing gradients, named by their cause."""
    found = _broken(f)
    trend = f.gradient
    if trend is None or not trend.beyond(WARNING):
        return found
    severity = "unhealthy" if abs(trend.total) > UNHEALTHY else "warning"
    grows = trend.slope < 0
    base = {
        "severity": severity,
        "measured": abs(trend.total) / math.log(10.0),
        "uncertainty": trend.total_se / math.log(10.0),
        "threshold": (UNHEALTHY if severity == "unhealthy" else WARNING) / math.log(10.0),
        "unit": "decades of gradient norm from first to last layer",
        "why": WHY,
        "layers": _extremes(f),
    }
    evidence = _evidence(f, trend)
    if grows and f.batch_normed and not f.residual:
        return [*found, _batch_norm(f, evidence, base)]
    if grows:
        cause, remedy = _exploding_cause(f)
        verdict = Verdict(
            "exploding-gradients",
            "Exploding gradients",
            evidence=evidence,
            cause=cause,
            remedy=remedy,
            source=SCHOENHOLZ,
            **base,
        )  # type: ignore[arg-type]
    else:
        cause, remedy = _vanishing_cause(f)
        verdict = Verdict(
            "vanishing-gradients",
            "Vanishing gradients",
            evidence=evidence,
            cause=cause,
            remedy=remedy,
            source=SCHOENHOLZ,
            **base,
        )  # type: ignore[arg-type]
    return [*found, verdict]


def _evidence(f: Findings, trend: Trend) -> str:
    rate = math.exp(-trend.slope)
    ends = f.log_gradient_norms[np.isfinite(f.log_gradient_norms)]
    text = (
        f"The gradient norm changes by a factor {rate:.3f} ± {rate * trend.se:.3f} per layer towards the input "
        f"(squared: {rate**2:.3f}): a factor 10 every {number(trend.decade)} layers, and "
        f"{factor(float(ends[0] - ends[-1]))} from the last layer to the first over {trend.span:.0f} layers."
    )
    theory = f.theory_growth
    if math.isfinite(theory):
        text += f" Gaussian theory from the measured moments gives {math.exp(theory):.3f} squared per layer."
    return text


def _batch_norm(f: Findings, evidence: str, base: dict[str, object]) -> Verdict:
    relu = "relu" in {str(op) for op in f.profile.select("activation")["op"]}
    rate = "π/(π−1) = 1.467 for ReLU" if relu else "E φ'²/Var φ for this activation"
    return Verdict(
        "batch-norm-explosion",
        "Batch norm makes gradients explode",
        evidence=f"{evidence} Mean field for wide networks and large batches: {rate} (squared, per layer).",
        cause=(
            "batch norm divides by the standard deviation over the batch, which is smaller than the root mean "
            "square because the activation's mean is taken out; the gradient is multiplied by what the signal "
            "was divided by, at every layer, whatever the weights' scale"
        ),
        remedy=(
            "add residual branches around the blocks, or use fewer batch norms; to stay deep without them, use "
            "orthogonal weights with a near-linear activation (sin or tanh with gains that fall with depth) and a "
            "batch of at least the width"
        ),
        source=YANG,
        **base,  # type: ignore[arg-type]
    )


def _chi(f: Findings) -> float:
    chi = f.weights["chi"]
    chi = chi[np.isfinite(chi) & (chi > 0)]
    return float(np.exp(np.log(chi).mean())) if len(chi) else math.nan


def _exploding_cause(f: Findings) -> tuple[str, str]:
    chi = _chi(f)
    if chi > 1.0:
        sigma = float(np.nanmedian(f.weights["sigma_w"]))
        cause = (
            f"χ₁ = σ_w² E φ'(z)² is {chi:.3f} at the measured q: every layer multiplies the squared gradient by it; "
            f"the weights are too large for the activation (median σ_w = {number(sigma)})"
        )
        remedy = (
            f"bring χ₁ to 1: at these q scale the weights by about {1 / math.sqrt(chi):.3f}, or choose (σ_w, σ_b) on "
            "the edge of chaos of the activation; the scale moves q too, so audit again"
        )
        return cause, remedy
    return (
        "the layers' Jacobians multiply gradients by more than 1 on their way to the input",
        "scale the weights or the residual branches down (1/√depth for branches), or normalise before each branch",
    )


def _vanishing_cause(f: Findings) -> tuple[str, str]:
    chi = _chi(f)
    if chi < 1.0:
        sigma = float(np.nanmedian(f.weights["sigma_w"]))
        cause = (
            f"χ₁ = σ_w² E φ'(z)² is {chi:.3f} at the measured q: every layer shrinks the squared gradient by it; "
            f"the weights are too small, or the activation too flat there (median σ_w = {number(sigma)}"
        )
        default = abs(sigma - 1 / math.sqrt(3.0)) < 0.03
        cause += "; 0.577 is torch's default initialisation)" if default else ")"
        return cause, (
            f"bring χ₁ to 1: at these q scale the weights by about {1 / math.sqrt(chi):.3f} (He: σ_w = √2 for ReLU; "
            "otherwise the edge of chaos of the activation); the scale moves q too, so audit again"
        )
    return (
        "the layers' Jacobians multiply gradients by less than 1 on their way to the input",
        "scale the weights up, add residual branches, or normalise",
    )


def _extremes(f: Findings) -> tuple[str, ...]:
    order = f.log_gradient_norms
    return names(f.weights, np.isfinite(order), order, limit=3)


def _broken(f: Findings) -> list[Verdict]:
    """Gradients that are not numbers, or exactly zero where the loss should reach."""
    rows = f.profile
    log_grad = rows["log_grad"]
    broken = np.isposinf(log_grad)
    found = []
    if broken.any():
        found.append(
            Verdict(
                "non-finite-gradients", "Gradients that are not finite", "unhealthy",
                evidence=f"{int(broken.sum())} of {len(rows)} rows received an infinite gradient.",
                measured=float(broken.sum()), threshold=0.0, unit="rows",
                why="no optimiser step can use them",
                cause="an operation with an unbounded derivative (division, square root or log near zero), or overflow",
                remedy="look at the last of the named layers first: the trouble starts there and flows to the input",
                source="measured directly", layers=names(rows, broken),
            )
        )  # fmt: skip
    zero = np.isneginf(f.weights["log_grad"])
    if zero.any() and not zero.all():
        found.append(
            Verdict(
                "zero-gradients", "Layers that no gradient reaches", "warning",
                evidence=f"The gradient is exactly zero at {int(zero.sum())} of {len(f.weights)} weight layers.",
                measured=float(zero.sum()), threshold=0.0, unit="layers",
                why="a weight with no gradient does not move on the first step",
                cause="a zero weight or scale between these layers and the loss, dead units, or a path that is cut",
                remedy="intended for zero-initialised residual branches; otherwise initialise the layer above",
                source="measured directly", layers=names(f.weights, zero),
            )
        )  # fmt: skip
    return found
