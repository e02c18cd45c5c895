"""Rules about signals: chaos, collapse, exploding and vanishing activations, residual growth, rank."""

from __future__ import annotations

import math

import numpy as np

from firstlight.diagnosis.findings import Findings, factor, log, names, number
from firstlight.diagnosis.trend import fit
from firstlight.diagnosis.verdict import Severity, Verdict

POOLE = "Poole et al., Exponential expressivity in deep neural networks through transient chaos, NeurIPS 2016"
SCHOENHOLZ = "Schoenholz et al., Deep Information Propagation, ICLR 2017"
# Chaos counts once χ₁ has multiplied small differences by this much over the depth (squared distance).
CHAOS = math.log(100.0)
# The signal's second moment between the first and the last layer.
SIGNAL_WARNING, SIGNAL_UNHEALTHY = math.log(1e3), math.log(1e6)
STREAM_WARNING, STREAM_UNHEALTHY = math.log(100.0), math.log(1e4)


def propagation_verdicts(f: Findings) -> list[Verdict]:
    """What happens to signals and to the differences between them."""
    stream = _stream(f)
    found = [*_non_finite(f), *stream, *_chaotic(f), *_ordered(f)]
    if not stream:
        found += _signal(f)
    return found


def _correlations(f: Findings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth, correlation and its error of the hidden weight rows."""
    rows = f.hidden()
    c = rows["correlation"]
    keep = np.isfinite(c)
    return rows["depth"][keep], c[keep], rows["correlation_se"][keep]


def _chaotic(f: Findings) -> list[Verdict]:
    depth, c, se = _correlations(f)
    chi = f.hidden()["chi"]
    chi = chi[np.isfinite(chi) & (chi > 0)]
    if len(c) < 3 or len(chi) < 3 or f.normalised:
        return []
    logs = np.log(chi)
    mean, error = float(logs.mean()), float(logs.std(ddof=1) / math.sqrt(len(logs)))
    span = float(depth[-1] - depth[0]) + 1
    inputs = f.profile.select("input")["correlation"]
    start = float(inputs[0]) if len(inputs) and math.isfinite(inputs[0]) else float(c[0])
    end = float(np.median(c[-max(len(c) // 5, 1) :]))
    error_end = float(np.nanmedian(se[-max(len(c) // 5, 1) :])) if np.isfinite(se).any() else 0.0
    falls = start - end > max(0.05, 3.0 * error_end)
    if mean * span < CHAOS or mean < 3.0 * error or not falls:
        return []
    return [
        Verdict(
            "chaotic", "Chaotic: similar inputs become unrelated", "unhealthy",
            evidence=(
                f"The correlation between inputs falls from {start:.2f} to {end:.2f} ± {number(error_end)}, and the slope "
                f"χ₁ at the measured q is {math.exp(mean):.3f} ± {math.exp(mean) * error:.3f} per layer: small differences "
                f"grow by {factor(mean * span)} (squared) over {span:.0f} layers."
            ),
            measured=mean * span / math.log(10.0), uncertainty=error * span / math.log(10.0),
            threshold=CHAOS / math.log(10.0), unit="decades of squared distance over the depth",
            why=(
                "above χ₁ = 1 two inputs part exponentially; once small differences have grown a hundredfold, nearby "
                "inputs look unrelated to the last layer, and gradients grow by the same factor"
            ),
            cause=f"the weights are too large for the activation: χ₁ = σ_w² E φ'(z)² = {math.exp(mean):.3f} > 1",
            remedy=(
                "lower σ_w, or raise σ_b, to the edge of chaos χ₁ = 1 of this activation; "
                f"at these q, σ_w × {math.exp(-mean / 2):.3f} is the first guess (audit again, for q moves too)"
            ),
            source=POOLE, layers=names(f.hidden(), np.isfinite(f.hidden()["chi"]), f.hidden()["chi"], 3),
        )
    ]  # fmt: skip


def _ordered(f: Findings) -> list[Verdict]:
    depth, c, se = _correlations(f)
    if len(c) < 3:
        return []
    inputs = f.profile.select("input")["correlation"]
    start = float(inputs[0]) if len(inputs) and math.isfinite(inputs[0]) else float(c[0])
    end = float(np.median(c[-max(len(c) // 10, 1) :]))
    left, before = max(1.0 - end, 0.0), max(1.0 - start, 1e-12)
    shrink = before / left if left > 0 else math.inf
    if shrink < 10.0 or end < 0.95:
        return []
    trend = fit(depth, log(np.maximum(1.0 - c, 1e-12)))
    exponential = trend is not None and trend.slope < -3.0 * trend.se
    severity: Severity = "unhealthy" if shrink > 100.0 and left < 1e-2 and exponential else "warning"
    rank = f.hidden()["effective_rank"]
    rank = rank[np.isfinite(rank)]
    ranks = f" The effective rank of the features falls to {rank[-1]:.2f}." if len(rank) else ""
    scale = (
        f"; depth scale {number(1 / abs(trend.slope))} layers" if exponential and trend is not None else ""
    )
    return [
        Verdict(
            "ordered", "Ordered: inputs collapse onto one direction", severity,
            evidence=(
                f"The correlation between inputs rises from {start:.3f} to {end:.5f}: what tells them apart (1 − c) "
                f"shrinks by a factor {number(shrink)} over {depth[-1] - depth[0]:.0f} layers{scale}.{ranks}"
            ),
            measured=math.log10(shrink) if math.isfinite(shrink) else math.inf, threshold=2.0 if severity == "unhealthy" else 1.0,
            unit="decades of 1 − c lost over the depth",
            why=(
                "what is left of the differences must stay above the noise of training; a tenfold loss is worth a "
                "warning, a hundredfold loss at an exponential rate means that the last layers see one input"
            ),
            cause=(
                "below χ₁ = 1, or with an activation whose mean is not zero (ReLU and its kin, where 1 − c falls as a "
                "power of depth even at χ₁ = 1), each layer pulls inputs together"
            ),
            remedy=(
                "move to the edge of chaos, use an odd or centred activation, add residual branches, or normalise; "
                "very deep plain ReLU networks collapse whatever the weights' scale"
            ),
            source=SCHOENHOLZ, layers=names(f.hidden(), np.isfinite(f.hidden()["correlation"]), f.hidden()["correlation"], 3),
        )
    ]  # fmt: skip


def _signal(f: Findings) -> list[Verdict]:
    trend = f.signal
    if trend is None or not trend.beyond(SIGNAL_WARNING):
        return []
    severity: Severity = "unhealthy" if abs(trend.total) > SIGNAL_UNHEALTHY else "warning"
    up = trend.slope > 0
    rate = math.exp(trend.slope)
    q = f.weights["q"]
    code, title = (
        ("exploding-activations", "Exploding activations")
        if up
        else ("vanishing-activations", "Vanishing activations")
    )
    sigma = float(np.nanmedian(f.weights["sigma_w"]))
    return [
        Verdict(
            code, title, severity,
            evidence=(
                f"The second moment q changes by a factor {rate:.3f} ± {rate * trend.se:.3f} per layer, from {number(float(q[0]))} "
                f"to {number(float(q[-1]))} over {trend.span:.0f} layers (a factor 10 every {number(trend.decade)})."
            ),
            measured=abs(trend.total) / math.log(10), uncertainty=trend.total_se / math.log(10),
            threshold=(SIGNAL_UNHEALTHY if severity == "unhealthy" else SIGNAL_WARNING) / math.log(10),
            unit="decades of q from first to last layer",
            why=(
                "three decades of q put layers of one network in different regimes of the activation; six leave the "
                "range where float16 keeps three digits"
            ),
            cause=f"the variance map V(q)/q is {'above' if up else 'below'} 1 at these q (median σ_w = {number(sigma)})",
            remedy="choose σ_w, σ_b with a stable fixed point V(q) = q near 1 (He: σ_w = √2 for ReLU), or normalise",
            source=POOLE, layers=names(f.weights, np.isfinite(q), q if up else -q, 3),
        )
    ]  # fmt: skip


def _stream(f: Findings) -> list[Verdict]:
    rows = f.profile.select("residual")
    q = rows["q"]
    if len(q) < 4 or not np.isfinite(q).all() or (q <= 0).any():
        return []
    # A block sum that a normaliser rescales afterwards does not compound: judge the growth between sums.
    steps = log(q / np.maximum(rows["stream_q"], 1e-300))
    logs = log(q)
    total = float(logs.max() - logs[0])
    late = float(np.median(steps[len(steps) // 2 :]))
    compounding = late > math.log(1.3)
    if total < STREAM_WARNING or not compounding:
        return []
    severity: Severity = "unhealthy" if total > STREAM_UNHEALTHY else "warning"
    return [
        Verdict(
            "residual-growth", "Residual branches that are not scaled", severity,
            evidence=(
                f"Each residual sum multiplies q by {math.exp(late):.2f} (median of the later half), and the stream grows "
                f"from {number(float(q[0]))} to {number(float(q.max()))} over {len(q)} sums."
            ),
            measured=total / math.log(10), threshold=(STREAM_UNHEALTHY if severity == "unhealthy" else STREAM_WARNING) / math.log(10),
            unit="decades of q along the stream",
            why="branches as strong as their stream double it each time: 2^L; a branch of share 1/L keeps the total bounded",
            cause="the branch reads the un-normalised stream, so its size grows with it",
            remedy="scale branches by 1/√L, normalise at the head of each branch, or start their last weight at zero",
            source="De & Smith, NeurIPS 2020; Brock et al., ICLR 2021 (signal propagation plots)",
            layers=names(rows, np.ones(len(q), bool), q, 3),
        )
    ]  # fmt: skip


def _non_finite(f: Findings) -> list[Verdict]:
    share = f.profile["nonfinite"]
    bad = np.isfinite(share) & (share > 0)
    if not bad.any():
        return []
    first = str(f.profile["name"][np.flatnonzero(bad)[0]])
    return [
        Verdict(
            "non-finite-activations", "Activations that are not finite", "unhealthy",
            evidence=f"{int(bad.sum())} of {len(share)} rows hold NaN or infinity; the first is {first} ({share[bad][0]:.2%} of entries).",
            measured=float(share[bad].max()), threshold=0.0, unit="share of entries",
            why="everything after a NaN is NaN; statistics of such rows leave these entries out",
            cause="overflow of the dtype, a division by zero, or the square root or log of a negative number",
            remedy=f"look at what feeds {first}; in float16 try bfloat16, otherwise scale the layers before it down",
            source="measured directly", layers=names(f.profile, bad),
        )
    ]  # fmt: skip
