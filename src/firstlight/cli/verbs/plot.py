"""``firstlight plot``: the table of a sweep as heat maps over two fields, or as lines against depth.

Theory of infinite width stands beside the measurement where the table has it.
"""

from __future__ import annotations

import argparse
import math
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from firstlight.cli.outputs import output_file
from firstlight.errors import LoadError
from firstlight.files import from_json
from firstlight.files.plain_data import Plain, Record

if TYPE_CHECKING:
    from firstlight.render.axis import Axis
    from firstlight.render.chart import Series
    from firstlight.render.markup import Markup

SUMMARY = "draw the table of a sweep: a heat map, or lines against depth"

_UNEQUAL = 48  # equal steps that stand for values at unequal distances


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``firstlight plot``."""
    parser.add_argument("folder", help="folder of a sweep, with its results.json")
    parser.add_argument("--value", default="q", help="column that is drawn (default: q)")
    parser.add_argument("--x", help="field along x; without it, lines against depth")
    parser.add_argument("--y", help="field along y, for a heat map")
    parser.add_argument("--layer", type=int, help="layer of a heat map (default: the last)")
    parser.add_argument("--log", action="store_true", help="logarithmic values")
    parser.add_argument(
        "--edge", metavar="ACTIVATION", help="draw this activation's edge of chaos over the map"
    )
    parser.add_argument(
        "--html", type=output_file, metavar="PATH", required=True, help="where the page is written"
    )


def run(args: argparse.Namespace) -> int:
    """Draw and write; 0."""
    from firstlight.render.page import grid, page, section

    rows = _rows(Path(args.folder) / "results.json")
    _known(rows, args.value)
    _numeric(rows, args.value)
    if (args.x is None) != (args.y is None):
        raise LoadError(
            "while reading the arguments: expected both --x and --y for a heat map, got one of them; add "
            "the other, or leave both out for lines"
        )
    figures = [_lines(rows, args)] if args.x is None else _maps(rows, args)
    title = f"{args.value} of a sweep"
    args.files.write(args.html, page(title, section(title, grid(*figures)), subtitle=args.folder))
    return 0


def _rows(path: Path) -> list[Record]:
    try:
        rows = from_json(path.read_text(encoding="utf-8"), what=str(path))
    except (OSError, ValueError) as error:
        raise LoadError(
            f"while reading '{path}': expected the table of a finished sweep, got {error}; "
            "run `firstlight simulate --sweep FILE --out FOLDER` first"
        ) from error
    fault = _fault(rows)
    if fault:
        raise LoadError(
            f"while reading '{path}': expected the table of a finished sweep, got {fault}; is it damaged? Run the "
            "sweep with --resume to write it anew"
        )
    return list(rows)


def _fault(rows: object) -> str:
    """What keeps a table from being that of a sweep; empty where nothing does."""
    if not isinstance(rows, list) or not rows:
        return "no rows"
    if not all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows):
        return "rows of different columns"
    if "name" not in rows[0] or "depth" not in rows[0]:
        return "rows without name and depth"
    if not all(_is_number(row["depth"]) for row in rows):
        return "a depth that is no number"
    cells = (value for row in rows for value in row.values())
    return (
        ""
        if all(value is None or isinstance(value, int | float | str) for value in cells)
        else "lists in its cells"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _numeric(rows: list[Record], *names: str) -> None:
    """Refuse a column of texts where numbers are drawn."""
    for name in names:
        texts = [row[name] for row in rows if isinstance(row[name], str)]
        if texts:
            raise LoadError(f"while plotting: expected numbers in the column {name!r}, got {texts[0]!r:.40}")


def _known(rows: list[Record], *names: str) -> None:
    for name in names:
        if name not in rows[0]:
            raise LoadError(
                f"while plotting: expected a column of the table, got {name!r}; it has {', '.join(rows[0])}"
            )


def _fields(rows: list[Record]) -> list[str]:
    """The fields of the grid: the columns before the profile's own."""
    return list(rows[0])[: list(rows[0]).index("name")]


def _number(value: Plain) -> float:
    return math.nan if value is None else float(value)


def _lines(rows: list[Record], args: argparse.Namespace) -> Markup:
    from firstlight.render.axis import Axis
    from firstlight.render.chart import Series, line_chart

    groups: dict[tuple[Plain, ...], list[Record]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in _fields(rows)), []).append(row)
    series = []
    for i, (cell, group) in enumerate(groups.items()):
        label = ", ".join(f"{name} {value}" for name, value in zip(_fields(rows), cell, strict=True))
        x, y = [row["depth"] for row in group], [_number(row[args.value]) for row in group]
        error = [_number(row[f"{args.value}_se"]) for row in group] if f"{args.value}_se" in rows[0] else None
        theory = _theory(args.value)
        if theory in rows[0]:
            series.append(
                Series(f"{label}, infinite width", x, [_number(r[theory]) for r in group], "dashed", colour=i)
            )
        series.append(Series(label, x, y, "both", error=error, colour=i))
    y_axis = Axis(args.value, scale="log" if args.log else "linear")
    return line_chart(series, title=f"{args.value} against depth", x=Axis("layer"), y=y_axis)


