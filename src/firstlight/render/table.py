"""Sortable HTML tables with a tooltip on every column head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from firstlight.errors import DomainError
from firstlight.render.markup import Markup, element, join
from firstlight.render.numbers import number


@dataclass(frozen=True)
class Head:
    """One column of a table: its title, what it means (a tooltip), and whether it holds text."""

    title: str
    meaning: str = ""
    text: bool = False


def table(heads: Sequence[Head | str], rows: Sequence[Sequence[object]], *, numbered: bool = False) -> Markup:
    """A table that an inline script lets readers sort by any column.

    Parameters
    ----------
    heads
        The columns.
    rows
        One sequence of cells per row. Numbers are written with three digits, everything else as its escaped
        text. The cell of a missing number is empty; the page's style shows a dash there, which saves a tenth of a
        large table.
    numbered
        Whether each row carries its number for scripts (``data-r``).

    Raises
    ------
    DomainError
        If a row has another number of cells than there are columns.

    Examples
    --------
    >>> "<td>0.5" in table([Head("layer", text=True), Head("q", "second moment")], [["fc1", 0.5]])
    True
    """
    columns = [head if isinstance(head, Head) else Head(head) for head in heads]
    for row in rows:
        if len(row) != len(columns):
            raise DomainError(f"while making a table: expected {len(columns)} cells per row, got {len(row)}")
    top = element("tr", *(_head(column) for column in columns))
    body = join(_row(columns, row, i if numbered else None) for i, row in enumerate(rows))
    whole = element("table", element("thead", top), element("tbody", body), class_="sortable")
    return element("div", whole, class_="scroll", tabindex=0, role="region", aria_label="table")


def _head(column: Head) -> Markup:
    button = element("button", column.title, type="button", title=column.meaning or None)
    return element("th", button, scope="col", class_="t" if column.text else None)


def _is_number(value: object) -> TypeGuard[int | float | np.number]:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _written(value: int | float | np.number) -> str:
    return "" if np.isnan(value) else number(value)


def _row(columns: Sequence[Head], row: Sequence[object], index: int | None) -> Markup:
    cells = []
    for column, value in zip(columns, row, strict=True):
        text = _written(value) if _is_number(value) else value
        # the closing tag of a cell is optional in HTML, and a table has many cells
        cells.append(Markup(element("td", text, class_="t" if column.text else None).removesuffix("</td>")))
    return Markup(element("tr", *cells, data_r=index).removesuffix("</tr>"))
