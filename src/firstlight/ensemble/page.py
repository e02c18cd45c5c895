"""The report of a simulation: a table for the terminal and a page with charts against depth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from firstlight.files.plain_data import Record
from firstlight.profile import Profile
from firstlight.render.axis import Axis, Scale
from firstlight.render.chart import MEASURED, MEASURED_TOO, THEORY, Rule, Series, Style, line_chart
from firstlight.render.markup import Markup
from firstlight.render.numbers import measured, number
from firstlight.render.page import card, cards, grid, page, paragraph, section
from firstlight.render.table import Head, table

_TABLE = (
    ("depth", "layer", "number of the weight layer"),
    ("q", "q", "second moment"),
    ("q_theory", "q theory", "second moment at infinite width"),
    ("kurtosis", "kurtosis", "excess kurtosis, 0 for a Gaussian"),
    ("ks", "KS", "Kolmogorov–Smirnov distance to N(0,1)"),
    ("ks_standardised", "KS std.", "the same after dividing by the standard deviation"),
    ("correlation", "corr.", "mean correlation between inputs, pooled over networks"),
    ("correlation_network", "corr. net", "mean over networks of the cosine between inputs"),
    ("correlation_theory", "corr. theory", "correlation at infinite width"),
    ("effective_rank", "eff. rank", "exp of the entropy of the Gram spectrum"),
    ("isometry_gap", "gap", "isometry gap of a network, mean over networks"),
    ("log_grad", "log grad", "mean log of the rms gradient by pre-activations"),
)


# a kurtosis this many standard errors from 0 is no chance
_SIGMAS = 4


def simulation_text(profile: Profile) -> str:
    """A table of a simulated profile, each number with its standard error.

    Examples
    --------
    >>> from firstlight.profile import Profile
    >>> from firstlight.ensemble.page import simulation_text
    >>> print(simulation_text(Profile({"depth": [1], "q": [2.0], "q_se": [0.01]}, "simulate")))
    layer  q
    1      2±0.01
    """
    shown = [(name, title) for name, title, _ in _TABLE if name in profile.columns]
    rows = [[title for _, title in shown]]
    for row in profile:
        rows.append([_cell(row, name) for name, _ in shown])
    widths = [max(len(row[i]) for row in rows) for i in range(len(shown))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _cell(row: Record, name: str) -> str:
    value = row[name]
    if name == "depth":
        return str(int(value))
    return measured(value, row.get(f"{name}_se"))


def simulation_page(title: str, profile: Profile, notes: Sequence[str] = ()) -> str:
    """A self-contained page: charts of every quantity against depth, theory beside, and the table."""
    depth = profile["depth"]
    charts = [
        _chart(profile, depth, "Second moment", [("q", "simulated", "both")], "q_theory", "q", "log"),
        line_chart(
            [
                Series("raw", depth, profile["ks"], "both", error=profile["ks_se"], colour=MEASURED_TOO),
                Series(
                    "standardised",
                    depth,
                    profile["ks_standardised"],
                    "both",
                    error=_column(profile, "ks_standardised_se"),
                    colour=MEASURED,
                ),
            ],
            title="Distance to N(0,1)",
            x=Axis("layer"),
            y=Axis("KS distance", scale="log"),
            rules=[Rule(float(_column(profile, "ks_critical")[0]), "5 % line of one unit per network")],
        ),
        _chart(profile, depth, "Excess kurtosis", [("kurtosis", "simulated", "both")], "", "kurtosis"),
    ]
    if "correlation" in profile.columns:
        both: list[tuple[str, str, Style]] = [
            ("correlation", "pooled", "both"),
            ("correlation_network", "per network", "both"),
        ]
        charts.append(
            _chart(profile, depth, "Correlation between inputs", both, "correlation_theory", "correlation")
        )
    if "log_grad" in profile.columns:
        charts.append(_chart(profile, depth, "Gradients", [("log_grad", "simulated", "both")], "", "log rms"))
    shown = [(name, head, meaning) for name, head, meaning in _TABLE if name in profile.columns]
    heads = [Head(head, meaning) for _, head, meaning in shown]
    rows = [[row[name] for name, _, _ in shown] for row in profile]
    facts = {k: v for k, v in profile.meta.items() if k in ("nets", "seed", "inputs", "features", "dtype")}
    return page(
        title,
        cards(_gaussianity_card(profile)),
        section("Against depth", grid(*charts), intro="Bars are standard errors over networks."),
        section("Layers", table(heads, rows)),
        *([section("Notes", *(f"{note}. " for note in notes))] if notes else []),
        subtitle=str(profile.meta.get("network", "")),
        facts=facts,
    )


def _gaussianity_card(profile: Profile) -> Markup:
    """Whether the deepest reported layer is told from a normal law, by its kurtosis or its KS distance."""
    layer, last = int(profile["depth"][-1]), dict(list(profile)[-1])
    kurtosis, error = float(last["kurtosis"]), float(last.get("kurtosis_se", math.nan))
    ks, line = float(last["ks_standardised"]), float(last.get("ks_critical", math.nan))
    words = f"Excess kurtosis {measured(kurtosis, error)}, KS distance {number(ks)} after "
    words += f"dividing by the standard deviation (5 % line of one unit per network: {number(line)})."
    told = abs(kurtosis) > _SIGMAS * error or ks > line
    return card(
        f"Law of layer {layer}",
        paragraph(words),
        tone="note" if told else "healthy",
        label="not Gaussian" if told else "no departure from a Gaussian was seen",
    )


def _chart(
    profile: Profile,
    depth: np.ndarray,
    title: str,
    columns: Sequence[tuple[str, str, Style]],
    theory: str,
    label: str,
    scale: Scale = "linear",
) -> Markup:
    series = [
        Series(
            text,
            depth,
            profile[name],
            style,
            error=_column(profile, f"{name}_se"),
            colour=MEASURED_TOO if index else MEASURED,
        )
        for index, (name, text, style) in enumerate(columns)
    ]
    if theory in profile.columns:
        series.insert(0, Series("infinite width", depth, profile[theory], "dashed", colour=THEORY))
    return line_chart(series, title=title, x=Axis("layer"), y=Axis(label, scale=scale))


def _column(profile: Profile, name: str) -> np.ndarray | list[float]:
    return profile.columns[name] if name in profile.columns else [math.nan] * len(profile)
