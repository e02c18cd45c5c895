"""The pages of the two experiments on random networks of Wolinski and Arbel (2025)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from firstlight.render.axis import Axis
from firstlight.render.chart import COLOURS, Rule, Series, line_chart
from firstlight.render.heatmap import heat_map
from firstlight.render.markup import Markup
from firstlight.render.page import grid, paragraph, section
from firstlight.render.table import Head, table

CORRELATIONS = (
    "Correlations between images, as random networks pass them on: pooled, E z_a z_b / √(E z_a² E z_b²) over networks "
    "and units, and per network, the mean cosine within one network. The maps are means of the pooled ones over pairs "
    "of different images of each pair of classes. After Wolinski & Arbel, TMLR 2025, Figures 1 and 14."
)
DEEP_KS = (
    "Kolmogorov–Smirnov distance between pre-activations and N(0,1), raw and after dividing by their standard "
    "deviation. Bars are standard errors that take the units of one network for fully dependent; below the line a test "
    "of one unit per network sees no difference at 5 %. After Wolinski & Arbel, TMLR 2025."
)


def correlation_section(result: Any) -> Markup:
    """One network of E1, a ``experiments.wolinski2025_ensembles.Correlations``: means against depth, and class maps."""
    layers = list(result.layers)
    lines = [Series("pooled", layers, result.mean_pooled, "both", error=result.se_pooled)]
    lines.append(Series("per network", layers, result.mean_per_network, "both", error=result.se_per_network))
    if min(result.defined) < 1:
        lines.append(Series("per network, dead as 0", layers, result.mean_counting_dead, "both"))
    charts = [
        line_chart(lines, title="Mean over pairs of images", x=Axis("layer"), y=Axis("correlation", high=1.0))
    ]
    for layer in layers:
        classes = result.classes(layer)
        # a class's number stands in the middle of its row
        axis = Axis("class", low=-0.5, high=len(classes) - 0.5)
        charts.append(
            heat_map(
                classes,
                title=f"Layer {layer}" if layer else "Input",
                x=axis,
                y=axis,
                z=Axis("correlation", low=-1, high=1),
                centre=0,
            )
        )
    return section(f"{result.name}, width {result.width}", grid(*charts))


def correlation_table(rows: Sequence[dict[str, Any]]) -> Markup:
    """The means of E1 in numbers."""
    heads = {
        "network": Head("network", text=True),
        "width": Head("width"),
        "layer": Head("layer", "0 is the input"),
        "pooled": Head("pooled"),
        "pooled_se": Head("± ", "standard error"),
        "per_network": Head("per network", "networks in which an image is dead are left out"),
        "per_network_se": Head("±", "standard error"),
        "per_network_dead_as_0": Head("dead as 0", "the same with 0 where an image is dead"),
        "defined": Head("alive", "share of networks and pairs of images where neither is dead"),
    }
    return section("Numbers", table(list(heads.values()), [[row[name] for name in heads] for row in rows]))


def deep_ks_section(width: int, results: Sequence[Any]) -> Markup:
    """One width of E2: a chart of each family of networks, raw and standardised."""
    families: dict[str, list[Any]] = {}
    for result in results:
        kind, _, theta = result.name.partition("(")
        families.setdefault(f"{kind} pairs" if theta else "tanh and ReLU", []).append(result)
    charts = []
    for kind in ("raw", "standardised"):
        for family, members in families.items():
            series = [
                # colours come round again after the palette's last
                Series(one.name, one.depth, getattr(one, kind), "both", error=getattr(one, f"{kind}_se"))
                if i < COLOURS
                else Series(one.name, one.depth, getattr(one, kind), "dashed")
                for i, one in enumerate(members)
            ]
            charts.append(
                line_chart(
                    series,
                    title=f"{family}, {kind}",
                    x=Axis("layer", scale="log"),
                    y=Axis("KS distance to N(0,1)", scale="log", low=3e-4, high=1.0),
                    rules=[Rule(members[0].critical, "5 % line")],
                )
            )
    last = [
        [one.name, one.raw[-1], one.raw_se[-1], one.standardised[-1], one.kurtosis[-1]] for one in results
    ]
    heads = [
        Head("network", text=True),
        Head("raw", "KS distance to N(0,1)"),
        Head("±", "standard error"),
        Head("standardised", "KS distance after dividing by the standard deviation"),
        Head("kurtosis", "excess kurtosis, 0 for a Gaussian"),
    ]
    numbers = table(heads, last)
    return section(f"Width {width}", grid(*charts), paragraph(f"Layer {int(results[0].depth[-1])}:"), numbers)
