"""Rules about parameters and inputs: never initialised, constant, cloned, unused, unnormalised data."""

from __future__ import annotations

import math

import numpy as np

from firstlight.diagnosis.catalogue import verdict
from firstlight.diagnosis.findings import Findings, names, number
from firstlight.diagnosis.verdict import Severity, Verdict

_FLAGS: dict[str, tuple[str, Severity]] = {
    "meta": ("never-initialised", "unhealthy"),
    "non-finite": ("non-finite-weights", "unhealthy"),
    "cloned": ("cloned-units", "unhealthy"),
    "constant": ("constant-weights", "unhealthy"),
    "zero": ("zero-weights", "warning"),
}
# Root mean squares of the input outside [0.1, 10] are no longer of order one; past 30, tanh is saturated.
SMALL, LARGE, GRAVE = 1e-2, 1e2, 1e3


def structure_verdicts(f: Findings) -> list[Verdict]:
    """What can be said of parameters and inputs without a theory."""
    return [*_flags(f), *_unused(f), *_input_scale(f), *_same_inputs(f)]


def _flags(f: Findings) -> list[Verdict]:
    found = []
    flags = f.profile["weight_flags"].astype(str)
    total = int((f.profile["kind"] == "weight").sum())
    for flag, (code, severity) in _FLAGS.items():
        mask = np.array([flag in text.split(", ") for text in flags], bool)
        if mask.any():
            evidence = f"{int(mask.sum())} of {total} weights are {flag}."
            layers = names(f.profile, mask)
            found.append(
                verdict(code, severity, evidence, measured=float(mask.sum()), threshold=0.0, layers=layers)
            )
    return found


def _unused(f: Findings) -> list[Verdict]:
    unused = tuple(f.meta.get("unused", ()))
    if not unused:
        return []
    evidence = f"{len(unused)} parameters were not read in this forward: {', '.join(unused[:4])}"
    evidence += "…" if len(unused) > 4 else "."
    count = float(len(unused))
    return [verdict("unused-parameters", "note", evidence, measured=count, threshold=0.0, layers=unused[:12])]


def _input_scale(f: Findings) -> list[Verdict]:
    rows = f.profile.select("input")
    q = rows["q"]
    bad = np.isfinite(q) & ((q > LARGE) | ((q < SMALL) & (q > 0)))
    if not bad.any():
        return []
    worst = int(np.argmax(np.where(bad, np.abs(np.log(np.maximum(q, 1e-300))), -np.inf)))
    value, mean = float(q[worst]), float(rows["mean"][worst])
    evidence = f"Input {rows['name'][worst]} has root mean square {number(math.sqrt(value))} and mean {number(mean)}."
    return [
        verdict(
            "input-scale",
            "unhealthy" if value > GRAVE else "warning",
            evidence,
            measured=math.sqrt(value),
            threshold=math.sqrt(GRAVE if value > GRAVE else LARGE if value > 1 else SMALL),
            layers=names(rows, bad),
        )
    ]


def _same_inputs(f: Findings) -> list[Verdict]:
    rows = f.profile.select("input")
    same = rows["correlation"] > 1.0 - 1e-6
    if not same.any():
        return []
    evidence = f"The samples of {', '.join(names(rows, same))} are copies of one another up to scale."
    return [
        verdict(
            "same-inputs", "warning", evidence, measured=1.0, threshold=1.0 - 1e-6, layers=names(rows, same)
        )
    ]
