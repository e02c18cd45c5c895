"""Attempt: one remedy tried on a model, what it changed, and what the audit then said."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from firstlight.files.plain_data import Record


@dataclass(frozen=True)
class Course:
    """A short training of one copy.

    Attributes
    ----------
    optimiser, rate
        ``"sgd"`` or ``"adam"``, and the learning rate.
    first, last
        Loss at the start, and its mean over the last fifth of the steps; infinite where training diverged.
    """

    optimiser: str
    rate: float
    first: float
    last: float

    @property
    def fall(self) -> float:
        """The share of the first loss that training took away; −∞ where training diverged."""
        if not (math.isfinite(self.first) and math.isfinite(self.last)):
            return -math.inf
        return (self.first - self.last) / max(abs(self.first), 1e-12)

    def to_dict(self) -> Record:
        """A plain dict."""
        return asdict(self)


@dataclass(frozen=True)
class Attempt:
    """One remedy tried.

    Attributes
    ----------
    round
        From 1; each round starts from the best model of the round before.
    remedy, summary, source
        As in the catalogue of remedies.
    changes
        What was written, one line each; empty where the remedy had nothing to change.
    unhealthy, warnings
        Codes of the verdicts that the audit then gave.
    kept
        Whether the round went on from here.
    note
        Why it was not kept, or why it could not be tried.
    suits
        The optimisers it suits: those whose loss it lowered where copies were trained, else what is known of the
        remedy.
    courses
        How the copy trained, where copies were trained.
    """

    round: int
    remedy: str
    summary: str
    source: str
    changes: tuple[str, ...] = ()
    unhealthy: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    kept: bool = False
    note: str = ""
    suits: str = ""
    courses: tuple[Course, ...] = ()

    def to_dict(self) -> Record:
        """A plain dict."""
        lists = ("changes", "unhealthy", "warnings")
        whole = {k: list(v) if k in lists else v for k, v in asdict(self).items()}
        return whole | {"courses": [course.to_dict() for course in self.courses]}
