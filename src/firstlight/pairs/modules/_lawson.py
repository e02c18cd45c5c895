"""Rational minimax fits of exact activations by Lawson's reweighting of linearised least squares.

log φ less its leading behaviour, and the slope of log φ, are fitted as N/Q and M/Q with one denominator in the
logarithm L of ``rational``. Each round solves one linear least-squares problem |N − t Q|²/|Q_before|² for all
three and raises the weight of a point in proportion to its error (Lawson), which drives the error of φ and φ'
towards minimax.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.polynomial import chebyshev

from firstlight.errors import FirstlightError
from firstlight.pairs.exact.function import ExactActivation
from firstlight.pairs.modules._rational import Kind, Piece, RationalFit
from firstlight.pairs.modules.fast import chunked

Array = np.ndarray
logger = logging.getLogger(__name__)
LIMIT = 300.0  # seconds for one fit; on one idle core it takes 0.3 to 4
_CUT = 12.0
_FLOOR = -6.0  # a positive φ is 1e-9 there
_POINTS = 300
_TAIL = 1e3
_FAR = 1e6  # where φ is its tail to all digits
_STRETCHES = {"odd": (0.15, 0.3, 0.6), "side": (0.05, 0.1, 0.2, 0.3, 0.6, 1.5), "line": (1.0, 3.0, 8.0, 20.0)}
# where L is zero, as a share of its range: what cancels least depends on where the poles are
_CENTRES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)
_SLOPE_SHARE = 0.3  # an error of φ' counts for this share of one of φ


class FitError(FirstlightError, ArithmeticError):
    """An activation that no rational function was fitted to."""


@dataclass(frozen=True)
class _Problem:
    """What one piece is fitted to: L, the targets of N/Q and M/Q, and how an error of each enters φ and φ'."""

    level: Array
    value: Array
    slope: Array
    value_weight: Array
    slope_weight: Array


@dataclass(frozen=True)
class _Side:
    """Where a piece lives: its kind, sign, origin and low end, and the exact φ and φ' at distances b."""

    kind: Kind
    sign: float
    origin: float
    low: float
    b: Array
    value: Array
    slope: Array


