"""Comparison of two audits: whether verdicts went away, and whether anything that remains got worse."""

from __future__ import annotations

import math

from firstlight.auditing.result import AuditResult
from firstlight.diagnosis import Verdict
from firstlight.render.numbers import number

_GRAVE = ("unhealthy", "not judged")
_NOISE = 0.05  # share of a measure that two draws of the same weights may differ by


def codes(result: AuditResult, *severities: str) -> tuple[str, ...]:
    """Codes of the verdicts with one of these severities, in order."""
    return tuple(v.code for v in result.verdicts if v.severity in severities)


def score(result: AuditResult) -> tuple[int, int]:
    """How many verdicts are unhealthy or not judged, and how many warn; smaller is better."""
    return len(codes(result, *_GRAVE)), len(codes(result, "warning"))


def good(result: AuditResult, *, warnings: bool) -> bool:
    """Whether nothing is left to do."""
    grave, warned = score(result)
    return grave == 0 and (warned == 0 or not warnings)


def enough(result: AuditResult, *, local: bool) -> bool:
    """Whether the search may stop here: nothing is unhealthy, and no warning is about what was written."""
    grave, warned = score(result)
    return grave == 0 and (local or warned == 0)


def unimproved(old: AuditResult, new: AuditResult, *, learns: bool = False) -> str:
    """Why a copy may not be kept; nothing where verdicts went away and none of the rest got worse.

    With ``learns``, for a copy that learns better, a warning may get worse as long as it stays a warning and fewer
    verdicts are unhealthy.
    """
    before = {v.code: v for v in old.verdicts if v.severity in (*_GRAVE, "warning")}
    added = [v.code for v in new.verdicts if v.severity in _GRAVE and not _grave(before.get(v.code))]
    if added:
        return f"it adds {', '.join(added)}"
    spared = ("warning",) if learns and score(new)[0] < score(old)[0] else ()
    for verdict in new.verdicts:
        was = before.get(verdict.code)
        if was is not None and verdict.severity not in spared and (said := _worse(was, verdict)):
            return said
    if score(new) >= score(old):
        return "no verdict goes away"
    return ""


def _grave(verdict: Verdict | None) -> bool:
    return verdict is not None and verdict.severity in _GRAVE


def _worse(was: Verdict, now: Verdict) -> str:
    """How far a verdict that remains has moved away from its line, in words; nothing where it has not."""
    if was.measured is None or now.measured is None or now.severity not in (*_GRAVE, "warning"):
        return ""
    if now.severity != was.severity:  # it can only have become milder: a graver one counts as added
        return ""
    line = was.threshold if was.threshold is not None else 0.0
    side = 1.0 if was.measured >= line else -1.0
    error = math.hypot(was.uncertainty or 0.0, now.uncertainty or 0.0)
    margin = max(2.0 * error, _NOISE * abs(was.measured))
    if not side * (now.measured - was.measured) > margin:
        return ""
    return f"{now.code} gets worse: {number(was.measured)} → {number(now.measured)} {now.unit}".rstrip()
