"""Rules about the law of units: dead, saturated, shifted, not Gaussian, massive."""

from __future__ import annotations

import math

import numpy as np

from firstlight.diagnosis.catalogue import verdict
from firstlight.diagnosis.findings import Findings, entries, names, number
from firstlight.diagnosis.rules._paths import branches, gates
from firstlight.diagnosis.verdict import Severity, Verdict

# A unit that is on for one input in eight is silent on sixteen of them with probability 12 %.
FEW = 16
# Chance that a way through the network meets no saturated entry. Measured on digits: tanh with N(0, 1) weights trains
# through 4 layers of 128 (chance .004), and takes a fifth of the loss away through 6 of 64 (.0002).
OPEN = 1e-3
# Mean largest share of a softmax from which its slope, p (1 − p), is below a hundredth.
CHOSEN = 0.99
# Entries of a sample that dropout leaves on a chain: those of the narrowest place times the shares that every place
# keeps. Measured on digits (one, two and four layers of 16, 64 and 256 ReLU units, 300 steps at the best of three
# rates; a guess has 2.30): with 2.5 and more SGD ends below 1, with 1 to 1.6 at .9 to 2.1, with .4 to .8 at 1.4 to 2.2,
# with .3 and less at 2.1 to 2.3.
KEPT = (1.0, 0.3)
# The smallest number of weights of a unit for a test of its pre-activations against a normal law.
FAN_IN = 32


def unit_verdicts(f: Findings) -> list[Verdict]:
    """What is wrong with single units or with the law over units."""
    dead = "more than half of the units give the same value on every sample"
    flat = "more than half of the entries lie where the slope is below 5 % of its largest value"
    return [
        *_share(f, "dead", "dead-units", dead),
        *(_share(f, "saturated", "saturation", flat) or _choices(f)),
        *_shifted(f),
        *_not_gaussian(f),
        *_massive(f),
        *_dropped(f),
    ]


def _share(f: Findings, column: str, code: str, what: str) -> list[Verdict]:
    """A verdict when a share passes a half in some activation, grave when it passes 90 %."""
    rows = f.profile.select("activation")
    share = rows[column]
    # silent on each of a handful of samples happens to live units; on a repeated sample, to any
    enough = (entries(rows) / np.maximum(f.extra(rows, "units"), 1.0) >= FEW) & (not f.one_sample)
    bad = np.isfinite(share) & (share > 0.5) & (enough | (column != "dead"))
    if not bad.any():
        return []
    gated, around = (
        np.isin(f.at("activation"), list(of(f) if column == "saturated" else ())) for of in (gates, branches)
    )
    worst, counted = float(share[bad].max()), bad & ~gated & ~around
    severity: Severity = "unhealthy" if share[counted].max(initial=0.0) > 0.9 else "warning"
    evidence = f"In {int(bad.sum())} of {len(rows)} activations {what}; the worst has {worst:.0%}."
    # the steps of a loop are no depth: an open gate is saturated at each of them, and lets the state pass
    ways = column == "saturated" and not f.loops
    through = _through(rows["depth"][counted], share, counted) if ways else 1.0
    measured, line = worst, 0.9 if severity == "unhealthy" else 0.5
    if count := int((bad & gated).sum()):
        evidence += f" {count} of them are gates beside a way that stays open."
    if count := int((bad & around & ~gated).sum()):
        evidence += f" {count} of them stand on branches that a residual stream goes around."
    if through < OPEN:
        severity, measured, line = "unhealthy", through, OPEN
        evidence += f" A way through all of them meets no such entry with probability {number(through, 2)}."
    return [
        verdict(
            code,
            severity,
            evidence,
            measured=measured,
            threshold=line,
            layers=names(rows, bad, share),
        )
    ]


def _choices(f: Findings) -> list[Verdict]:
    """A softmax over classes, experts or gates that has chosen before it learnt anything.

    A softmax at the end of a model is judged by the loss that reads it.
    """
    found: dict[str, float] = {n: top for n, top in dict(f.meta.get("choices", {})).items() if top > CHOSEN}
    if not found:
        return []
    worst = max(found, key=found.__getitem__)
    evidence = (
        f"The softmax of {worst} gives its largest share {found[worst]:.1%} on average, which leaves less than a "
        "hundredth of the slope."
    )
    layers = tuple(found)[:12]
    return [
        verdict("saturation", "warning", evidence, measured=found[worst], threshold=CHOSEN, layers=layers)
    ]


def _through(depth: np.ndarray, share: np.ndarray, bad: np.ndarray) -> float:
    """Chance that a way through the depth meets no saturated entry, by the best of the rows at each depth."""
    best: dict[float, float] = {}
    for place, s in zip(depth.tolist(), share[bad].tolist()):
        best[place] = max(best.get(place, 0.0), 1.0 - s)
    return math.prod(best.values())