def _theory(value: str) -> str:
    """The column with what theory says about a measured one."""
    return f"{value.removesuffix('_network')}_theory"


def _cells(label: str, values: list[float]) -> Axis:
    """An axis whose cells have the values in their middles."""
    from firstlight.render.axis import Axis

    low, high = _ends(values)
    return Axis(label, low=low, high=high)


def _ends(values: list[float]) -> tuple[float, float]:
    """The outer edges of the first and the last cell."""
    if len(values) == 1:
        return values[0] - 0.5, values[0] + 0.5
    first, last = values[1] - values[0], values[-1] - values[-2]
    return values[0] - first / 2, values[-1] + last / 2


def _steps(values: list[float]) -> list[int]:
    """Which value stands at each equal step along its axis: each once, or the nearest where distances differ."""
    gaps = [b - a for a, b in pairwise(values)]
    if not gaps or max(gaps) - min(gaps) <= 1e-6 * max(gaps):
        return list(range(len(values)))
    low, high = _ends(values)
    middles = [low + (i + 0.5) * (high - low) / _UNEQUAL for i in range(_UNEQUAL)]
    return [min(range(len(values)), key=lambda k: abs(values[k] - at)) for at in middles]


def _maps(rows: list[Record], args: argparse.Namespace) -> list[Markup]:
    """The simulated map and, on the same scale of colours, the one of theory."""
    from firstlight.render.axis import Axis
    from firstlight.render.heatmap import heat_map

    _known(rows, args.x, args.y)
    _numeric(rows, args.x, args.y)
    if args.edge is not None and {args.x, args.y} != {"sigma_w", "sigma_b"}:
        raise LoadError(
            f"while plotting: expected the fields sigma_w and sigma_b with --edge, got {args.x} and {args.y}; leave "
            f"--edge out"
        )
    others = [
        name
        for name in _fields(rows)
        if name not in (args.x, args.y) and len({str(r[name]) for r in rows}) > 1
    ]
    if others:
        raise LoadError(
            f"while plotting: expected a grid over {args.x} and {args.y} alone, got {others[0]} too"
        )
    layer = max(row["depth"] for row in rows) if args.layer is None else args.layer
    chosen = {(row[args.x], row[args.y]): row for row in rows if row["depth"] == layer}
    if not chosen:
        known = sorted({int(row["depth"]) for row in rows})
        raise LoadError(f"while plotting: expected a layer among {known}, got {args.layer}")
    xs, ys = sorted({key[0] for key in chosen}), sorted({key[1] for key in chosen})
    curves = _edge(args, xs, ys) if args.edge is not None else []
    across, up = ([values[i] for i in _steps(values)] for values in (xs, ys))
    names = {args.value: "simulated", _theory(args.value): "infinite width"}
    tables = {
        label: [[_number(chosen[x, y][name]) if (x, y) in chosen else math.nan for x in across] for y in up]
        for name, label in names.items()
        if name in rows[0]
    }
    seen = [v for table in tables.values() for line in table for v in line if math.isfinite(v)]
    if args.log:
        seen = [v for v in seen if v > 0]
    low, high = (min(seen), max(seen)) if seen else (None, None)
    z = Axis(args.value, scale="log" if args.log else "linear", low=low, high=high)
    return [
        heat_map(
            table,
            title=f"{args.value} at layer {layer:g}, {label}",
            x=_cells(args.x, xs),
            y=_cells(args.y, ys),
            z=z,
            series=curves,
        )
        for label, table in tables.items()
    ]


def _edge(args: argparse.Namespace, xs: list[float], ys: list[float]) -> list[Series]:
    """The edge of chaos within a map over σ_w and σ_b."""
    from firstlight.render.chart import Series
    from firstlight.theory import edge_of_chaos

    edge = edge_of_chaos(args.edge)
    across, up = edge.sigma_w, edge.sigma_b
    if args.x == "sigma_b":
        across, up = up, across
    within = [
        (float(a), float(b))
        for a, b in zip(across, up, strict=True)
        if xs[0] <= a <= xs[-1] and ys[0] <= b <= ys[-1]
    ]
    return [Series("edge of chaos", [a for a, _ in within], [b for _, b in within], "line")]
