"""Verdict: one finding about a model, with the evidence, the threshold and the remedy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from firstlight.files.plain_data import Record

Severity = Literal["healthy", "note", "warning", "not judged", "unhealthy"]


@dataclass(frozen=True)
class Verdict:
    """One finding about a model.

    Attributes
    ----------
    code
        Stable machine name, such as ``"exploding-gradients"``.
    title
        The finding in a few words.
    severity
        ``"unhealthy"`` fails a health check; ``"not judged"`` fails too, since too little was seen;
        ``"warning"`` should be looked at; ``"note"`` is worth knowing; ``"healthy"`` says that nothing was found.
    evidence
        The measurement in one or two sentences, with its uncertainty.
    measured, uncertainty, threshold
        The deciding number, its standard error (None where it is exact) and the line it crossed.
    unit
        What the three numbers count.
    why
        Where the threshold comes from.
    cause, remedy
        What makes this happen, and what to change.
    source
        The paper or theorem behind it.
    layers
        Names of the rows concerned, the worst first.
    """

    code: str
    title: str
    severity: Severity
    evidence: str
    measured: float | None = None
    uncertainty: float | None = None
    threshold: float | None = None
    unit: str = ""
    why: str = ""
    cause: str = ""
    remedy: str = ""
    source: str = ""
    layers: tuple[str, ...] = ()

    def __repr__(self) -> str:
        from firstlight.render.brief import one_line

        return one_line("Verdict", code=self.code, severity=self.severity, measured=self.measured)

    def _repr_html_(self) -> str:
        """The verdict as a small table, for a notebook."""
        from firstlight.render.brief import small_table
        from firstlight.render.table import Head

        parts = ("evidence", "cause", "remedy", "source")
        rows = [[part, text] for part in parts if (text := getattr(self, part))]
        heads = [Head(self.severity, text=True), Head(self.title, text=True)]
        return small_table(heads, rows)

    def to_dict(self) -> Record:
        """A plain dict; numbers may be infinite."""
        return asdict(self) | {"layers": list(self.layers)}
