"""From rows of a table to what a chart draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from firstlight.render.chart import Series, Style


def lines(
    rows: Sequence[Mapping[str, Any]],
    x: str,
    y: str,
    *,
    by: str = "",
    error: str = "",
    style: Style = "both",
    first: int = 0,
) -> list[Series]:
    """One series for each value of the column ``by``, or a single one; errors from the column ``error``.

    Where several rows share an x, their mean is drawn, with the standard error of that mean if no column gives one.
    Colours go on from number ``first`` of the palette.

    Examples
    --------
    >>> from firstlight.experiments.drawing import lines
    >>> rows = [{"net": "a", "layer": 1, "q": 1.0}, {"net": "a", "layer": 1, "q": 3.0}]
    >>> rows.append({"net": "b", "layer": 1, "q": 5.0})
    >>> [(one.label, one.y) for one in lines(rows, "layer", "q", by="net")]
    [('a', [2.0]), ('b', [5.0])]
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(_label(row[by]) if by else "", []).append(row)
    made = []
    for number, (label, members) in enumerate(groups.items()):
        at: dict[float, list[Mapping[str, Any]]] = {}
        for row in members:
            at.setdefault(float(row[x]), []).append(row)
        xs = sorted(at)
        ys = [float(np.mean([row[y] for row in at[v]])) for v in xs]
        errors = [
            _error([row[y] for row in at[v]], [row[error] for row in at[v]] if error else None) for v in xs
        ]
        known = any(math.isfinite(e) and e > 0 for e in errors)
        made.append(
            Series(label, xs, ys, style, error=[e if math.isfinite(e) else 0.0 for e in errors] if known else None,
                   colour=first + number)
        )  # fmt: skip
    return made


def _error(values: Sequence[float], given: Sequence[float] | None) -> float:
    if given is not None:
        return float(np.sqrt(np.sum(np.square(given))) / len(given))
    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def _label(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
