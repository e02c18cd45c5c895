"""Heat maps as inline SVG, with colours that grow evenly in lightness and read in grey."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, SupportsFloat

from firstlight.errors import DomainError
from firstlight.render.axis import Axis, Range, Real, fit, inner
from firstlight.render.chart import (
    BOTTOM,
    HEIGHT,
    TOP,
    WIDTH,
    Series,
    beside,
    draw_series,
    figure,
    frame,
    legend,
)
from firstlight.render.markup import Markup, element, join
from firstlight.render.numbers import number

LEVELS = 40
_BAR = 46  # room for the colour bar at the right

# Anchors in sRGB; lightness rises evenly, so that the map also works in print and for every eye.
_SEQUENTIAL = ((16, 24, 72), (28, 82, 140), (30, 140, 148), (132, 190, 108), (250, 228, 100))
_DIVERGING = ((10, 72, 140), (110, 168, 210), (244, 243, 238), (236, 158, 96), (166, 54, 8))


def colour(share: Real, *, diverging: bool = False) -> str:
    """The colour at a share between 0 and 1 of the scale, as ``#rrggbb``.

    Examples
    --------
    >>> colour(0.0), colour(1.0)
    ('#101848', '#fae464')
    """
    anchors = _DIVERGING if diverging else _SEQUENTIAL
    place = min(max(share, 0.0), 1.0) * (len(anchors) - 1)
    i = min(int(place), len(anchors) - 2)
    mixed = [round(a + (b - a) * (place - i)) for a, b in zip(anchors[i], anchors[i + 1], strict=True)]
    return "#" + "".join(f"{v:02x}" for v in mixed)


def heat_map(
    values: Any,
    *,
    title: str,
    x: Axis,
    y: Axis,
    z: Axis = Axis(),  # noqa: B008
    centre: SupportsFloat | None = None,
    caption: str = "",
    series: Sequence[Series] = (),
) -> Markup:
    """A figure with a heat map; ``values[i][j]`` belongs to the i-th step of y (upwards) and the j-th of x.

    Parameters
    ----------
    values
        A matrix (lists, array or tensor): the rows from the lowest y to the highest. Missing
        values stay blank, infinite ones take an end colour.
    title, caption
        Text above and below.
    x, y
        The axes; ``low`` and ``high`` are the outer edges of the first and last cell; by default the counts.
    z
        Label, scale and ends of the colours.
    series
        Points and lines drawn over the map, such as the place of a network or a critical line.
    centre
        Gives a diverging scale that is pale at this value.

    Raises
    ------
    DomainError
        If the rows of the values have different lengths.

    Examples
    --------
    >>> heat_map([[0, 1], [2, 3]], title="m", x=Axis("a"), y=Axis("b")).count("<svg")
    1
    """
    cells = [[float(v) for v in row] for row in values]
    rows = len(cells)
    cols = len(cells[0]) if rows else 0
    ragged = [len(row) for row in cells if len(row) != cols]
    if ragged:
        raise DomainError(f"while drawing {title!r}: expected rows of {cols} values, got one of {ragged[0]}")
    right = WIDTH - _BAR - 12
    up = fit(_closed(y, rows), [], start=HEIGHT - BOTTOM, end=TOP, pad=0)
    left = beside(up)
    across = fit(_closed(x, cols), [], start=left, end=right, pad=0)
    places = [[inner(v, z.scale) for v in row] for row in cells]
    low, high = _ends(places, z, None if centre is None else float(centre))
    # cells that touch share the very numbers of their edges: a rounded width would leave seams between colours
    edges = [f"{left + j * (right - left) / max(cols, 1):.5g}" for j in range(cols + 1)]
    heights = [f"{HEIGHT - BOTTOM - i * (HEIGHT - BOTTOM - TOP) / max(rows, 1):.5g}" for i in range(rows + 1)]
    paths: dict[int, list[str]] = {}
    for i, row in enumerate(places):
        j = 0
        while j < cols:
            level, start = _level(row[j], low, high), j
            while j < cols and _level(row[j], low, high) == level:
                j += 1
            if level is not None:
                d = f"M{edges[start]} {heights[i + 1]}H{edges[j]}V{heights[i]}H{edges[start]}z"
                paths.setdefault(level, []).append(d)
    painted = [
        element("path", d="".join(d), fill=colour((k + 0.5) / LEVELS, diverging=centre is not None))
        for k, d in sorted(paths.items())
    ]
    over = [draw_series(s, s.colour if s.colour is not None else i, across, up) for i, s in enumerate(series)]
    body = [
        frame(across, up, right=right),
        element("g", join(painted), class_="cells"),
        *over,
        _bar(z, low, high, centre is not None),
    ]
    finite = [v for row in cells for v in row if math.isfinite(v)]
    label = (
        f"{title}: from {number(min(finite))} to {number(max(finite))}" if finite else f"{title}: no values"
    )
    return figure(
        title,
        join(body),
        caption=caption,
        legend=legend(series, [s.colour or 0 for s in series]),
        label=label,
    )


def _closed(axis: Axis, count: int) -> Axis:
    low = float(axis.low) if axis.low is not None else 0.0
    return Axis(axis.label, axis.scale, low, axis.high if axis.high is not None else low + max(count, 1))


def _ends(places: list[list[float]], z: Axis, centre: float | None) -> tuple[float, float]:
    fitted = fit(z, [10.0**v if z.scale == "log" and abs(v) < 300 else v for row in places for v in row],
                 start=0, end=1, pad=0)  # fmt: skip
    if centre is None:
        return fitted.low, fitted.high
    middle = inner(centre, z.scale)
    reach = max(abs(fitted.high - middle), abs(middle - fitted.low))
    return middle - reach, middle + reach


def _level(place: float, low: float, high: float) -> int | None:
    if math.isnan(place):
        return None
    share = min(max((place - low) / (high - low), 0.0), 1.0) if math.isfinite(place) else float(place > 0)
    return min(int(share * LEVELS), LEVELS - 1)


def _bar(z: Axis, low: float, high: float, diverging: bool) -> Markup:
    """The colour bar with its ticks."""
    left, height = WIDTH - _BAR, HEIGHT - BOTTOM - TOP
    step = height / LEVELS
    parts = [
        element(
            "rect",
            x=left,
            y=round(HEIGHT - BOTTOM - (k + 1) * step, 2),
            width=10,
            height=round(step + 0.4, 2),
            fill=colour((k + 0.5) / LEVELS, diverging=diverging),
        )
        for k in range(LEVELS)
    ]
    scale = Range(z, low, high, HEIGHT - BOTTOM, TOP)
    parts += [element("text", text, x=left + 13, y=pixel + 3.5, class_="tl") for pixel, text in scale.ticks()]
    if z.label:
        parts.append(element("text", z.label, x=WIDTH - 2, y=HEIGHT - 5, class_="rl"))
    return join(parts)
