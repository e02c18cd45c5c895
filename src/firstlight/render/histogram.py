"""The law of one sample as inline SVG: a histogram and a Q–Q plot, each against a Gaussian."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any, SupportsFloat

from firstlight.render.axis import Axis, fit
from firstlight.render.chart import BOTTOM, HEIGHT, RIGHT, TOP, WIDTH, Series, beside, figure, frame, legend
from firstlight.render.markup import Markup, element, join


def histogram(
    counts: Any,
    *,
    low: SupportsFloat,
    high: SupportsFloat,
    title: str,
    x: str = "value",
    mean: SupportsFloat | None = None,
    std: SupportsFloat | None = None,
    caption: str = "",
) -> Markup:
    """A figure with a histogram as a density, and the Gaussian of a given mean and variance over it.

    Parameters
    ----------
    counts
        How many values fell in each of the equal bins from ``low`` to ``high``.
    low, high
        The two ends.
    title, caption, x
        Text above, text below and the label of the axis.
    mean, std
        The Gaussian drawn as a line; none if either is missing.

    Examples
    --------
    >>> histogram([1, 4, 2], low=-1.0, high=1.0, title="z", mean=0.0, std=0.5).count('class="hist"')
    1
    """
    counts, low, high = [float(c) for c in counts], float(low), float(high)
    total = math.fsum(counts)
    width = (high - low) / len(counts) if counts else math.nan
    if not (total > 0 and math.isfinite(width) and width > 0):
        nothing = element("text", "no spread to draw", class_="none", x=WIDTH / 2, y=HEIGHT / 2)
        return figure(title, nothing, caption=caption)
    density = [count / total / width for count in counts]
    steps = [low + i / 160 * (high - low) for i in range(161)]
    law = _gaussian(mean, std)
    curve = [law.pdf(v) for v in steps] if law else []
    up = fit(Axis("density", low=0.0), [*density, *curve], start=HEIGHT - BOTTOM, end=TOP)
    across = fit(Axis(x), [low, high], start=beside(up), end=WIDTH - RIGHT, pad=0.0)
    bars = "".join(
        f"M{across(low + i * width)} {up.start}V{up(d)}H{across(low + (i + 1) * width)}V{up.start}z"
        for i, d in enumerate(density)
        if d > 0
    )
    body = [frame(across, up), element("path", d=bars, class_="hist")]
    key: list[Series] = []
    if curve:
        points = "L".join(f"{across(v)} {up(d)}" for v, d in zip(steps, curve, strict=True))
        body.append(element("g", element("path", d=f"M{points}", class_="line"), class_="c1 line"))
        key = [Series("Gaussian of the same mean and variance", (), (), "line")]
    return figure(title, join(body), caption=caption, legend=legend(key, [1] * len(key)))


def qq_plot(
    quantiles: Any,
    levels: Any,
    *,
    title: str,
    y: str = "value",
    mean: SupportsFloat | None = None,
    std: SupportsFloat | None = None,
    caption: str = "",
) -> Markup:
    """A figure with the quantiles of a sample against those of N(0,1); a Gaussian sample lies on the line.

    Parameters
    ----------
    quantiles, levels
        The sample's quantiles and their levels in (0, 1).
    title, caption, y
        Text above, text below and the label of the axis.
    mean, std
        The Gaussian whose line is drawn; none if either is missing.

    Examples
    --------
    >>> "<title>50 %</title>" in qq_plot([-1.3, 0.0, 1.3], [0.1, 0.5, 0.9], title="z")
    True
    """
    from firstlight.render.chart import MEASURED, THEORY, line_chart

    normal = [NormalDist().inv_cdf(level) for level in levels]
    series = [
        Series("sample", normal, quantiles, names=[f"{100 * v:.4g} %" for v in levels], colour=MEASURED)
    ]
    law = _gaussian(mean, std)
    if law and normal:
        ends = [normal[0], normal[-1]]
        line = Series("Gaussian", ends, [law.mean + law.stdev * v for v in ends], "line", colour=THEORY)
        series.insert(0, line)
    return line_chart(series, title=title, x=Axis("quantile of N(0,1)"), y=Axis(y), caption=caption)


def _gaussian(mean: SupportsFloat | None, std: SupportsFloat | None) -> NormalDist | None:
    """The Gaussian to compare with, where its two parameters are known, finite and not degenerate."""
    if mean is None or std is None or not (math.isfinite(float(mean)) and 0 < float(std) < math.inf):
        return None
    return NormalDist(float(mean), float(std))
