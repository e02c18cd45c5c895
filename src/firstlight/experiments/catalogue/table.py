"""The catalogue as one table: every row, what gives it here, the quoted figure beside ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from firstlight.experiments.catalogue.entry import Entry
from firstlight.experiments.claim import Claim
from firstlight.experiments.running import run
from firstlight.experiments.study import Settings
from firstlight.render.numbers import measured, number

Status = Literal["works", "departs", "absent"]

# significant digits of numbers without an error: as many as the most exact quoted figure needs
_DIGITS = 7
# rows without a check, and why
ABSENT = {
    45: "2/λ_max of the batch Hessian waits for curvature of any model",
    50: "the Jacobian of training waits for curvature of any model",
    57: "feature sparsity and the Jacobian's rank wait for Jacobians of any model",
    109: "the Hessian's spectrum waits for curvature of any model",
}


@dataclass(frozen=True)
class CatalogueRow:
    """A row of the table.

    Attributes
    ----------
    number, title, made_of
        As in ``Entry``.
    status
        ``"works"``: every figure is reproduced, or contradicted with evidence that stands in the study. ``"departs"``:
        a figure differs or could not be judged. ``"absent"``: nothing here gives the row.
    claims
        What was compared.
    """

    number: int
    title: str
    made_of: tuple[str, ...]
    status: Status
    claims: tuple[Claim, ...] = ()


def catalogue_table(entries: Iterable[Entry], *, seed: int = 0) -> list[CatalogueRow]:
    """Run every entry's check, in the order of the catalogue's numbers.

    Examples
    --------
    >>> from firstlight.experiments.catalogue import ENTRIES, catalogue_table
    >>> [(row.number, row.status) for row in catalogue_table(e for e in ENTRIES if e.number in (51, 85))]
    [(51, 'works'), (85, 'works')]
    """
    rows = []
    for entry in entries:
        claims = run(entry.study(), Settings(seed=seed)).claims
        bad = any(claim.verdict in ("differs", "not judged") for claim in claims)
        rows.append(
            CatalogueRow(entry.number, entry.title, entry.made_of, "departs" if bad else "works", claims)
        )
    return rows


def catalogue_markdown(rows: Sequence[CatalogueRow]) -> str:
    """The table as Markdown, absent rows included, and a line with the counts."""
    absent = [CatalogueRow(n, why, (), "absent") for n, why in ABSENT.items()]
    whole = sorted((*rows, *absent), key=lambda row: row.number)
    counts = {word: sum(row.status == word for row in whole) for word in ("works", "departs", "absent")}
    lines = [", ".join(f"{count} {word}" for word, count in counts.items()) + f", of {len(whole)} rows.", ""]
    lines += ["| row | what | status | compared | quoted | ours | made of |", "|---|---|---|---|---|---|---|"]
    for row in whole:
        made = ", ".join(f"`{name}`" for name in row.made_of)
        claims = row.claims or (None,)
        for i, claim in enumerate(claims):
            head = f"| {row.number} | {row.title} | {row.status} |" if i == 0 else "| | | |"
            cells = ("", "", "") if claim is None else _cells(claim)
            lines.append(f"{head} {' | '.join(cells)} | {made if i == 0 else ''} |")
    return "\n".join(lines)


def _cells(claim: Claim) -> tuple[str, str, str]:
    reference = "" if claim.reference != claim.reference else number(claim.reference, digits=_DIGITS)
    known = f"{claim.paper}: {reference}" if claim.paper and reference else claim.paper or reference
    exact = claim.error == 0 or claim.error != claim.error
    ours = number(claim.ours, digits=_DIGITS) if exact else measured(claim.ours, claim.error)
    ours += "" if claim.verdict == "reproduced" else f" ({claim.verdict})"
    return tuple(cell.replace("|", "∣") for cell in (claim.quantity, known, ours))  # type: ignore[return-value]
