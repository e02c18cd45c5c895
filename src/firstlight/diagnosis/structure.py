"""Rules about parameters and inputs: never initialised, constant, cloned, unused, unnormalised data."""

from __future__ import annotations

import math

import numpy as np

from firstlight.diagnosis.findings import Findings, names, number
from firstlight.diagnosis.verdict import Severity, Verdict

_FLAGS: dict[str, tuple[str, str, Severity, str, str]] = {
    "meta": (
        "never-initialised", "Parameters without data", "unhealthy",
        "the parameter is on the meta device or lazy: it has a shape (or not even that) and no values",
        "materialise it: model.to_empty(device=…) and an initialiser, or one forward for lazy modules",
    ),
    "non-finite": (
        "non-finite-weights", "Weights that are not finite", "unhealthy",
        "the weight holds NaN or infinity: uninitialised memory, a failed load, or a training run that diverged",
        "initialise the layer again, or load a sound checkpoint",
    ),
    "cloned": (
        "cloned-units", "Units with identical weights", "unhealthy",
        "several units have the same weights, so they get the same gradient and stay the same for ever",
        "break the symmetry with random weights",
    ),
    "constant": (
        "constant-weights", "Constant weights", "unhealthy",
        "all entries of a weight are equal, so all its units compute the same and stay the same for ever",
        "break the symmetry with random weights",
    ),
    "zero": (
        "zero-weights", "Zero weights", "warning",
        "the weight is exactly zero: the layer passes nothing on, and no gradient below it on the first step",
        "intended for the last layer of a residual branch or of a head; anywhere else use random weights",
    ),
}  # fmt: skip


def structure_verdicts(f: Findings) -> list[Verdict]:
    """What can be said of parameters and inputs without a theory."""
    return [*_flags(f), *_unused(f), *_input_scale(f)]


def _flags(f: Findings) -> list[Verdict]:
    found = []
    flags = f.profile["weight_flags"].astype(str)
    for flag, (code, title, severity, cause, remedy) in _FLAGS.items():
        mask = np.array([flag in text.split(", ") for text in flags], bool)
        if mask.any():
            found.append(
                Verdict(
                    code, title, severity,
                    evidence=f"{int(mask.sum())} of {int((flags != '').sum() + (flags == '').sum())} rows have a weight that is {flag}.",
                    measured=float(mask.sum()), threshold=0.0, unit="rows", why="each such weight is a fault by itself",
                    cause=cause, remedy=remedy, source="measured directly", layers=names(f.profile, mask),
                )
            )  # fmt: skip
    return found


def _unused(f: Findings) -> list[Verdict]:
    unused = tuple(f.meta.get("unused", ()))
    if not unused:
        return []
    return [
        Verdict(
            "unused-parameters", "Parameters that took no part", "note",
            evidence=f"{len(unused)} parameters were not read in this forward.",
            measured=float(len(unused)), threshold=0.0, unit="parameters",
            why="they get no gradient; distributed training waits for it",
            cause="a layer that is built but not called, or called only on other inputs or in the other mode",
            remedy="remove them, or audit with a batch that uses them", source="measured directly", layers=unused[:12],
        )
    ]  # fmt: skip


def _input_scale(f: Findings) -> list[Verdict]:
    rows = f.profile.select("input")
    q = rows["q"]
    bad = np.isfinite(q) & ((q > 100.0) | ((q < 1e-2) & (q > 0)))
    if not bad.any():
        return []
    worst = int(np.argmax(np.where(bad, np.abs(np.log(np.maximum(q, 1e-300))), -np.inf)))
    value, mean = float(q[worst]), float(rows["mean"][worst])
    severity: Severity = "unhealthy" if value > 1e3 else "warning"
    return [
        Verdict(
            "input-scale", "Inputs on an unusual scale", severity,
            evidence=f"Input {rows['name'][worst]} has root mean square {number(math.sqrt(value))} and mean {number(mean)}.",
            measured=math.sqrt(value), threshold=10.0 if value > 1 else 0.1, unit="root mean square of the input",
            why="every initialiser assumes inputs of order one: the first pre-activations have the inputs' scale, and saturate or vanish with it",
            cause="data that were not standardised (pixels in 0…255, physical units)",
            remedy="subtract the mean and divide by the standard deviation of the training data, per feature or channel",
            source="LeCun et al., Efficient BackProp, 1998", layers=names(rows, bad),
        )
    ]  # fmt: skip
