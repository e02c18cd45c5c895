"""Axes: from values to pixels, with round ticks, on linear and logarithmic scales."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, SupportsFloat

import numpy as np

from firstlight.render.numbers import number, power_of_ten

Real = float
Scale = Literal["linear", "log", "exponent"]


@dataclass(frozen=True)
class Axis:
    """What one direction of a chart shows.

    Attributes
    ----------
    label
        Name of the quantity and its unit.
    scale
        ``"linear"``; ``"log"`` for values drawn on a logarithmic scale; ``"exponent"`` for values that are
        given as decimal logarithms already, so that nothing overflows (drawn and labelled as powers of ten).
    low, high
        Fixed ends in the units of the values; ``None`` fits the data.

    Examples
    --------
    >>> Axis("depth").scale
    'linear'
    """

    label: str = ""
    scale: Scale = "linear"
    low: SupportsFloat | None = None
    high: SupportsFloat | None = None


@dataclass(frozen=True)
class Range:
    """An axis fitted to its data and laid over the pixels from ``start`` to ``end``."""

    axis: Axis
    low: Real
    high: Real
    start: Real
    end: Real

    def __call__(self, value: Real) -> float:
        """The pixel of a value; what lies beyond an end (or is infinite) sits at that end."""
        position = inner(value, self.axis.scale)
        share = min(max((position - self.low) / (self.high - self.low), 0.0), 1.0)
        return round(self.start + share * (self.end - self.start), 1)

    def inside(self, value: Real) -> bool:
        """Whether a value is finite on this scale and between the ends."""
        position = inner(value, self.axis.scale)
        slack = 1e-9 * (self.high - self.low)
        return math.isfinite(position) and self.low - slack <= position <= self.high + slack

    def ticks(self, count: int = 5) -> list[tuple[Real, str]]:
        """Round positions and what is written there: pairs of pixel and label."""
        span = self.end - self.start
        return [
            (round(self.start + (t - self.low) / (self.high - self.low) * span, 1), label)
            for t, label in _ticks(self.low, self.high, self.axis.scale, count)
        ]


def inner(value: Real, scale: Scale) -> float:
    """The position of a value on its scale, before pixels: its logarithm where the scale is one."""
    if scale != "log":
        return float(value)
    if math.isnan(value) or value < 0:
        return math.nan
    return math.log10(value) if value > 0 else -math.inf


def fit(axis: Axis, values: Iterable[Real], *, start: Real, end: Real, pad: Real = 0.05) -> Range:
    """Lay an axis over pixels so that all finite values fit, with ``pad`` of the span free at free ends."""
    positions = np.array([inner(float(v), axis.scale) for v in values], dtype=np.float64)
    # beyond 1e300 the span itself would overflow; such values sit at the edge like an infinity
    finite = positions[np.abs(positions) < 1e300]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    fixed_low = inner(float(axis.low), axis.scale) if axis.low is not None else None
    fixed_high = inner(float(axis.high), axis.scale) if axis.high is not None else None
    low = fixed_low if fixed_low is not None else low
    high = fixed_high if fixed_high is not None else high
    size = max(abs(low), abs(high), 1e-300)
    smallest = size * 1e-9 if axis.scale == "linear" else max(0.1, size * 1e-9)
    if high - low < smallest:
        middle = (low + high) / 2
        half = (
            max(0.5, size * 1e-6)
            if axis.scale != "linear"
            else max(abs(middle) * 0.5, 0.5 if middle == 0 else 1e-12)
        )
        low = fixed_low if fixed_low is not None else middle - half
        high = fixed_high if fixed_high is not None else max(middle + half, low + half)
    margin = pad * (high - low)
    low = low if fixed_low is not None else low - margin
    high = high if fixed_high is not None else high + margin
    return Range(axis, low, high, start, end)


def _step(span: Real, count: int) -> float:
    """The round step (1, 2 or 5 times a power of ten) that gives about ``count`` ticks."""
    raw = span / max(count, 1)
    base = 10.0 ** math.floor(math.log10(raw))
    return next(m * base for m in (1, 2, 5, 10) if raw <= m * base * (1 + 1e-9))


def _linear(low: Real, high: Real, count: int) -> list[float]:
    step = _step(high - low, count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def _labelled(ticks: list[float]) -> list[tuple[Real, str]]:
    """Tick labels with as many digits as tell neighbours apart, and all with the same number of places."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    largest = max((abs(t) for t in ticks), default=0.0)
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    if largest >= 1e6 or places > 5:
        digits = min(15, max(1, math.ceil(math.log10(max(largest, step) / step) + 1)))
        return [(t, number(t, digits=digits)) for t in ticks]
    return [(t, f"{t + 0.0:.{places}f}".replace("-", "−") if abs(t) > step / 2 else "0") for t in ticks]


def _ticks(low: Real, high: Real, scale: Scale, count: int) -> list[tuple[Real, str]]:
    if scale == "linear":
        return _labelled(_linear(low, high, count))
    if high - low >= 2:
        step = max(1, round(_step(high - low, count)))
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return [(k * step, power_of_ten(k * step)) for k in range(first, last + 1)]
    if low > -250 and high < 250:
        mantissas = (1, 2, 5) if high - low > 0.6 else ()
        powers = range(math.floor(low), math.ceil(high) + 1)
        values = [m * 10.0**k for k in powers for m in mantissas] or _linear(10**low, 10**high, count - 1)
        found = [(math.log10(v), number(v, digits=4)) for v in values if v > 0]
        return [(t, label) for t, label in found if low - 1e-9 <= t <= high + 1e-9]
    return [(t, power_of_ten(t)) for t in _linear(low, high, count - 2)]
