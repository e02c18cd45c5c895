"""The charts of an audit: each quantity against depth, measurement as marks and theory as a line."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from firstlight.auditing.rows import NOT_GAUSSIAN, places
from firstlight.profile import Profile
from firstlight.render.axis import Axis, Scale
from firstlight.render.chart import MEASURED, THEORY, Series, Style, line_chart
from firstlight.render.markup import Markup

_LN10 = math.log(10)
# A mark is 5 pixels wide: more than these on 336 pixels would hide one another.
_MARKS = 110
# A line that goes this many times its own height up and down shows only its zigzags.
_ZIGZAG = 6


@dataclass(frozen=True)
class _Group:
    """Rows that are drawn alike."""

    label: str
    kinds: tuple[str, ...]
    style: Style
    colour: int


_GROUPS = (
    _Group("pre-activation", ("weight", "embedding", "recurrent"), "marks", MEASURED),
    _Group("normaliser", ("norm",), "squares", 2),
    _Group("activation", ("activation",), "hollow", 5),
    _Group("residual", ("residual",), "squares", 3),
    _Group("attention", ("attention",), "hollow", 4),
    _Group("input", ("input",), "squares", 5),
)
_OTHER = _Group("other", (), "hollow", 3)


@dataclass(frozen=True)
class _Plot:
    """One chart: the columns it draws and what is said about it."""

    column: str
    title: str
    label: str
    caption: str
    theory: str = ""
    error: str = ""
    scale: Scale | None = "linear"
    low: float | None = None
    high: float | None = None
    omit: tuple[str, ...] = ()


# scale None: logarithmic where the values span more than a factor of thirty
_PLOTS = (
    _Plot(
        "log_grad",
        "Gradient",
        "rms ∂L/∂z",
        "Level is healthy; a slope is growth or decay on the way back from the loss.",
        "log_grad_theory",
        scale="exponent",
    ),
    _Plot(
        "q",
        "Second moment",
        "q",
        "Mean squared entry. Theory goes one layer on from the row before.",
        "q_theory",
        "q_se",
        scale=None,
    ),
    _Plot(
        "correlation",
        "Correlation of samples",
        "mean cosine",
        "At 1 all inputs look the same to the network; a fall to 0 drives similar inputs apart.",
        "correlation_theory",
        "correlation_se",
        high=None,
    ),
    _Plot(
        "ks_standardised",
        "Distance from a Gaussian",
        "Kolmogorov–Smirnov",
        "One Gaussian layer in twenty with these correlations lies above the line.",
        "ks_critical",
        low=0.0,
        omit=NOT_GAUSSIAN,
    ),
    _Plot(
        "effective_rank",
        "Effective rank",
        "of the samples' Gram matrix",
        "How many directions the samples still span; at most the number of samples.",
        low=0.0,
    ),
    _Plot(
        "isometry_gap",
        "Isometry gap",
        "isometry gap",
        "0 when all directions are stretched alike; "
        "a triangle at the top is infinite: some direction is lost.",
        scale=None,
    ),
)


def audit_charts(profile: Profile) -> list[Markup]:
    """The charts whose quantity was measured, in the order of importance."""
    drawn = [_chart(plot, profile) for plot in _PLOTS]
    return [chart for chart in drawn if chart is not None]


def _chart(plot: _Plot, profile: Profile) -> Markup | None:
    keep = ~np.isin(profile["kind"].astype(str), plot.omit)
    values, theory = (
        profile[plot.column],
        profile[plot.theory] if plot.theory else np.full(len(profile), math.nan),
    )
    if np.isnan(values[keep]).all():
        return None
    if plot.scale == "exponent":
        values, theory = values / _LN10, theory / _LN10
    x = places(profile)
    scale = plot.scale or _scale(np.concatenate([values[keep], theory[keep]]))
    errors = profile[plot.error] if plot.error else None
    measured: list[Series] = []
    groups = _members(profile["kind"].astype(str), keep)
    for group, members in groups:
        rows = members[~np.isnan(values[members])]
        if len(rows):
            error = np.nan_to_num(errors[rows], nan=0.0, posinf=0.0) if errors is not None else None
            measured.append(
                Series(group.label, x[rows], values[rows], group.style, error, group.colour, rows.tolist())
            )
    y = Axis(plot.label, scale, plot.low if scale == "linear" else None, plot.high)
    return line_chart(
        [*measured, *_theory(plot, x, theory, groups, scale)],
        title=plot.title,
        x=Axis(_across(profile)),
        y=y,
        caption=plot.caption,
        marks=_MARKS,
    )


def _theory(
    plot: _Plot, x: np.ndarray, theory: np.ndarray, groups: list[tuple[_Group, np.ndarray]], scale: Scale
) -> list[Series]:
    """Theory as one line per group of rows; as level strokes where a line would only zigzag between layers."""
    word = "5 % line" if plot.theory == "ks_critical" else "theory"
    known = [(group, members[np.isfinite(theory[members])]) for group, members in groups]
    rows = np.sort(np.concatenate([members for _, members in known])) if known else np.zeros(0, int)
    lines = [(group, *_mean_per_place(x[members], theory[members])) for group, members in known]
    # a line needs two points to be seen
    lines = [line for line in lines if len(line[1]) > 1]
    if any(_way(line[2], scale) > _ZIGZAG * _span(theory[rows], scale) for line in lines):
        return [Series(word, x[rows], theory[rows], "steps", colour=THEORY)]
    return [
        Series(
            f"{word}, {group.label}" if i else word, steps, heights, "dashed" if i else "line", colour=THEORY
        )
        for i, (group, steps, heights) in enumerate(lines)
    ]


def _way(heights: np.ndarray, scale: Scale) -> float:
    """How far a pen travels up and down along a line."""
    return float(np.abs(np.diff(_positions(heights, scale))).sum())


def _span(heights: np.ndarray, scale: Scale) -> float:
    positions = _positions(heights, scale)
    return float(np.ptp(positions)) if len(positions) else 0.0


def _positions(heights: np.ndarray, scale: Scale) -> np.ndarray:
    if scale == "log":
        heights = np.log10(heights[heights > 0])
    # a sum of numbers near the largest float must not overflow
    return np.clip(heights, -1e300, 1e300) / 1e4


def _members(kinds: np.ndarray, keep: np.ndarray) -> list[tuple[_Group, np.ndarray]]:
    """Each group with the numbers of its rows; kinds that the vocabulary lacks form a group of their own."""
    known = [kind for group in _GROUPS for kind in group.kinds]
    masks = [(group, np.isin(kinds, group.kinds)) for group in _GROUPS]
    masks.append((_OTHER, ~np.isin(kinds, known)))
    return [(group, np.flatnonzero(mask & keep)) for group, mask in masks if (mask & keep).any()]


def _mean_per_place(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The finite values in the order of x, averaged where several rows share a place."""
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    steps, index = np.unique(x, return_inverse=True)
    if not len(steps):
        return steps, y
    # scaled first: a mean of numbers near the largest float must not overflow
    largest = max(float(np.abs(y).max()), 1e-300)
    return steps, np.bincount(index, y / largest) / np.bincount(index) * largest


def _scale(values: np.ndarray) -> Scale:
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    if (finite < 0).any() or not len(positive):
        return "linear"
    with np.errstate(over="ignore"):
        return "log" if positive.max() / positive.min() > 30 else "linear"


def _across(profile: Profile) -> str:
    return "depth (weight layers)" if places(profile) is profile["depth"] else "row"
