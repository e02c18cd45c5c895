"""Attempt: one remedy tried on a model, what it changed, and what the audit then said."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


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
        What was written, one line each; empty where the remedy had no business here.
    unhealthy, warnings
        Codes of the verdicts that the audit then gave.
    kept
        Whether the round went on from here.
    note
        Why it was not kept, or why it could not be tried.
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

    def to_dict(self) -> dict[str, Any]:
        """A plain dict."""
        lists = ("changes", "unhealthy", "warnings")
        return {k: list(v) if k in lists else v for k, v in asdict(self).items()}
