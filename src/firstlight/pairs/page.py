"""The page of a pair: its functions, its proof by numbers, and what it does to gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from firstlight.pairs.exact.check import PairCheck
from firstlight.pairs.exact.numbers import correlation_map
from firstlight.pairs.pair import Pair
from firstlight.render.markup import Markup


@dataclass(frozen=True)
class PairReport:
    """A pair with all that was found out about it: what its page shows.

    Attributes
    ----------
    pair, check
        The pair and its check.
    facts
        What the head of the page lists.
    two_layer
        The ``experiments.wolinski2025.TwoLayer`` of this pair, when it was run.
    in_depth
        The rows of ``experiments.wolinski2025.pairs_in_depth.table``, when it was run.
    trials
        Those of ``experiments.wolinski2025.pairs_training.table``.
    """

    pair: Pair
    check: PairCheck
    facts: Mapping[str, str | float] = field(default_factory=dict)
    two_layer: Any = None
    in_depth: Any = ()
    trials: Any = ()


def pair_page(report: PairReport) -> str:
    """A self-contained HTML page about one pair.

    Examples
    --------
    >>> from firstlight import pairs
    >>> from firstlight.pairs.page import PairReport, pair_page
    >>> pair = pairs.weibull(3.0)
    >>> "<svg" in pair_page(PairReport(pair, pair.check()))
    True
    """
    from firstlight.render import Head, grid, number, page, paragraph, section, table

    pair, check = report.pair, report.check
    rows = [[k.name, k.value, k.target, "yes" if k.met else "NO"] for k in check.constraints]
    numbers = [
        ["χ₁, growth of the squared gradient norm a layer", check.chi],
        ["V'(1), what a deviation of the second moment is multiplied by", check.variance_slope],
        ["C(0)", check.correlation_at_zero],
        ["C(0.3)", check.correlation_from_three_tenths],
        ["φ' at its zero", check.slope_at_zero],
    ]
    return page(
        pair.name,
        section("The functions", grid(*_functions(pair))),
        section(
            "Proof by numbers",
            table([Head("constraint", text=True), "value", "should be", Head("met", text=True)], rows),
            intro="W φ(X) ~ N(0,1) for X ~ N(0,1): by quadrature, without sampling.",
        ),
        section(
            "What it does to gradients and correlations",
            paragraph(f"χ₁ = {number(check.chi)}: {check.gradient}."),
            paragraph(f"C(0) = {number(check.correlation_at_zero)}: {check.correlation}."),
            table([Head("number", text=True), "value"], numbers),
            intro="Gaussian pre-activations and trainable gradients are different things.",
        ),
        *_two_layer_section(report.two_layer),
        *_in_depth_section(report.in_depth),
        *_training_section(report.trials),
        facts={
            name: value if isinstance(value, str) else number(value, digits=6)
            for name, value in report.facts.items()
        },
    )


def _functions(pair: Pair) -> list[Markup]:
    """Charts of φ, its derivative, the weights' density and the correlation map."""
    from firstlight.render import Axis, Series, line_chart
    from firstlight.render.chart import GUIDE, THEORY

    x = np.linspace(-4, 4, 161)
    functions = line_chart(
        [
            Series("φ", x, pair.exact(x), "line", colour=THEORY),
            Series("identity", x, x, "dashed", colour=GUIDE),
        ],
        title="Activation",
        x=Axis("x"),
        y=Axis("φ(x)"),
    )
    with np.errstate(all="ignore"):
        slope = pair.exact.derivative(x)
    charts = [functions]
    if np.all(np.isfinite(slope)):
        charts.append(
            line_chart(
                [Series("φ'", x, slope, "line", colour=THEORY)],
                title="Derivative",
                x=Axis("x"),
                y=Axis("φ'(x)"),
            )
        )
    if pair.weights.has_density:
        w = np.linspace(-2.5, 2.5, 161)
        density = pair.weights.log_prob(torch.from_numpy(w)).exp().numpy()
        density = np.where(np.isfinite(density), density, np.nan)
        charts.append(
            line_chart(
                [Series("P", w, density, "line", colour=THEORY)],
                title="Weight law",
                x=Axis("w"),
                y=Axis("density"),
            )
        )
    c = np.linspace(0, 1, 41)
    image = np.polyval(correlation_map(pair.exact, pair.weights.variance)[::-1], c)
    charts.append(
        line_chart(
            [
                Series("C(c)", c, image, "line", colour=THEORY),
                Series("c", c, c, "dashed", colour=GUIDE),
            ],
            title="Correlation after one layer",
            x=Axis("correlation"),
            y=Axis("correlation one layer on"),
            caption="Exact for jointly Gaussian pre-activations; deeper in a network an approximation.",
        )
    )
    return charts


def _two_layer_section(two_layer: Any) -> list[Markup]:
    from firstlight.render import Axis, Rule, Series, line_chart, section

    if two_layer is None:
        return []
    n = np.array(two_layer.widths, dtype=np.float64)
    series = [Series(name, n, np.array(ks), "both") for name, ks in two_layer.panels.items()]
    chart = line_chart(
        series,
        title="Distance to N(0,1) after two layers",
        x=Axis("n"),
        y=Axis("KS distance", scale="log"),
        rules=[Rule(1.3581 / two_layer.draws**0.5, "5 % line")],
        caption="Panels [n₀, n₁, 1] of Wolinski & Arbel. With n₁ = 1 an exact pair is pure noise; what remains "
        "for n₁ > 1 is the dependence of units that share their inputs.",
    )
    return [section("Two layers", chart)]


def _in_depth_section(rows: Any) -> list[Markup]:
    from firstlight.render import Axis, Series, grid, line_chart, section

    if not rows:
        return []
    depth = max(row.layer for row in rows)
    distances, gradients, correlations = [], [], []
    for name in dict.fromkeys(row.name for row in rows):
        last = [row for row in rows if row.name == name and row.layer == depth]
        first = [row for row in rows if row.name == name and row.layer == 1]
        n = np.array([row.width for row in last], dtype=np.float64)
        growth = [a.log_grad - b.log_grad for a, b in zip(first, last, strict=True)]
        distances.append(Series(name, n, [r.ks for r in last], "both", error=[r.ks_se for r in last]))
        gradients.append(Series(name, n, growth, "both", error=[r.log_grad_se for r in first]))
        correlations.append(
            Series(name, n, [r.correlation for r in last], "both", error=[r.correlation_se for r in last])
        )
    width = Axis("width", scale="log")
    charts = [
        line_chart(
            distances, title=f"Law of layer {depth}", x=width, y=Axis("KS distance to N(0,1)", scale="log")
        ),
        line_chart(gradients, title="Gradient", x=width, y=Axis(f"log gradient, layer 1 less layer {depth}")),
        line_chart(correlations, title="Two inputs of correlation 0.3", x=width, y=Axis("correlation")),
    ]
    return [section(f"Random networks of {depth} layers", grid(*charts))]


def _training_section(trials: Any) -> list[Markup]:
    from firstlight.render import Head, section, table

    if not trials:
        return []
    rows = [
        [f"{t.depth} × {t.width}", t.name, t.rate, t.loss, t.loss_se, t.accuracy, t.accuracy_se]
        for t in trials
    ]
    heads: list[Head | str] = [
        Head("depth × width", text=True), Head("network", text=True), "learning rate", "training loss",
        "standard error", "test accuracy", "standard error",
    ]  # fmt: skip
    intro = (
        f"The same MLPs with the same {trials[0].seeds} seeds, each shown at the learning rate of the lowest "
        "training loss."
    )
    return [section("In training", table(heads, rows), intro=intro)]
