"""Line charts as inline SVG: theory as a line, measurement as marks, with logarithmic axes and error bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, SupportsFloat

from firstlight.errors import DomainError
from firstlight.render.axis import Axis, Range, Real, fit, inner
from firstlight.render.markup import Markup, element, join
from firstlight.render.numbers import number

WIDTH, HEIGHT = 400, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 40
# Width of a digit of a tick label.
_DIGIT = 6.9
COLOURS = 6
_LOOKS = 2 * COLOURS  # each colour with full marks, then with hollow ones on a dotted line

# One colour for one meaning on every page that shows one network: measurement and theory, the start before a change
# and after it, and what only guides the eye. Where a chart shows several networks, a colour names a network.
MEASURED, THEORY, AFTER, BEFORE = 0, 1, 2, 5
GUIDE = BEFORE
MEASURED_TOO = MEASURED + COLOURS  # a second measure of the same thing

Style = Literal["marks", "hollow", "squares", "line", "dashed", "steps", "both"]
_THEORY = ("line", "dashed", "steps")


@dataclass(frozen=True)
class Series:
    """One set of points of a chart.

    Attributes
    ----------
    label
        What the legend says.
    x, y
        Values, one per point, in a list, an array or a tensor. A NaN leaves the point out; an infinity, or a
        value that a logarithmic axis cannot show, is drawn as a triangle at the edge.
    style
        ``"marks"``, ``"hollow"`` and ``"squares"`` for measurement; ``"line"`` and ``"dashed"`` for theory, and
        ``"steps"``, a short level stroke at each point, for theory that jumps from row to row;
        ``"both"`` joins the marks.
    error
        Standard error of each y, drawn as a bar of ±1; a band around a line.
    colour
        Which look of a series: 0 to 5 are the six colours of the palette, 6 to 11 the same with hollow marks and dotted
        lines; by default the series' place in the chart.
    rows
        A number per point that scripts can use to tell which row of a table it belongs to.
    names
        A text per point, shown when the pointer rests on it.
    """

    label: str
    x: Any
    y: Any
    style: Style = "marks"
    error: Any = None
    colour: int | None = None
    rows: Sequence[int] | None = None
    names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name in ("x", "y", "error"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, [float(v) for v in getattr(self, name)])
        for name in ("y", "error", "rows", "names"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.x):
                raise DomainError(
                    f"while making the series {self.label!r}: expected one {name} per x, "
                    f"got {len(values)} for {len(self.x)}"
                )


@dataclass(frozen=True)
class Rule:
    """A straight line across a chart at one value of y, such as a threshold."""

    y: SupportsFloat
    label: str = ""


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x: Axis = Axis(),  # noqa: B008
    y: Axis = Axis(),  # noqa: B008
    rules: Sequence[Rule] = (),
    caption: str = "",
    marks: int = 160,
) -> Markup:
    """A figure with a line chart in inline SVG.

    Parameters
    ----------
    series
        What to draw, the first at the back.
    title, caption
        Text above and below; the title also names the picture for those who cannot see it.
    x, y
        The two axes.
    rules
        Lines across the chart, such as thresholds.
    marks
        About how many points of one series are drawn at most; beyond it, the extremes of each stretch stay.

    Returns
    -------
    Markup
        A ``<figure>``, to be placed in a page of ``firstlight.render.page``.

    Examples
    --------
    >>> chart = line_chart([Series("q", [1, 2, 3], [1.0, 0.5, 0.25])], title="q", y=Axis("q", scale="log"))
    >>> chart.startswith('<figure class="chart">'), "−0" in chart
    (True, False)
    """
    up = fit(
        y, [*_heights(series, y), *(float(r.y) for r in rules)], start=HEIGHT - BOTTOM, end=TOP, pad=0.06
    )
    across = fit(x, [v for s in series for v in s.x], start=beside(up), end=WIDTH - RIGHT, pad=0.02)
    body = [frame(across, up)]
    body += [_rule(rule, across, up) for rule in rules if up.inside(float(rule.y))]
    colours = [s.colour if s.colour is not None else i % _LOOKS for i, s in enumerate(series)]
    body += [draw_series(s, c, across, up, marks) for s, c in zip(series, colours, strict=True)]
    empty = not any(math.isfinite(inner(float(v), y.scale)) for s in series for v in s.y)
    if empty:
        body.append(
            element(
                "text", "no finite values to draw", class_="none", x=(across.start + WIDTH) / 2, y=HEIGHT / 2
            )
        )
    return figure(
        title, join(body), caption=caption, legend=legend(series, colours), label=_spoken(title, series)
    )


def figure(title: str, body: Markup, *, caption: str = "", legend: str = "", label: str = "") -> Markup:
    """A titled figure around the inside of an SVG picture of the standard size."""
    svg = element("svg", body, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=label or title)
    head = element("figcaption", element("b", title), legend)
    foot = element("p", caption, class_="caption") if caption else ""
    return element("figure", head, svg, foot, class_="chart")


def beside(up: Range) -> float:
    """Where the plane begins: far enough right for the longest tick label beside the turned axis label."""
    longest = max((len(text) for _, text in up.ticks()), default=0)
    return min(max(float(LEFT), 24 + _DIGIT * longest), WIDTH / 3)


def frame(across: Range, up: Range, *, right: Real = WIDTH - RIGHT) -> Markup:
    """Grid lines, tick labels and axis labels."""
    parts, left = [], across.start
    for pixel, text in up.ticks():
        parts.append(element("path", d=f"M{left} {pixel}H{right}", class_="grid"))
        parts.append(element("text", text, x=left - 6, y=pixel + 3.5, class_="ty"))
    for pixel, text in across.ticks(6):
        parts.append(element("path", d=f"M{pixel} {HEIGHT - BOTTOM}v4", class_="tick"))
        # a label at the end of the axis stays within the picture
        middle = min(pixel, round(WIDTH - _DIGIT / 2 * len(text), 1))
        parts.append(element("text", text, x=middle, y=HEIGHT - BOTTOM + 16, class_="tx"))
    parts.append(element("path", d=f"M{left} {HEIGHT - BOTTOM}H{right}", class_="axis"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(element("text", across.axis.label, x=(left + right) / 2, y=HEIGHT - 5, class_="lx"))
    parts.append(element("text", up.axis.label, transform=f"translate(11 {middle})rotate(-90)", class_="ly"))
    return element("g", join(parts), class_="frame")


def legend(series: Sequence[Series], colours: Sequence[int]) -> Markup:
    """The names of the series with a sample of each mark."""
    entries = []
    # lines are drawn over the marks, and named before them
    ordered = sorted(zip(series, colours, strict=True), key=lambda pair: pair[0].style not in _THEORY)
    for one, colour in ordered:
        if not one.label:
            continue
        lined = one.style in ("line", "dashed", "both")
        wide = 22 if lined else 10
        shapes = []
        if lined:
            shapes.append(element("path", d="M0 6H22", class_="dash" if one.style == "dashed" else "line"))
        if one.style == "steps":
            shapes.append(element("path", d="M0 6H10", class_="line"))
        if one.style not in _THEORY:
            shapes.append(_mark(wide / 2, 6, one.style, None, None))
        group = element("g", join(shapes), class_=_group(one.style, colour))
        size = {"viewBox": f"0 0 {wide} 12", "width": wide, "height": 12}
        key = element("svg", group, **size, aria_hidden="true")
        entries.append(element("span", key, one.label))
    return element("span", join(entries), class_="legend") if entries else Markup("")


def _heights(series: Sequence[Series], axis: Axis) -> list[float]:
    """Every value the y axis must hold, the ends of error bars included."""
    values = [float(v) for s in series for v in s.y]
    for one in series:
        if one.error is None:
            continue
        for v, e in zip(one.y, one.error, strict=True):
            low = v - e
            values.append(v + e)
            # a bar that reaches zero on a logarithmic axis would never end
            values.append(low if axis.scale != "log" or low > 0.1 * v else v)
    return values


def _group(style: Style, colour: int) -> str:
    return f"c{colour % COLOURS} {style}{' second' if colour % _LOOKS >= COLOURS else ''}"


def _mark(x: Real, y: Real, style: Style, row: int | None, name: str | None) -> Markup:
    # the sizes of marks stand in the style sheet, for a page has thousands of marks
    title = [element("title", name)] if name else []
    if style == "squares":
        return element("rect", *title, x=round(x - 2.6, 1), y=round(y - 2.6, 1), data_r=row)
    return element("circle", *title, cx=x, cy=y, data_r=row)


def _edge(x: Real, value: Real, up: Range, row: int | None, name: str | None) -> Markup:
    """A triangle at the edge that points to where a value is that the axis cannot show."""
    high = (value > 0 and math.isinf(inner(value, up.axis.scale))) or inner(value, up.axis.scale) > up.high
    y, d = (up.end, "l4 7h-8z") if high else (up.start, "l4 -7h-8z")
    title = element("title", f"{name + ': ' if name else ''}{number(value)}")
    return element("path", title, d=f"M{x} {y}{d}", class_="beyond", data_r=row)


def _rule(rule: Rule, across: Range, up: Range) -> Markup:
    y = up(float(rule.y))
    line = element("path", d=f"M{across.start} {y}H{WIDTH - RIGHT}", class_="rule")
    return join([line, element("text", rule.label, x=WIDTH - RIGHT - 2, y=y - 4, class_="rl")])


def draw_series(one: Series, colour: int, across: Range, up: Range, marks: int = 160) -> Markup:
    """The inside of a chart for one series."""
    points = _thin(one, across, up, marks)
    parts: list[Markup] = []
    shown = [i for i in points if up.inside(one.y[i])]
    if one.style in ("line", "dashed", "both"):
        if one.error is not None and one.style != "both":
            parts.append(_band(one, shown, across, up))
        parts.append(
            element(
                "path",
                d=_polyline(one, points, across, up),
                class_="dash" if one.style == "dashed" else "line",
            )
        )
    if one.style == "steps":
        strokes = "".join(f"M{round(across(one.x[i]) - 4, 1)} {up(one.y[i])}h8" for i in shown)
        parts.append(element("path", d=strokes, class_="line"))
    if one.error is not None and one.style not in _THEORY:
        bars = "".join(f"M{across(one.x[i])} {_low(one, i, up)}V{up(one.y[i] + one.error[i])}"
                       for i in shown if one.error[i] > 0)  # fmt: skip
        parts.append(element("path", d=bars, class_="bar") if bars else Markup(""))
    if one.style not in _THEORY:
        for i in points:
            row = one.rows[i] if one.rows is not None else None
            name = one.names[i] if one.names is not None else None
            x = across(one.x[i])
            inside = up.inside(one.y[i])
            parts.append(
                _mark(x, up(one.y[i]), one.style, row, name) if inside else _edge(x, one.y[i], up, row, name)
            )
    return element("g", join(parts), class_=_group(one.style, colour))


def _polyline(one: Series, points: Sequence[int], across: Range, up: Range) -> str:
    """The path through the points, broken where a value is missing or infinite."""
    path, drawing, before = [], False, -1
    known = set(points)
    for i in points:
        # a point dropped by thinning is no gap, a missing one is
        gap = any(
            j not in known and not math.isfinite(inner(float(one.y[j]), up.axis.scale))
            for j in range(before + 1, i)
        )
        if not math.isfinite(inner(float(one.y[i]), up.axis.scale)):
            drawing = False
        else:
            path.append(f"{'L' if drawing and not gap else 'M'}{across(one.x[i])} {up(one.y[i])}")
            drawing = True
        before = i
    return "".join(path)


def _low(one: Series, i: int, up: Range) -> float:
    """The pixel of the lower end of an error; on a logarithmic axis one that reaches below 0 ends at its bottom."""
    assert one.error is not None
    value = one.y[i] - one.error[i]
    return up(max(value, 0.0) if up.axis.scale == "log" else value)


def _band(one: Series, shown: Sequence[int], across: Range, up: Range) -> Markup:
    assert one.error is not None
    top = [f"{across(one.x[i])} {up(one.y[i] + one.error[i])}" for i in shown]
    bottom = [f"{across(one.x[i])} {_low(one, i, up)}" for i in reversed(shown)]
    return element("path", d=f"M{'L'.join(top + bottom)}z", class_="band") if shown else Markup("")


def _thin(one: Series, across: Range, up: Range, marks: int) -> list[int]:
    """Which points to draw: all of a few; of many, the lowest and the highest of each stretch of x."""
    scale = up.axis.scale
    known = [
        i for i in range(len(one.x))
        if not math.isnan(float(one.y[i])) and math.isfinite(inner(float(one.x[i]), across.axis.scale))
    ]  # fmt: skip
    if len(known) <= marks:
        return known
    stretches: dict[int, list[int]] = {}
    width = (across.end - across.start) / (marks / 2)
    for i in known:
        stretches.setdefault(int((across(one.x[i]) - across.start) / width), []).append(i)

    def height(i: int) -> float:
        position = inner(float(one.y[i]), scale)
        return -math.inf if math.isnan(position) else position

    kept = {pick(members, key=height) for members in stretches.values() for pick in (min, max)}
    return sorted(kept)


def _spoken(title: str, series: Sequence[Series]) -> str:
    """What a screen reader says: the title and the first and last value of each series."""
    said = []
    for one in series:
        values = [float(v) for v in one.y if not math.isnan(float(v))]
        if values:
            said.append(f"{one.label or 'values'} from {number(values[0])} to {number(values[-1])}")
    return f"{title}: {'; '.join(said)}" if said else f"{title}: no values"
