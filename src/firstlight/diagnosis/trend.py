"""Trend: how fast a logarithm changes with depth, with a standard error that knows about random walks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Trend:
    """A straight line through log values against depth.

    Attributes
    ----------
    slope, se
        Change of the log per layer and its standard error.
    span
        Layers between the first and the last point.
    """

    slope: float
    se: float
    span: float

    @property
    def total(self) -> float:
        """Fitted change over the whole span."""
        return self.slope * self.span

    @property
    def total_se(self) -> float:
        """Standard error of ``total``."""
        return self.se * self.span

    @property
    def decade(self) -> float:
        """Layers to a factor of ten."""
        return math.log(10.0) / abs(self.slope) if self.slope else math.inf

    def beyond(self, log_factor: float, sigmas: float = 3.0) -> bool:
        """Whether the total change exceeds a log factor and is ``sigmas`` standard errors from none."""
        return abs(self.total) > log_factor and abs(self.slope) > sigmas * self.se


def fit(depth: Float[np.ndarray, " n"], log_value: Float[np.ndarray, " n"]) -> Trend | None:
    """Least-squares line of ``log_value`` on ``depth``; None with fewer than three distinct depths.

    The standard error is the larger of two: that of independent residuals, and that of the mean of
    independent increments. Log norms along depth are random walks (each layer multiplies by its own random
    factor), for which the first alone is too small by about √n.

    Examples
    --------
    >>> import numpy as np
    >>> trend = fit(np.arange(5.0), 0.5 * np.arange(5.0))
    >>> round(trend.slope, 6), round(trend.total, 6)
    (0.5, 2.0)
    """
    keep = np.isfinite(depth) & np.isfinite(log_value)
    x, y = depth[keep], log_value[keep]
    places = np.unique(x)
    if len(places) < 3:
        return None
    # parallel rows at one depth (query, key, value) are one point
    y = np.array([y[x == p].mean() for p in places])
    centred = places - places.mean()
    slope = float(centred @ y / (centred @ centred))
    residuals = y - y.mean() - slope * centred
    independent = math.sqrt(float(residuals @ residuals) / max(len(y) - 2, 1) / float(centred @ centred))
    steps = np.diff(y) / np.diff(places)
    walk = float(steps.std(ddof=1)) / math.sqrt(len(steps)) if len(steps) > 1 else 0.0
    return Trend(slope, max(independent, walk), float(places[-1] - places[0]))
