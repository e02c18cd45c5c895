"""Results in brief: one line where a shell or a failing test prints a result, a small table in a notebook."""

from __future__ import annotations

from collections.abc import Sequence

from firstlight.render.markup import Markup, element
from firstlight.render.numbers import number
from firstlight.render.table import Head, table

_ROWS = 20
_LINES = 6


def one_line(kind: str, /, **facts: object) -> str:
    """A result in one line: its kind, and the few facts that distinguish it from other results of this kind.

    Examples
    --------
    >>> one_line("EdgeOfChaos", activation="tanh", points=400, q=0.25)
    '<EdgeOfChaos: activation tanh, points 400, q 0.25>'
    """
    parts = (f"{key} {number(value) if isinstance(value, float) else value}" for key, value in facts.items())
    return f"<{kind}: {', '.join(parts)}>"


def small_table(
    heads: Sequence[Head | str], rows: Sequence[Sequence[object]], *, title: str = "", limit: int = _ROWS
) -> str:
    """A table for a notebook: at most ``limit`` rows, the first ones and the last five, and how many are left out.

    Examples
    --------
    >>> "3 rows more" in small_table(["q"], [[float(i)] for i in range(13)], limit=10)
    True
    """
    shown = list(rows)
    parts: list[Markup] = [element("p", element("strong", title))] if title else []
    if len(shown) <= limit:
        parts.append(table(heads, shown))
    else:
        head = max(limit - 5, 1)
        tail = len(shown) - max(limit - head, 0)
        parts += [
            table(heads, shown[:head]),
            element("p", f"… {tail - head} rows more"),
            table(heads, shown[tail:]),
        ]
    return str(element("div", *parts))


def shortened(lines: Sequence[str], shown: int = _LINES) -> list[str]:
    """The first and last lines of a long list, with how many lie between.

    Examples
    --------
    >>> shortened(["a", "b", "c", "d", "e"], shown=4)
    ['a', 'b', '… 2 more', 'e']
    """
    if len(lines) <= shown:
        return list(lines)
    return [*lines[: shown - 2], f"… {len(lines) - shown + 1} more", lines[-1]]
