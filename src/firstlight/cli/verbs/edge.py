"""``firstlight edge``: the edge of chaos of an activation."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firstlight.theory import EdgeOfChaos

_NAMES = ("q", "sigma_w", "sigma_b", "slope")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``firstlight edge``."""
    parser.add_argument("activation", help="a name, such as tanh, gelu or 'leaky_relu(0.2)'")
    parser.add_argument("--sigma-b", type=float, help="only the points with this bias scale")
    parser.add_argument("--sigma-w", type=float, help="only the points with this weight scale")
    out = parser.add_argument_group("reports")
    out.add_argument("--html", metavar="PATH", help="write a self-contained HTML report")
    out.add_argument("--json", metavar="PATH", help="write the curve as JSON; `-` for standard output, alone")


def run(args: argparse.Namespace) -> int:
    """Trace the curve, print and write; 0."""
    from firstlight.files import to_json, write_whole
    from firstlight.theory import edge_of_chaos

    edge = edge_of_chaos(args.activation)
    data = {"activation": edge.phi.name, "kind": edge.kind, **{n: getattr(edge, n).tolist() for n in _NAMES}}
    if args.json == "-":
        print(to_json(data))
        return 0
    print(_heading(edge))
    if args.sigma_b is not None or args.sigma_w is not None:
        points = edge.at(sigma_b=args.sigma_b, sigma_w=args.sigma_w)
        rows: list[tuple[float, ...]] = [(p.q, p.sigma_w, p.sigma_b, p.slope) for p in points]
    else:
        columns = [getattr(edge, n) for n in _NAMES]
        rows = [tuple(float(c[i]) for c in columns) for i in range(0, len(edge.q), max(1, len(edge.q) // 20))]
    print("  ".join(f"{name:>12}" for name in ("q*", "sigma_w", "sigma_b", "V'(q*)")))
    for row in rows:
        print("  ".join(f"{value:>12.6g}" for value in row))
    if not edge.stable.all():
        print(
            "Where |V'| > 1 the stationary variance is unstable: a deep network leaves that part of the edge."
        )
    if args.json:
        write_whole(args.json, to_json(data, indent=1))
    if args.html:
        write_whole(args.html, _page(edge))
    return 0


def _heading(edge: EdgeOfChaos) -> str:
    critical = edge.criticality
    line = (
        f"{edge.phi.name}: the edge of chaos is a {edge.kind}"
        if edge.kind != "none"
        else f"{edge.phi.name}: no edge"
    )
    line += f"; universality class {critical.universality}"
    if critical.universality == "none":
        return line
    at = "" if math.isnan(critical.q) else f", K* = {critical.q:.6g}"
    return f"{line} (σ_w² = {critical.sigma_w2:.6g}, σ_b² = {critical.sigma_b2:.6g}{at})"


def _page(edge: EdgeOfChaos) -> str:
    import numpy as np

    from firstlight import render
    from firstlight.theory import PHASES, phase_diagram

    use = (edge.q > 0) & (edge.sigma_b <= 3) & (edge.sigma_w <= 6)
    blocks = []
    if use.sum() > 1 and edge.kind == "curve":
        curve = render.Series("χ₁ = 1", edge.sigma_b[use], edge.sigma_w[use], "line")
        slopes = render.Series("V'(q*)", edge.q[use], edge.slope[use], "line")
        blocks = [
            render.line_chart([curve], title="Edge of chaos", x=render.Axis("σ_b"), y=render.Axis("σ_w")),
            render.line_chart(
                [slopes],
                title="Stability along the edge",
                x=render.Axis("q*", scale="log"),
                y=render.Axis("slope of the variance map"),
                rules=[render.Rule(1.0, "V' = 1")],
            ),
        ]
    axis_w, axis_b = np.linspace(0.05, 3.0, 60), np.linspace(0.0, 1.0, 31)
    diagram = phase_diagram(edge.phi, sigma_w=axis_w, sigma_b=axis_b)
    named = {i: name for i, name in enumerate(PHASES) if (diagram.phase == i).any()}
    inside = (edge.sigma_w <= 3) & (edge.sigma_b <= 1) & (edge.sigma_w >= 0.05)
    over = []
    if edge.kind != "none" and inside.any():
        style: Any = "line" if edge.kind == "curve" else "marks"
        one = inside if edge.kind == "curve" else inside & (np.cumsum(inside) == 1)
        over = [render.Series("χ₁ = 1", edge.sigma_w[one], edge.sigma_b[one], style)]
    with np.errstate(divide="ignore"):
        growth = np.where(np.isfinite(diagram.q), np.log10(diagram.chi), np.inf)
    phases = render.heat_map(
        growth,
        title="Gradients at the stationary variance",
        x=render.Axis("σ_w", low=0.025, high=3.025),
        y=render.Axis("σ_b", low=-1 / 60, high=1 + 1 / 60),
        z=render.Axis("log₁₀ χ₁", low=-1, high=1),
        centre=0.0,
        series=over,
        caption=f"Phases found: {', '.join(named.values())}. Below 0 gradients vanish, above they explode.",
    )
    return render.page(
        f"Edge of chaos of {edge.phi.name}",
        *([render.section("Curve", render.grid(*blocks))] if blocks else []),
        render.section(
            "Phases", render.grid(phases), intro="What a deep network does at each pair of scales."
        ),
        subtitle=_heading(edge),
    )