def _shifted(f: Findings) -> list[Verdict]:
    rows = f.hidden()
    with np.errstate(divide="ignore", invalid="ignore"):
        share = rows["mean"] ** 2 / rows["q"]
    units = np.array([float(s.split("×")[-1]) if s else 1.0 for s in rows["shape"]])
    # a product with a vector has one unit, whatever its shape
    units = np.where(["×" in s for s in rows["weight_shape"].astype(str)], units, 1.0)
    # the mean of n independent units of second moment q is 0 ± √(q/n)
    bad = np.isfinite(share) & (share > np.maximum(0.25, 9.0 / np.maximum(units, 1.0)))
    if bad.sum() < max(1, len(rows) // 4):
        return []
    worst = float(np.nanmax(share))
    evidence = (
        f"At {int(bad.sum())} of {len(rows)} weight layers the mean over units makes more than a quarter of "
        f"the second moment (worst {worst:.0%})."
    )
    layers = names(rows, bad, share)
    # what training made of the means is only told
    severity: Severity = "note" if f.learnt else "warning"
    return [verdict("mean-shift", severity, evidence, measured=worst, threshold=0.25, layers=layers)]


def _not_gaussian(f: Findings) -> list[Verdict]:
    rows = f.hidden()
    ks, line = rows["ks_standardised"], rows["ks_critical"]
    known = np.isfinite(ks) & np.isfinite(line)
    # one row in twenty crosses the 5 % line by chance: ask for a clear excess in more rows than that
    # a layer of few weights a unit gives units of different scale, whatever its law
    known &= ~(rows["fan_in"] < FAN_IN) & np.array(["×" in s for s in rows["weight_shape"].astype(str)], bool)
    bad = known & (ks > 1.5 * line)
    if bad.sum() < max(2, math.ceil(0.1 * known.sum())):
        return []
    excess = np.where(bad, ks - line, -np.inf)
    worst = int(np.argmax(excess))
    kurtosis = float(np.nanmedian(rows["kurtosis"][bad]))
    # a heavy-tailed law is a choice that can be changed; what training or the data made is only a note
    heavy = bool(np.nanmax(rows["weight_kurtosis"][bad], initial=-math.inf) > 1.0)
    shape = "heavy-tailed" if kurtosis > 0 else "lighter-tailed than a Gaussian"
    evidence = (
        f"{int(bad.sum())} of {int(known.sum())} weight layers exceed 1.5 times the calibrated 5 % line of the "
        f"Kolmogorov–Smirnov distance; the worst is {ks[worst]:.3f} against {line[worst]:.3f} at "
        f"{rows['name'][worst]}. The pre-activations there are {shape} (median excess kurtosis {number(kurtosis)})."
    )
    return [
        verdict(
            "not-gaussian",
            "warning" if ks[worst] > 0.1 and heavy else "note",
            evidence,
            measured=float(ks[worst]),
            threshold=float(1.5 * line[worst]),
            layers=names(rows, bad, excess),
        )
    ]


def _massive(f: Findings) -> list[Verdict]:
    rows = f.profile.select("weight", "residual")
    ratio = rows["outlier_ratio"]
    # the largest of N Gaussians stands at √(2 ln N) standard deviations
    gaussian = np.sqrt(2.0 * np.log(np.maximum(entries(rows), 2.0)))
    line = np.maximum(50.0, 8.0 * gaussian)
    bad = np.isfinite(ratio) & (ratio > line)
    if not bad.any():
        return []
    worst = int(np.argmax(np.where(bad, ratio, -np.inf)))
    evidence = (
        f"{int(bad.sum())} rows have an entry over {number(float(line[worst]))} times their robust size; the worst, "
        f"{rows['name'][worst]}, reaches {number(float(ratio[worst]))} times (Gaussian entries: {gaussian[worst]:.1f})."
    )
    return [
        verdict(
            "massive-activations",
            "warning",
            evidence,
            measured=float(ratio[worst]),
            threshold=float(line[worst]),
            layers=names(rows, bad, ratio),
        )
    ]


def _dropped(f: Findings) -> list[Verdict]:
    """Dropout that leaves less than one entry of a sample: noise has taken the place of the signal.

    A layer behind dropout gets a sum of n terms, of which 1 − p are there, so that the share 1 − p of its second moment
    is signal; a chain multiplies these shares, and a readout averages over its n inputs. A skip goes around.
    """
    given = {str(name): (float(p), int(entries)) for name, p, entries in f.meta.get("dropouts", ())}
    if not given or len(f.at("residual")) or f.loops:
        return []
    kept: dict[int, float] = {}  # of ways side by side the one that keeps most
    for name, depth in zip(f.profile["name"], f.profile["depth"]):
        if str(name) in given:
            kept[int(depth)] = max(kept.get(int(depth), 0.0), 1.0 - given[str(name)][0])
    left = math.prod(kept.values()) * min(entries for _, entries in given.values())
    if left >= KEPT[0]:
        return []
    severity: Severity = "unhealthy" if left < KEPT[1] else "warning"
    worst = max(given, key=lambda name: given[name][0])
    evidence = (
        f"Dropout behind {len(kept)} layers in a row leaves {number(left)} entries of a sample's signal; "
        f"behind {worst} {given[worst][0]:.0%} of {given[worst][1]} entries are dropped."
    )
    line = KEPT[severity == "unhealthy"]
    return [
        verdict("heavy-dropout", severity, evidence, measured=left, threshold=line, layers=tuple(given)[:12])
    ]
