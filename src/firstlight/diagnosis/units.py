"""Rules about the law of units: dead, saturated, shifted, not Gaussian, massive."""

from __future__ import annotations

import math

import numpy as np

from firstlight.diagnosis.findings import Findings, entries, names, number
from firstlight.diagnosis.verdict import Severity, Verdict

HOFFMAN = "Lu et al., Dying ReLU and Initialization, 2019"
WOLINSKI = "Wolinski & Arbel, Gaussian Pre-Activations in Neural Networks: Myth or Reality?, TMLR 2025"


def unit_verdicts(f: Findings) -> list[Verdict]:
    """What is wrong with single units or with the law over units."""
    return [*_dead(f), *_saturated(f), *_shifted(f), *_not_gaussian(f), *_massive(f)]


def _dead(f: Findings) -> list[Verdict]:
    rows = f.profile.select("activation")
    dead = rows["dead"]
    bad = np.isfinite(dead) & (dead > 0.5)
    if not bad.any():
        return []
    worst = float(np.nanmax(dead))
    severity: Severity = "unhealthy" if worst > 0.9 else "warning"
    samples = f.profile["shape"][0] if len(f.profile) else ""
    return [
        Verdict(
            "dead-units", "Dead units", severity,
            evidence=f"In {int(bad.sum())} of {len(rows)} activations more than half of the units give the same value on every sample (worst {worst:.0%}; inputs {samples}).",
            measured=worst, threshold=0.9 if severity == "unhealthy" else 0.5, unit="share of units",
            why="with symmetric weights half of the units of a ReLU layer are silent on one sample, and all of them on none: over half silent on all samples means that the samples look alike, or that the pre-activations are shifted below the kink",
            cause="inputs that collapse onto one direction, a negative mean of the pre-activations, or all-zero weights",
            remedy="check the correlation column first; otherwise centre the pre-activations (zero biases, centred inputs), or use an activation with a slope on both sides",
            source=HOFFMAN, layers=names(rows, bad, dead),
        )
    ]  # fmt: skip


def _saturated(f: Findings) -> list[Verdict]:
    rows = f.profile.select("activation")
    share = rows["saturated"]
    bad = np.isfinite(share) & (share > 0.5)
    if not bad.any():
        return []
    worst = float(np.nanmax(share))
    severity: Severity = "unhealthy" if worst > 0.9 else "warning"
    return [
        Verdict(
            "saturation", "Saturated activations", severity,
            evidence=f"In {int(bad.sum())} of {len(rows)} activations more than half of the entries lie where the slope is below 5 % of its largest value (worst {worst:.0%}).",
            measured=worst, threshold=0.9 if severity == "unhealthy" else 0.5, unit="share of entries",
            why="a saturated unit passes less than 1/400 of the squared gradient; with half of them saturated the rest must carry it",
            cause="pre-activations too large for the activation: weights or inputs on too large a scale",
            remedy="scale the inputs to unit variance and the weights to the edge of chaos of this activation, or normalise before it",
            source="Glorot & Bengio, AISTATS 2010", layers=names(rows, bad, share),
        )
    ]  # fmt: skip


def _shifted(f: Findings) -> list[Verdict]:
    rows = f.hidden()
    share = rows["mean"] ** 2 / rows["q"]
    units = np.array([float(s.split("×")[-1]) if s else 1.0 for s in rows["shape"]])
    # the mean of n independent units of second moment q is 0 ± √(q/n)
    bad = np.isfinite(share) & (share > np.maximum(0.25, 9.0 / units))
    if bad.sum() < max(1, len(rows) // 4):
        return []
    worst = float(np.nanmax(share))
    return [
        Verdict(
            "mean-shift", "Pre-activations with a shared mean", "warning",
            evidence=f"At {int(bad.sum())} of {len(rows)} weight layers the mean over units makes more than a quarter of the second moment (worst {worst:.0%}).",
            measured=worst, threshold=0.25, unit="share of q that is the squared mean",
            why="weights and biases of mean zero give pre-activations of mean zero; a shared mean is one direction that all units repeat, and it wastes the activation's range",
            cause="weights or biases whose mean is not zero, meeting inputs whose mean is not zero",
            remedy="centre the weights (or standardise them), centre the inputs, or normalise before the activation",
            source="LeCun et al., Efficient BackProp, 1998", layers=names(rows, bad, share),
        )
    ]  # fmt: skip


def _not_gaussian(f: Findings) -> list[Verdict]:
    rows = f.hidden()
    ks, line = rows["ks_standardised"], rows["ks_critical"]
    known = np.isfinite(ks) & np.isfinite(line)
    # at the 5 % line one row in twenty crosses by chance: ask for a clear excess, in more rows than chance gives
    bad = known & (ks > 1.5 * line)
    if bad.sum() < max(2, math.ceil(0.1 * known.sum())):
        return []
    excess = np.where(bad, ks - line, -np.inf)
    worst = int(np.argmax(excess))
    kurtosis = float(np.nanmedian(rows["kurtosis"][bad]))
    severity: Severity = "warning" if ks[worst] > 0.1 else "note"
    shape = "heavy-tailed" if kurtosis > 0 else "lighter-tailed than a Gaussian"
    return [
        Verdict(
            "not-gaussian", "Pre-activations that are not Gaussian", severity,
            evidence=(
                f"{int(bad.sum())} of {int(known.sum())} weight layers exceed 1.5 times the calibrated 5 % line of the "
                f"Kolmogorov–Smirnov distance; the worst is {ks[worst]:.3f} against {line[worst]:.3f} at {rows['name'][worst]}. "
                f"They are {shape} (median excess kurtosis {number(kurtosis)})."
            ),
            measured=float(ks[worst]), threshold=float(1.5 * line[worst]), unit="KS distance after standardising each sample",
            why="the line allows for the samples' correlation and for the estimated scale: truly Gaussian layers cross it at 5 %",
            cause="narrow layers (the excess kurtosis grows as depth over width), heavy-tailed weights, or a few inputs that dominate the fan-in",
            remedy="theory that assumes Gaussian pre-activations is off by about this much here; widen the layers, or use a weight law and activation that keep them Gaussian",
            source=WOLINSKI, layers=names(rows, bad, excess),
        )
    ]  # fmt: skip


def _massive(f: Findings) -> list[Verdict]:
    inner = f.profile.select("weight", "residual")
    ratio = inner["outlier_ratio"]
    # the largest of N Gaussians stands at √(2 ln N) standard deviations
    gaussian = np.sqrt(2.0 * np.log(np.maximum(entries(inner), 2.0)))
    bad = np.isfinite(ratio) & (ratio > np.maximum(50.0, 8.0 * gaussian))
    if not bad.any():
        return []
    worst = int(np.argmax(np.where(bad, ratio, -np.inf)))
    return [
        Verdict(
            "massive-activations", "Massive activations", "warning",
            evidence=f"{int(bad.sum())} rows have an entry over {ratio[bad].min():.0f} times their root mean square; the worst, {inner['name'][worst]}, reaches {ratio[worst]:.0f} times (Gaussian entries would reach {gaussian[worst]:.1f}).",
            measured=float(ratio[worst]), threshold=float(max(50.0, 8.0 * gaussian[worst])), unit="largest entry over rms",
            why="single entries this large set the scale of quantisation and of low-precision sums",
            cause="an outlier in the inputs, a heavy-tailed weight law, or a channel that a trained network uses as a bias",
            remedy="clip or normalise the inputs; keep these layers in higher precision",
            source="Sun et al., Massive Activations in Large Language Models, COLM 2024", layers=names(inner, bad, ratio),
        )
    ]  # fmt: skip
