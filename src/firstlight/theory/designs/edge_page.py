"""The page of an edge of chaos: the curve, its stability, and the phases around it."""

from __future__ import annotations

import math

import numpy as np

from firstlight import render
from firstlight.render.chart import THEORY, Style
from firstlight.theory.designs.edge import EdgeOfChaos
from firstlight.theory.designs.phase import PHASES, phase_diagram


def edge_heading(edge: EdgeOfChaos) -> str:
    """The edge in one line: a curve, a point or none, and the universality class."""
    critical = edge.criticality
    line = (
        f"{edge.phi.name}: the edge of chaos is a {edge.kind}"
        if edge.kind != "none"
        else f"{edge.phi.name}: no edge"
    )
    line += f"; universality class {critical.universality}"
    if critical.universality == "edge":
        return f"{line} (V' = 1 at every point of the edge)"
    if critical.universality == "none":
        return line
    at = "" if math.isnan(critical.q) else f", K* = {critical.q:.6g}"
    return f"{line} (σ_w² = {critical.sigma_w2:.6g}, σ_b² = {critical.sigma_b2:.6g}{at})"


def edge_page(edge: EdgeOfChaos) -> str:
    """The edge of chaos of an activation as one self-contained HTML page."""
    use = (edge.q > 0) & (edge.sigma_b <= 3) & (edge.sigma_w <= 6)
    blocks = []
    if use.sum() > 1 and edge.kind == "curve":
        curve = render.Series("χ₁ = 1", edge.sigma_b[use], edge.sigma_w[use], "line", colour=THEORY)
        slopes = render.Series("V'(q*)", edge.q[use], edge.slope[use], "line", colour=THEORY)
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
        style: Style = "line" if edge.kind == "curve" else "marks"
        one = inside if edge.kind == "curve" else inside & (np.cumsum(inside) == 1)
        over = [render.Series("χ₁ = 1", edge.sigma_w[one], edge.sigma_b[one], style, colour=THEORY)]
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
        render.cards(_card(edge)),
        *([render.section("Curve", render.grid(*blocks))] if blocks else []),
        render.section(
            "Phases", render.grid(phases), intro="What a deep network does at each pair of scales."
        ),
        subtitle=edge_heading(edge),
    )


def _card(edge: EdgeOfChaos) -> render.Markup:
    """Whether there is an edge, and whether a deep network stays on it."""
    if edge.kind == "none":
        words = "No pair of scales keeps gradients at a stationary variance."
        return render.card("No edge of chaos", render.paragraph(words), tone="unhealthy", label="none")
    stable = bool(edge.stable.all())
    words = (
        "The stationary variance is stable at every point, so a deep network stays on the edge."
        if stable
        else "Where |V'| > 1 the stationary variance is unstable: a deep network leaves that part of the edge."
    )
    tone: render.Tone = "healthy" if stable else "warning"
    label = "stable" if stable else "partly unstable"
    return render.card(
        f"The edge is a {edge.kind}",
        render.paragraph(words),
        tone=tone,
        label=label,
    )
