"""A finished study: what it found, and the facts of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from firstlight.experiments.claim import Claim
from firstlight.experiments.findings import Findings
from firstlight.experiments.study import Scale, Study
from firstlight.files import plain, written
from firstlight.files.plain_data import Record
from firstlight.render.document import Document

FORMAT = "firstlight-study/1"


@dataclass(frozen=True, repr=False)
class StudyResult(Document):
    """A finished study.

    Attributes
    ----------
    study
        Which.
    scale
        ``"quick"`` or ``"paper"``.
    findings
        The rows, the claims and the notes.
    facts
        The command, the date, the hours it took, the seed, and the versions.

    Examples
    --------
    >>> from firstlight.experiments import Findings, StudyResult, find, read_result
    >>> result = StudyResult(find("E1"), "quick", Findings(({"layer": 10, "correlation": 0.3},)), {"seed": 0})
    >>> result
    <StudyResult: study wolinski2025/correlations, scale quick, rows 1>
    >>> read_result(result.to_json()).to_json() == result.to_json()
    True
    """

    study: Study
    scale: Scale
    findings: Findings
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        from firstlight.render.brief import one_line

        found = {word: count for word, count in self.findings.verdicts().items() if count}
        rows = len(self.findings.table)
        return one_line("StudyResult", study=self.study.name, scale=self.scale, rows=rows, **found)

    def __str__(self) -> str:
        """The claims as text."""
        from firstlight.experiments.page import study_text

        return study_text(self)

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The paper's claims, judged."""
        return self.findings.claims

    def to_pandas(self) -> Any:
        """The rows as a pandas DataFrame; needs the ``frame`` extra."""
        return self.findings.table.to_frame()

    def to_arrow(self) -> Any:
        """The rows as a pyarrow Table, with claims and facts as JSON in its metadata; needs the ``frame`` extra."""
        try:
            import pyarrow
        except ImportError as error:
            raise ImportError(
                "while turning a StudyResult into an Arrow table: pyarrow is not installed; "
                "`pip install pyarrow`, or use to_pandas() or to_json()"
            ) from error
        columns = {name: column.tolist() for name, column in self.findings.table.columns.items()}
        return pyarrow.table(columns, metadata={"firstlight": written(self.to_dict() | {"columns": {}})})

    def _repr_html_(self) -> str:
        """The drawing and the claims, for a notebook."""
        from firstlight.experiments.page import study_fragment

        return study_fragment(self)

    def to_dict(self) -> Record:
        """Everything in a structure that JSON holds; ``read_result`` reads its text back without loss."""
        found = self.findings
        return plain(
            {
                "format": FORMAT,
                "study": self.study.name,
                "scale": self.scale,
                "facts": dict(self.facts),
                "notes": list(found.notes),
                "claims": [claim.to_dict() for claim in found.claims],
                "columns": {name: column.tolist() for name, column in found.table.columns.items()},
            }
        )

    def _page(self) -> str:
        from firstlight.experiments.page import study_page

        return study_page(self)
