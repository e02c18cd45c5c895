"""Zeros of E|W|^s: where one lies to the right of Re s = −1 there is no partner, however small its effect.

E|Y|^s = E|G|^s/E|W|^s has to be analytic where it is finite on the real line, so for every Re s > −1, and a zero
of E|W|^s is a pole there. The search counts zeros by the argument principle: how often the transform turns around 0
along the edge of a rectangle. A zero at σ + it puts waves of relative size e^{−πt/4} into the density of |Y|, which
bounds how far a search has to reach.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from firstlight.weights import Discrete, ScaledLaw, WeightLaw

_log = logging.getLogger(__name__)

LogMellin = Callable[[Any], Any]
_RIGHT, _TOP = 40.0, 90.0  # of the rectangle of a law with a density; e^{−90π/4} = 2e-31
_DISCRETE_TOP = 1000.0  # e^{−1000π/4} is below the smallest float64
_MOST_POINTS = 600_000.0  # along one side
_FLOOR = 1e-10  # share of E|W|^σ below which a transform known by quadrature is noise
_TURN = math.pi / 6  # the largest change of the argument between neighbouring points
_CLOSE = 1e-9  # points no further apart than this share of the reach sit on a zero


def zero_of(law: WeightLaw) -> complex | None:
    r"""A zero s of E|W|^s with Re s > −1 and Im s > 0, or None when the search finds none.

    For a law with a density or of unknown kind the search reaches −0.95 ≤ Re s ≤ 40 and Im s ≤ 90, or less where
    |E|W|^s| has fallen below 1e-10 of E|W|^{Re s}. For a discrete law of magnitudes a_1 < … < a_m the search covers
    the whole half-plane to the right of −1, up to Im s = 1000, or further for magnitudes closer than 2.5 %. There is
    no zero to the right of the σ with Σ_{i<m} p_i a_i^σ < p_m a_m^σ. If that σ is at most −1, there is no zero.

    Parameters
    ----------
    law
        The weights, at any scale.

    Examples
    --------
    >>> from firstlight.pairs.exact.zeros import zero_of
    >>> from firstlight.weights import Discrete, Normal
    >>> s = zero_of(Discrete((0.9, 1.0), (0.6, 0.4)))
    >>> round(s.real, 2), round(s.imag, 2)
    (3.85, 29.82)
    >>> zero_of(Normal()) is None
    True
    """
    while isinstance(law, ScaledLaw):
        law = law.base
    if not isinstance(law, Discrete):
        return zero_in_strip(law.log_mellin, low=max(-0.95, law.strip[0] + 0.05), high=0.95 * law.strip[1])
    # in units of the largest magnitude the transform tends to p_m
    shares = np.array(law.probabilities) / law.probabilities[-1]
    logs = np.log(np.array(law.magnitudes) / law.magnitudes[-1])

    def others(sigma: float) -> float:
        return float(np.sum(shares[:-1] * np.exp(sigma * logs[:-1])))

    if others(-1.0) <= 1 + 1e-12:
        return None
    right = 1.0
    while others(right) > 0.5:
        right *= 2
    gap, spread = float(np.diff(logs).min()), float(-logs[0])
    top = min(max(_DISCRETE_TOP, 8 * math.pi / gap), 0.3 * _MOST_POINTS / spread)

    def log_mellin(s: object) -> Any:
        with np.errstate(divide="ignore"):
            return np.log(np.exp(np.asarray(s)[..., None] * logs) @ shares)

    return _first_zero(log_mellin, (-1 + 1e-9, right), top, step=0.3 / spread)


def zero_in_strip(
    log_mellin: LogMellin, *, low: float, high: float = _RIGHT, top: float = _TOP
) -> complex | None:
    """A zero of a transform that is known by its logarithm, on any branch, to the right of ``low``.

    Parameters
    ----------
    log_mellin
        Log E|W|^s on complex arrays, analytic for Re s ≥ ``low`` but at zeros.
    low, high
        The edges of the search, where E|W|^s is finite; it ends at Re s = 40 all the same.
    top
        The largest Im s.
    """
    high = min(high, _RIGHT)
    t = np.arange(0.0, top, 0.25)
    for sigma in (low, 0.0, high):
        size = np.real(_quiet(log_mellin, sigma + 1j * t))
        alive = np.flatnonzero(size - size[0] > math.log(_FLOOR))
        top = min(top, float(t[alive[-1]]) if alive.size else 0.0)
    return _first_zero(log_mellin, (low, high), top, step=0.25) if top > 1 else None


def _quiet(log_mellin: LogMellin, s: object) -> Any:
    with np.errstate(all="ignore"):
        return np.asarray(log_mellin(s))


def _first_zero(
    log_mellin: LogMellin, strip: tuple[float, float], top: float, *, step: float
) -> complex | None:
    """A zero among the lowest in the rectangle, refined by Newton's method."""

    def inside(box: tuple[float, float, float, float]) -> bool:
        """Whether the argument turns along the edge of left, right, low, high; on the edge a zero is half a turn."""
        left, right, low, high = box
        corners = [left + 1j * low, right + 1j * low, right + 1j * high, left + 1j * high]
        sides = zip(corners, [*corners[1:], corners[0]], strict=True)
        # on the real axis the transform is positive and does not turn
        return sum(_turn(log_mellin, a, b, step) for a, b in sides if a.imag or b.imag) > 0.4 * 2 * math.pi

    box = (*strip, 0.0, top)
    if not inside(box):
        return None
    while max(box[1] - box[0], box[3] - box[2]) > 0.3 * step:
        _log.info(
            "looking for a zero of a Mellin transform: between %.3g and %.3g up the strip", box[2], box[3]
        )
        left, right, low, high = box
        if high - low >= right - left:
            middle = low + 0.4987 * (high - low)  # off every symmetric place
            lower = (left, right, low, middle)
            box = lower if inside(lower) else (left, right, middle, high)
        else:
            middle = left + 0.4987 * (right - left)
            nearer = (left, middle, low, high)
            box = nearer if inside(nearer) else (middle, right, low, high)
    return _newton(log_mellin, complex(0.5 * (box[0] + box[1]), 0.5 * (box[2] + box[3])), 1e-3 * step)


def _turn(log_mellin: LogMellin, start: complex, end: complex, step: float) -> float:
    """How far the argument turns along a segment; points are added where it turns fast."""
    length = abs(end - start)
    at = np.linspace(0.0, 1.0, max(int(length / step) + 2, 9))
    angle = np.imag(_quiet(log_mellin, start + at * (end - start)))
    while True:
        change = np.diff(angle)
        change -= 2 * math.pi * np.round(change / (2 * math.pi))
        fast = np.flatnonzero((np.abs(change) > _TURN) & (np.diff(at) > _CLOSE))
        if not fast.size:
            return float(change.sum())
        middle = 0.5 * (at[fast] + at[fast + 1])
        angle = np.insert(angle, fast + 1, np.imag(_quiet(log_mellin, start + middle * (end - start))))
        at = np.insert(at, fast + 1, middle)


def _newton(log_mellin: LogMellin, s: complex, h: float) -> complex:
    """The zero next to s, by Newton steps on the transform with differences over h."""
    for _ in range(60):
        scale = np.real(_quiet(log_mellin, np.array([s.real + 0j])))
        value, after, before = np.exp(_quiet(log_mellin, np.array([s, s + h, s - h])) - scale)
        if value == 0 or after == before:
            break
        move = complex(value * 2 * h / (after - before))
        s -= move * min(1.0, 300 * h / abs(move))
        if abs(move) < 1e-7 * h:
            break
    return s