@contextmanager
def _one_thread() -> Iterator[None]:
    """Small matrices on one thread: several threads that wait for each other made a fit up to fifty times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fit(
    exact: ExactActivation,
    *,
    tail_power: float | None = None,
    precise: bool = False,
    limit: float = LIMIT,
) -> RationalFit:
    """Rational pieces for an exact activation.

    Parameters
    ----------
    exact
        The activation.
    tail_power
        γ in φ ~ x^γ; the local power far out when absent.
    precise
        False: lowest degree whose error is below float32's rounding. True: the best that float64 gives.
    limit
        Seconds after which the fit is given up.

    Returns
    -------
    RationalFit
        With the errors that were reached; a φ with an infinite slope at 0 cannot be fitted well, and its
        errors say so.

    Raises
    ------
    FitError
        Every degree has a pole in the interval, or the limit is over.

    Notes
    -----
    Each degree is told to the logger of this module, with the error reached so far.
    """
    sides = _sides(exact)
    power = local_power(exact) if tail_power is None else tail_power
    goals = (1e-12, 1e-11) if precise else (1.3e-6, 4e-6)
    stretches = _STRETCHES[sides[0].kind]
    x = _test_points(sides, torch.float64 if precise else torch.float32)
    truth = (exact(x.double().numpy()), exact.derivative(x.double().numpy()))
    best: RationalFit | None = None
    what = f"fitting the activation of a pair for {'float64' if precise else 'float32'}"
    started = time.monotonic()
    with _one_thread():
        for degree in range(8 if precise else 4, 15 if precise else 14):
            reached = "none yet" if best is None else f"{best.error:.1e}"
            logger.info("%s: degree %d, error %s (the result is kept for next time)", what, degree, reached)
            for stretch in stretches:
                if time.monotonic() - started > limit:
                    raise FitError(
                        f"while {what}: expected the fit to take less than {limit:g} s, got to degree {degree} with "
                        f"error {reached} in that time; take a shipped θ (such as 2, 2.05, 2.5, 3), or try again on an "
                        "idle machine"
                    )
                each_side = [_piece(side, exact, power, stretch, degree) for side in sides]
                for pieces in zip(*each_side, strict=False):
                    made = _measured(pieces, x, truth)
                    if best is None or _score(made, goals) < _score(best, goals):
                        best = made
            if best is not None and _score(best, goals) <= 1:
                break
    if best is None:
        raise FitError(
            f"while {what}: expected a rational function without a pole on [−12, 12], got a pole at every degree; use "
            "pairs.ExactModule"
        )
    return best


def shortened(made: RationalFit, exact: ExactActivation) -> RationalFit:
    """A float32 fit with nine digits in its polynomials, all that float32 holds, and the errors it has with them."""

    def short(line: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(float(f"{c:.9g}") for c in line)

    pieces = tuple(
        replace(p, value=short(p.value), slope=short(p.slope), denominator=short(p.denominator))
        for p in made.pieces
    )
    x = _test_points(_sides(exact), torch.float32)
    return _measured(pieces, x, (exact(x.double().numpy()), exact.derivative(x.double().numpy())))


def _score(made: RationalFit, goals: tuple[float, float]) -> float:
    return max(made.error / goals[0], made.slope_error / goals[1])


def _sides(exact: ExactActivation) -> list[_Side]:
    grid = 1 - np.cos(np.linspace(0, math.pi / 2, _POINTS + 1)[1:])  # dense near the zero
    kink = exact.kink
    if exact.split == 0.5:
        ends: list[tuple[Kind, float, float]] = [("odd", 1.0, _CUT)]
    elif exact.split == 0:
        ends, kink = [("line", 1.0, _CUT)], 0.0
        grid = 0.5 * (1 - np.cos(np.linspace(0, math.pi, 2 * _POINTS)))
    else:
        reach = _CUT + abs(kink)  # the sides share the end of their logarithm
        ends = [("side", 1.0, reach), ("side", -1.0, reach)]
    out = []
    for kind, sign, end in ends:
        low = _FLOOR if kind == "line" else 0.0
        b = low + (end - low) * grid
        x = kink + sign * b
        out.append(_Side(kind, sign, kink, low, b, sign * exact(x), exact.derivative(x)))
    return out


def local_power(exact: ExactActivation) -> float:
    """The power that φ grows with, far out."""
    x = np.array([36.0])  # beyond, a Gaussian probability is no longer a float64
    return float(x[0] * exact.derivative(x)[0] / exact(x)[0])


def _logarithm(kind: Kind, b: Array, stretch: float) -> Array:
    if kind == "odd":
        return np.log1p(stretch * b * b)
    return np.log1p(stretch * b) if kind == "side" else np.log(b + np.sqrt(b * b + stretch))


def _piece(side: _Side, exact: ExactActivation, power: float, stretch: float, degree: int) -> list[Piece]:
    """One piece of one degree, counted from each centre; none where every round has a pole."""
    b, kind = side.b, side.kind
    level = _logarithm(kind, b, stretch)
    rate = (0.5 if kind == "odd" else 1.0) * (power - 1)
    ahead = np.exp(level) if kind == "line" else b
    far = _tail_constant(side, exact, rate, stretch)
    logs = np.log(side.value / ahead)
    # the variable against which the slope of log φ is taken: log |x|, or L itself
    pace = np.sqrt(b * b + stretch) if kind == "line" else b
    problem = _Problem(
        level,
        logs - rate * level - far,
        side.slope * pace / side.value - power,
        side.value,
        _SLOPE_SHARE * side.value / pace,
    )
    # N/Q falls to zero like 1/L: holding it from here on leaves a pure power, within a few thousandths
    end = float(_logarithm(kind, np.array([_TAIL]), stretch)[0])
    coefficients = _lawson(problem, degree)
    if coefficients is None:
        return []
    found = []
    powers = [chebyshev.cheb2poly(c.astype(np.longdouble)) for c in coefficients]
    for share in _CENTRES:
        centre = float(level.min() + share * (level.max() - level.min()))
        ends = (float(level.min()) - centre, float(level.max()) - centre)
        lines = [_monomials(c, *ends) for c in powers]
        n, m, q = (tuple(float(a / lines[2][0]) for a in line) for line in lines)
        place = (side.low, stretch, math.exp(-centre), end - centre, far + rate * centre)
        found.append(Piece(kind, side.sign, side.origin, *place, rate, power, n, m, q))
    return found


def _tail_constant(side: _Side, exact: ExactActivation, rate: float, stretch: float) -> float:
    """C of P: log φ less the rate and the factor, so far out that nothing else is left."""
    x = _FAR if np.isfinite(exact(np.array([_FAR]))).all() else 36.0
    size = abs(float(exact(np.array([side.sign * x]))[0]))
    level = float(_logarithm(side.kind, np.array([x]), stretch)[0])
    return math.log(size) - (level if side.kind == "line" else math.log(x)) - rate * level


def _lawson(problem: _Problem, degree: int, *, rounds: int = 24) -> list[Array] | None:
    """N, M (degree − 1) and Q of the best pole-free round, in Chebyshev polynomials of L's range."""
    level = problem.level
    low, high = float(level.min()), float(level.max())
    basis = chebyshev.chebvander((2 * level - low - high) / (high - low), degree)
    top, blank = basis[:, :degree], np.zeros((len(level), degree))
    targets, weights = (problem.value, problem.slope), (problem.value_weight, problem.slope_weight)
    lawson, q = np.ones((2, len(level))), np.ones_like(level)
    best: tuple[float, Array | None] = (math.inf, None)
    for round_ in range(rounds):
        scales = [
            (np.sqrt(w) * u / np.maximum(np.abs(q) / np.abs(q).max(), 1e-12))[:, None]
            for w, u in zip(lawson, weights, strict=True)
        ]
        rows = [
            np.hstack([top * scales[0], blank, -basis * (targets[0][:, None] * scales[0])]),
            np.hstack([blank, top * scales[1], -basis * (targets[1][:, None] * scales[1])]),
        ]
        system = np.vstack(rows)
        norms = np.linalg.norm(system, axis=0)
        c = _least(system / norms) / norms
        q = basis @ c[2 * degree :]
        if not np.all(q * q[0] > 0):
            continue
        parts = (top @ c[:degree] / q, top @ c[degree : 2 * degree] / q)
        errors = np.stack([np.abs(p - t) * u for p, t, u in zip(parts, targets, weights, strict=True)])
        if errors.max() < best[0]:
            best = (float(errors.max()), c)
        if round_ >= 4:
            lawson = np.maximum(lawson * errors / errors.max(), 1e-30)
            lawson /= lawson.max()
    if best[1] is None:
        return None
    columns = list(np.split(best[1], [degree, 2 * degree]))
    # a pole beyond the interval would sit in the tail
    roots = torch.linalg.eigvals(torch.from_numpy(chebyshev.chebcompanion(columns[2]))).numpy()
    real = roots.real[np.abs(roots.imag) < 1e-9 * np.maximum(np.abs(roots), 1e-300)]
    return None if np.any((real > -1) & (real < 2 * (800 - low) / (high - low) - 1)) else columns


