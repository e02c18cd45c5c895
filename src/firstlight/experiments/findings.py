"""What the measuring function of a study gives: tidy rows with errors, judged claims, notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from firstlight.experiments.claim import VERDICTS, Claim
from firstlight.profile import Profile


@dataclass(frozen=True)
class Findings:
    """Tidy rows, claims and notes of one run of a study.

    Attributes
    ----------
    rows
        One mapping per observation, with an error beside each measured number (``q`` and ``q_se``). Numbers become
        floats; what a row lacks is NaN, or an empty text.
    claims
        The paper's claims, judged.
    notes
        What a reader must know: what was left out, or where a finding departs from the paper.

    Examples
    --------
    >>> from firstlight.experiments import Findings
    >>> found = Findings(({"network": "tanh", "width": 10, "q": 0.3}, {"network": "relu", "width": 10, "q": 1.0}))
    >>> found.values("network"), found.select(network="relu")
    (['tanh', 'relu'], [{'network': 'relu', 'width': 10.0, 'q': 1.0}])
    """

    rows: Iterable[Mapping[str, Any]]
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        table = Profile.from_rows(self.rows, source="reproduce")
        columns = {name: column.tolist() for name, column in table.columns.items()}
        rows = tuple(dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True))
        object.__setattr__(self, "rows", rows)

    @property
    def table(self) -> Profile:
        """The rows as columns."""
        return Profile.from_rows(self.rows, source="reproduce")

    def select(self, **where: object) -> list[Mapping[str, Any]]:
        """The rows whose columns have these values, such as ``select(network="tanh", width=10)``."""
        return [row for row in self.rows if all(row[name] == value for name, value in where.items())]

    def values(self, column: str, **where: object) -> list[Any]:
        """The distinct values of a column, in the order in which they come first, of the rows ``where`` selects."""
        return list(dict.fromkeys(row[column] for row in self.select(**where)))

    def verdicts(self) -> dict[str, int]:
        """How many claims have each verdict."""
        return {word: sum(claim.verdict == word for claim in self.claims) for word in VERDICTS}
