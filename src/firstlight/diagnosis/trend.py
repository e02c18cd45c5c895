"""Trend: how fast a logarithm changes with depth, and how far that rate varies between draws of the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from firstlight.doors import checked

# Memory of a deviation from the line over one step: 0 forgets at once; 1 is a random walk.
_MEMORY = (0.0, 0.2, 0.4, 0.55, 0.7, 1.0)
# A walk is given up where another memory is e² times as likely.
_GIVEN_UP = 2.0
# Steps this many robust deviations from the later ones belong to the transient.
_FAR = 2.5


@dataclass(frozen=True)
class Trend:
    """A straight line through log values against depth.

    The error belongs to the *start*, not to the measurement. What happened in this network on this batch is known
    without it: read the ends of the rows for that. The error says how far the slope moves when the weights are
    drawn again, so it decides whether a trend is a property of the way the network is initialised.

    Attributes
    ----------
    slope, se
        Change of the log per layer, and its standard deviation over draws of the weights.
    span
        Layers between the first and the last point.
    start
        Depth of the first point that the line uses; the points before it are a transient.
    """

    slope: float
    se: float
    span: float
    start: float = 0.0

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


@checked
def fit(depth: Float[np.ndarray, " n"], log_value: Float[np.ndarray, " n"]) -> Trend | None:
    r"""Line of ``log_value`` on ``depth`` past the transient; None with fewer than three distinct depths.

    .. math:: y_l = a + b\,l + u_l, \qquad u_{l+1} = ρ u_l + e_l

    Log norms along depth are random walks (ρ = 1: each layer multiplies by its own random factor), and log second
    moments near a stable fixed point forget (ρ < 1). The walk is taken unless the restricted likelihood of a
    smaller ρ is e² times its own; then slope and error are the mean and the deviation over a grid of ρ, weighed
    by the likelihood. The first steps are left out while they differ from the later half of the steps, at most
    a third of them.

    Parameters
    ----------
    depth, log_value
        One entry for each row; rows that are not finite are left out, rows at one depth count as their mean.

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
    first = _settled(places, y)
    x, y = places[first:], y[first:]
    slopes, errors, likelihood = (
        np.array(part) for part in zip(*(_line(x, y, memory) for memory in _MEMORY))
    )
    slope, error = float(slopes[-1]), float(errors[-1])
    if likelihood.max() - likelihood[-1] > _GIVEN_UP:
        weight = np.exp(likelihood - likelihood.max())
        weight /= weight.sum()
        slope = float(weight @ slopes)
        error = math.sqrt(float(weight @ (errors**2 + (slopes - slope) ** 2)))
    return Trend(slope, error, float(places[-1] - places[0]), float(places[first]))


def _settled(x: np.ndarray, y: np.ndarray) -> int:
    """How many points at the start are a transient: their steps differ from those of the later half."""
    steps = np.diff(y) / np.diff(x)
    if len(steps) < 8:
        return 0
    late = steps[len(steps) // 2 :]
    middle = np.median(late)
    spread = 1.4826 * np.median(np.abs(late - middle))  # a normal law's deviation from its median deviation
    far = np.abs(steps[: len(steps) // 3] - middle) > _FAR * spread + 1e-9 * abs(middle)
    return len(far) if far.all() else int(far.argmin())


def _line(x: np.ndarray, y: np.ndarray, memory: float) -> tuple[float, float, float]:
    """Slope, its standard error and the restricted log-likelihood of deviations with this memory."""
    y = y - y.mean()
    if memory == 1:
        design, target = np.diff(x)[:, None], np.diff(y)
        own = 0.0
    else:
        columns = np.stack([np.ones_like(x), x - x.mean(), y], axis=1)
        head = math.sqrt(1 - memory**2) * columns[:1]
        table = np.concatenate([head, columns[1:] - memory * columns[:-1]])
        design, target = table[:, :2], table[:, 2]
        own = 0.5 * math.log(1 - memory**2)
    normal = design.T @ design
    found = np.linalg.solve(normal, design.T @ target)
    rest = target - design @ found
    free, square = len(x) - 2, float(rest @ rest)
    # residuals at rounding say nothing about the memory
    floor = (1e-13 * float(np.abs(y).max())) ** 2 * len(x) + 1e-300
    likelihood = own - 0.5 * np.linalg.slogdet(normal)[1] - 0.5 * free * math.log(square + floor)
    return float(found[-1]), math.sqrt(square / free * np.linalg.inv(normal)[-1, -1]), likelihood