def _least(system: Array) -> Array:
    """The unit vector that the system makes shortest."""
    upper = torch.linalg.qr(torch.from_numpy(system), mode="r").R
    return np.asarray(torch.linalg.svd(upper).Vh[-1].numpy())


def _monomials(powers: Array, low: float, high: float) -> Array:
    """Coefficients in L, from the constant up, of a polynomial in the unit variable, in extended precision."""
    unit = np.array([-(high + low) / (high - low), 2 / (high - low)], dtype=np.longdouble)
    total = np.zeros(1, dtype=np.longdouble)
    for a in powers[::-1]:  # Horner in the polynomial unit(L)
        total = np.convolve(total, unit)
        total[0] += a
    return total[: len(powers)]


def _test_points(sides: list[_Side], dtype: torch.dtype) -> torch.Tensor:
    """Points between those of the fit, and none at a kink, where the slope has two values."""
    x = np.concatenate([side.origin + side.sign * 0.5 * (side.b[1:] + side.b[:-1]) for side in sides])
    more = np.linspace(-_CUT, _CUT, 4000)  # enough to meet the worst of float32's rounding
    x = np.concatenate([x, more[more > _FLOOR] if sides[0].kind == "line" else more])
    return torch.from_numpy(x).to(dtype)


def _measured(pieces: tuple[Piece, ...], x: torch.Tensor, truth: tuple[Array, Array]) -> RationalFit:
    """The fit with the errors that its own working precision sees, by Horner and by products of matrices."""
    made = RationalFit(pieces, math.inf, math.inf)
    routes = (made.evaluate(x), chunked(x, made, slope=True))
    errors = [max(float(np.abs(r[i].double().numpy() - truth[i]).max()) for r in routes) for i in (0, 1)]
    return RationalFit(pieces, errors[0], errors[1])
