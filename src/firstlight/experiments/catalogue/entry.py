"""A row of the catalogue: a result of the literature, what here gives it, and the check that runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from firstlight.experiments.drawing import lines
from firstlight.experiments.findings import Findings
from firstlight.experiments.study import Settings, Size, Study
from firstlight.render.axis import Axis
from firstlight.render.chart import line_chart
from firstlight.render.markup import Markup
from firstlight.render.page import section

_QUICK = "at most 6 s"
_PAPER = "at most 2 min"
_SAME = "the same as quick: nothing is drawn in larger numbers"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What the chart of an entry shows: columns of its rows.

    Attributes
    ----------
    x, y
        The two columns, with the axes that they are drawn on.
    by
        The column that tells one line from another; empty for one line.
    error
        The column with the standard error of ``y``; empty where there is none.
    """

    x: tuple[str, Axis]
    y: tuple[str, Axis]
    by: str = ""
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of the catalogue.

    Attributes
    ----------
    number
        The row's number in the catalogue.
    title
        What the result is about, in words.
    source
        Where the result was published.
    made_of
        The public names that give the result here, such as ``"theory.sparse_tuning"``.
    check
        ``check(settings) -> Findings``: the quoted figures beside ours.
    curve
        What is drawn; nothing where a table says all.
    sizes
        The sizes that may be set, by name.

    Examples
    --------
    >>> from firstlight.experiments.catalogue import ENTRIES
    >>> next(entry for entry in ENTRIES if entry.number == 25).study().name
    'catalogue/25'
    """

    number: int
    title: str
    source: str
    made_of: tuple[str, ...]
    check: Callable[[Settings], Findings]
    curve: Curve | None = None
    sizes: Mapping[str, Size] = field(default_factory=dict)

    def study(self) -> Study:
        """The entry as a study, which ``firstlight reproduce`` runs."""
        return Study(
            name=f"catalogue/{self.number}",
            shows=self.title,
            source=self.source,
            data="none",
            cost={"quick": _QUICK, "paper": _PAPER if self.sizes else _SAME},
            measure=self.check,
            draw=self.draw,
            sizes=self.sizes,
        )

    def draw(self, findings: Findings) -> Markup:
        """The chart of the entry's rows."""
        if self.curve is None or not findings.rows:
            return Markup("")
        (x, across), (y, up) = self.curve.x, self.curve.y
        series = lines(tuple(findings.rows), x, y, by=self.curve.by, error=self.curve.error)
        return section("", line_chart(series, title=self.title, x=across, y=up))


def entry(
    number: int, title: str, made_of: str, check: Callable[[Settings], Findings], *, source: str, **rest: Any
) -> Entry:
    """An entry whose names are given as one text, with commas between."""
    names = tuple(made_of.split(", "))
    return Entry(number=number, title=title, source=source, made_of=names, check=check, **rest)


def generator(settings: Settings) -> torch.Generator:
    """Randomness of an entry's run."""
    return torch.Generator().manual_seed(settings.seed)
