"""Rule about number formats: what of signals and gradients lies beyond the range of half precision and of float8."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from firstlight.diagnosis.catalogue import verdict
from firstlight.diagnosis.findings import Findings, names, number
from firstlight.diagnosis.verdict import Verdict


@dataclass(frozen=True)
class Format:
    """A number format by its largest and its smallest positive number."""

    name: str
    largest: float
    smallest: float


HALF = Format("float16", 65504.0, 2.0**-24)
EIGHT = Format("float8 (E4M3)", 448.0, 2.0**-9)
# Share of the entries beyond a range; from this share on, a format without scales cannot be used.
LOST = 0.1
# Formats in whose range a model may run, by torch's name.
RANGES = {"float16": HALF, "float8_e4m3fn": EIGHT, "float8_e5m2": Format("float8 (E5M2)", 57344.0, 2.0**-16)}


def range_verdicts(f: Findings) -> list[Verdict]:
    """Entries beyond the range of float16, and gradients below the range of the model's own format."""
    rows = f.profile
    own = RANGES.get(str(f.meta.get("dtype", "")))
    inner = rows["kind"] != "input"
    large = np.isfinite(rows["absmax"]) & (rows["absmax"] > HALF.largest) & inner
    lost = below(rows["log_grad"], own.smallest) if own is not None else np.zeros(len(rows))
    small = (lost > LOST) & inner
    if not large.any() and not small.any():
        return []
    parts = []
    if large.any():
        parts += [_above(f, large, HALF, "beyond_half"), _above(f, inner, EIGHT, "beyond_eight")]
        parts[0] += f" (largest {number(float(rows['absmax'][large].max()))})"
    if own is not None and small.any():
        parts.append(
            f"at {int(small.sum())} rows up to {float(lost[small].max()):.0%} of the gradients' entries lie below "
            f"{number(own.smallest)}, the smallest number of {own.name} (by a normal law of their size)"
        )
    evidence = "; ".join(part for part in parts if part)
    return [
        verdict(
            "number-range",
            "warning" if own is not None else "note",
            evidence[0].upper() + evidence[1:] + ".",
            measured=float((large | small).sum()),
            threshold=0.0,
            layers=names(rows, large | small),
        )
    ]


def below(log_size: np.ndarray, smallest: float) -> np.ndarray:
    """Share of normal entries of this log root mean square that are smaller than a number; 0 where unknown.

    Examples
    --------
    >>> import numpy as np
    >>> below(np.log([1.0, 1e-9]), 2.0**-24).round(3).tolist()
    [0.0, 1.0]
    """
    ratio = np.exp(np.clip(math.log(smallest) - log_size, -50.0, 50.0)) / math.sqrt(2.0)
    return np.array([math.erf(r) if math.isfinite(r) else 0.0 for r in ratio])


def _above(f: Findings, among: np.ndarray, form: Format, column: str) -> str:
    """How many rows have entries beyond a format's largest number, and which share of them."""
    rows = f.profile
    beyond = among & np.isfinite(rows["absmax"]) & (rows["absmax"] > form.largest)
    if not beyond.any():
        return ""
    share = np.nan_to_num(f.extra(rows, column)[beyond])
    told = f"{float(share.max()):.1%}" if share.max() >= 1e-3 else "less than 0.1%"
    return (
        f"{int(beyond.sum())} of {len(rows)} rows have entries beyond {number(form.largest)}, the largest number of "
        f"{form.name}, up to {told} of a row"
    )
