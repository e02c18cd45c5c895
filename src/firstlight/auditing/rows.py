"""What every form of the audit report shares: words for severities, and which columns matter first."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from firstlight.diagnosis.catalogue import EXPLANATIONS
from firstlight.diagnosis.lines import Lines, lines_of
from firstlight.diagnosis.verdict import Severity, Verdict
from firstlight.profile import COLUMNS, Profile

ORDER: tuple[Severity, ...] = ("unhealthy", "not judged", "warning", "note", "healthy")
WORDS: dict[str, str] = {
    "unhealthy": "Unhealthy",
    "not judged": "Not judged",
    "warning": "Warning",
    "note": "Note",
    "healthy": "Healthy",
}

# The columns that are shown first; the others follow on demand.
FIRST = (
    "name",
    "kind",
    "op",
    "depth",
    "q",
    "q_theory",
    "correlation",
    "correlation_theory",
    "log_grad",
    "log_grad_theory",
    "growth",
    "growth_theory",
    "chi",
    "ks_standardised",
    "ks_critical",
    "effective_rank",
    "isometry_gap",
    "dead",
    "saturated",
)

# Kinds of rows that nobody expects to be Gaussian.
NOT_GAUSSIAN = ("activation", "input", "attention")

FACTS = {
    "parameters": "parameters",
    "batch": "batch",
    "dtype": "dtype",
    "device": "device",
    "training": "training mode",
    "loss": "loss",
    "seed": "seed",
    "torch": "torch",
    "seconds": "seconds",
}


def by_severity(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts, the gravest first, otherwise in the order given."""
    return sorted(verdicts, key=lambda verdict: ORDER.index(verdict.severity))


def overall(verdicts: Sequence[Verdict]) -> Severity:
    """The gravest severity; healthy when there is no verdict at all."""
    return by_severity(verdicts)[0].severity if verdicts else "healthy"


def headline(verdicts: Sequence[Verdict]) -> str:
    """One line that says what was found, without the severity itself.

    Examples
    --------
    >>> dead = Verdict("dead-units", "Dead units", "warning", "12 % of units")
    >>> headline([Verdict("exploding-gradients", "Gradients explode", "unhealthy", ""), dead])
    'Gradients explode; 1 warning'
    """
    worst = [v.title for v in verdicts if v.severity == "unhealthy"]
    counts = {s: sum(v.severity == s for v in verdicts) for s in ("warning", "note")}
    parts = ["; ".join(worst)] if worst else []
    parts += ["too little was seen" for v in verdicts if v.severity == "not judged"][:1]
    parts += [f"{n} {name}{'s' if n > 1 else ''}" for name, n in counts.items() if n]
    return "; ".join(parts) if parts else "nothing to worry about was found"


def known_lines(verdict: Verdict) -> Lines | None:
    """The lines of a verdict of ours; None for one that a reader made up, and for a healthy start."""
    known = verdict.code in EXPLANATIONS and verdict.code != "healthy"
    return lines_of(verdict.code) if known else None


def documented(page: str) -> str:
    """Where a page of the documentation is: below the address in FIRSTLIGHT_DOCS, else within the documentation.

    Examples
    --------
    >>> from firstlight.auditing.rows import documented
    >>> documented("guide/verdicts.html#ordered").endswith("guide/verdicts.html#ordered")
    True
    """
    base = os.environ.get("FIRSTLIGHT_DOCS", "")
    return f"{base.rstrip('/')}/{page}" if base else page


def columns_of(profile: Profile) -> list[str]:
    """The filled columns: the important ones first, unknown ones last, empty ones left out."""
    known = [*FIRST, *(name for name in COLUMNS if name not in FIRST)]
    names = [*known, *(name for name in profile.columns if name not in COLUMNS)]
    return [name for name in names if name in profile.columns and _filled(profile[name])]


def shape_text(value: object) -> str:
    """Shapes as people write them; anything else as its text.

    Examples
    --------
    >>> shape_text({"input": [256, 1, 8, 8]}), shape_text({"ids": [4, 16], "mask": [4, 16]}), shape_text(32)
    ('256 × 1 × 8 × 8', 'ids 4 × 16, mask 4 × 16', '32')
    """
    if isinstance(value, Mapping):
        shapes = {name: shape_text(shape) for name, shape in value.items()}
        return (
            next(iter(shapes.values()))
            if len(shapes) == 1
            else ", ".join(f"{k} {v}" for k, v in shapes.items())
        )
    if isinstance(value, (list, tuple)):
        return " × ".join(str(size) for size in value) if value else "scalar"
    return str(value)


def _filled(values: np.ndarray) -> bool:
    if values.dtype == object:
        return any(value not in ("", None) for value in values)
    return bool((~np.isnan(values)).any())


def places(profile: Profile) -> np.ndarray:
    """Where each row stands on the axis of depth: its depth, or its number where depths are missing."""
    depth = profile["depth"]
    known = np.isfinite(depth)
    if known.all() and len(set(depth.tolist())) > 1:
        return depth
    return np.arange(len(profile), dtype=np.float64)
