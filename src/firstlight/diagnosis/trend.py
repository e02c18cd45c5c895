"""Trend: how fast a logarithm changes with depth, and how far that rate varies between draws of the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from firstlight.doors import checked

# Memory of a deviation from the line over one step: 0 forgets at once; 1 is a random walk.
_MEMORY = (0.0, 0.2, 0.4, 0.55, 0.7, 1.0)
_LONGER = (0.0, 0.2, 0.4, 0.55, 0.7, 0.8, 0.9, 1.0)
# Another memory replaces the walk if it is e² times as likely, or e³ times if the memory also explains the start.
_GIVEN_UP, _GIVEN_UP_FREE = 2.0, 3.0
# Steps this many robust deviations from the later ones belong to the transient.
_FAR = 2.5


@dataclass(frozen=True)
class Trend:
    """A straight line through log values against depth.

    The error belongs to the *start*, not to the measurement. The ends of the rows already say what happened in this
    network on this batch. The error says how far the slope moves when the weights are drawn again. So the error
    decides whether a trend comes from the way the network is initialised.

    Attributes
    ----------
    slope, se
        Change of the log per layer, and its standard deviation over draws of the weights.
    span
        Layers between the first and the last point.
    start
        Depth of the first point that the line uses; the points before it are a transient.
    reach
        Largest value less the smallest one: a line whose transient is left out may leave the values behind.
    """

    slope: float
    se: float
    span: float
    start: float = 0.0
    reach: float = math.inf

    @property
    def total(self) -> float:
        """Fitted change over the whole span, at most the change of the values themselves."""
        return math.copysign(min(abs(self.slope) * self.span, self.reach), self.slope)

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
def fit(
    depth: Float[np.ndarray, " n"], log_value: Float[np.ndarray, " n"], *, settles: bool = False
) -> Trend | None:
    r"""Line of ``log_value`` on ``depth`` past the transient; None with fewer than three distinct depths.

    .. math:: y_l = a + b\,l + u_l, \qquad u_{l+1} = ρ u_l + e_l

    Log norms along depth are random walks (ρ = 1: each layer multiplies by its own random factor), and log second
    moments near a stable fixed point forget (ρ < 1). The walk is taken unless the restricted likelihood of a
    smaller ρ is e² times its own; then slope and error are the mean and the deviation over a grid of ρ, weighed
    by the likelihood. The first steps are left out while they differ from the later half of the steps, at most
    a third of them.

    With ``settles`` the deviation of the first point is free and nothing is left out: a variance goes to its fixed
    point at the rate ρ by which it forgets. The walk is then taken unless another ρ is e³ times as likely.

    Starts may end in different states, and one network cannot show how far these states are apart: at an unstable
    variance, such as GELU with σ_w = 1.5, the error is half of the spread.

    Parameters
    ----------
    depth, log_value
        One entry for each row; rows that are not finite are left out, rows at one depth count as their mean.
    settles
        Whether the values themselves tend to a fixed point, as log second moments do; log gradients follow them.

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
    y = y[x.argsort()] if len(places) == len(x) else np.array([y[x == p].mean() for p in places])
    first, reach = (0 if settles else _settled(places, y)), float(np.ptp(y))
    x, y = places[first:], y[first:]
    memories, given_up = (_LONGER, _GIVEN_UP_FREE) if settles else (_MEMORY, _GIVEN_UP)
    slopes, errors, likelihood = _lines(x, y, np.array(memories), free=settles)
    slope, error = float(slopes[-1]), float(errors[-1])
    if likelihood.max() - likelihood[-1] > given_up:
        weight = np.exp(likelihood - likelihood.max())
        weight /= weight.sum()
        slope = float(weight @ slopes)
        error = math.sqrt(float(weight @ (errors**2 + (slopes - slope) ** 2)))
    return Trend(slope, error, float(places[-1] - places[0]), float(places[first]), reach)


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


def _lines(
    x: np.ndarray, y: np.ndarray, memories: np.ndarray, *, free: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slopes, their standard errors and restricted log-likelihoods of deviations with each of these memories.

    The last memory is 1, a walk. The first deviation of the others is free, or has the stationary law.
    """
    y = y - y.mean()
    # residuals at rounding say nothing about the memory
    floor = (1e-13 * float(np.abs(y).max())) ** 2 * len(x) + 1e-300
    columns, kept = np.stack([np.ones_like(x), x - x.mean(), y], axis=1), memories[:-1]
    table = columns[1:] - kept[:, None, None] * columns[:-1]
    # the intercept of a free start is read off the differences, in units of 1 − ρ
    own = np.log(1 - kept) if free else 0.5 * np.log(1 - kept**2)
    if not free:
        table = np.concatenate([np.sqrt(1 - kept**2)[:, None, None] * columns[:1], table], axis=1)
    design, target = table[:, :, :2], table[:, :, 2:]
    (a, b), (_, c) = np.moveaxis(design.mT @ design, 0, 2)
    (u,), (v,) = np.moveaxis(design.mT @ target, 0, 2)
    root = a * c - b * b  # the determinant of the normal equations
    # few points at uneven depths can be one step alike, and then tell offset and slope of no line
    known = root > 1e-12 * a * c
    root = np.where(known, root, 1.0)
    offset, slope = np.where(known, (c * u - b * v, a * v - b * u), 0.0) / root
    rest = target[:, :, 0] - offset[:, None] * design[:, :, 0] - slope[:, None] * design[:, :, 1]
    square, degrees = (rest * rest).sum(axis=1), rest.shape[1] - 2
    likelihood = own - 0.5 * np.log(root) - 0.5 * degrees * np.log(square + floor)
    likelihood = np.where(known, likelihood, -math.inf)
    error = np.sqrt(square / max(degrees, 1) * a / root)
    walk = _walk(np.diff(x), np.diff(y), floor)
    return tuple(np.append(found, last) for found, last in zip((slope, error, likelihood), walk))  # type: ignore[return-value]


def _walk(x: np.ndarray, y: np.ndarray, floor: float) -> tuple[float, float, float]:
    """The same of a walk, whose steps are independent: the line through the origin of the steps."""
    normal = float(x @ x)
    slope = float(x @ y) / normal
    rest = y - slope * x
    square, degrees = float(rest @ rest), len(x) - 1
    likelihood = -0.5 * math.log(normal) - 0.5 * degrees * math.log(square + floor)
    return slope, math.sqrt(square / max(degrees, 1) / normal), likelihood
