"""Rational minimax fits of exact activations by Lawson's reweighting of linearised least squares.

The quotient P/Q of degrees (n, n) is fitted in w = s/(s + τ), which spreads both the neighbourhood of the
zero and the tail over [0, 1]. Each round solves the linear least-squares problem |P − R Q|²/|Q_before|² and
raises the weight of a point in proportion to its error (Lawson), which drives the error towards minimax.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.polynomial import chebyshev, polynomial

from firstlight.pairs.exact import ExactActivation
from firstlight.pairs.rational import Kind, Piece, Quotient, RationalFit

Array = np.ndarray
_CUT = 12.0
_FLOOR = -6.0  # a positive φ is below 1e-8 there
_POINTS = 800
_ROUNDING = 1.5e-7  # of the largest value: what any float32 evaluation may lose


def fit(exact: ExactActivation, *, tail_power: float | None = None, precise: bool = False) -> RationalFit:
    """Rational pieces for an exact activation.

    Parameters
    ----------
    exact
        The activation.
    tail_power
        γ in φ ~ x^γ; the local power at the cut when absent.
    precise
        False: lowest degrees whose error is below float32's rounding. True: the best that float64 gives.

    Returns
    -------
    RationalFit
        With the errors that were reached; a φ with an infinite slope at 0 cannot be fitted well, and its
        errors say so.
    """
    grid = 1 - np.cos(np.linspace(0, math.pi / 2, _POINTS + 1)[1:])  # dense near the zero
    kink, pieces, errors = exact.kink, [], []
    if exact.split == 0.5:
        sides: list[tuple[Kind, float, float, float, float]] = [("odd", 1.0, 0.0, 0.0, _CUT)]
    elif exact.split == 0:
        sides = [("line", 1.0, -1.0, _FLOOR + 1.0, _CUT + 1.0)]
    else:
        sides = [("side", 1.0, kink, 0.0, _CUT - kink), ("side", -1.0, kink, 0.0, _CUT + kink)]
    for kind, sign, origin, low, cut in sides:
        if kind == "line":
            b = low + (cut - low) * 0.5 * (1 - np.cos(np.linspace(0, math.pi, 2 * _POINTS)))
        else:
            b = cut * grid
        value = sign * exact(origin + sign * b)
        slope = exact.derivative(origin + sign * b)
        piece, error, slope_error = _piece(kind, sign, origin, low, cut, b, value, slope, tail_power, precise)
        pieces.append(piece)
        errors.append((error, slope_error))
    return RationalFit(tuple(pieces), max(e for e, _ in errors), max(e for _, e in errors))


def _piece(
    kind: Kind,
    sign: float,
    origin: float,
    low: float,
    cut: float,
    b: Array,
    value: Array,
    slope: Array,
    tail_power: float | None,
    precise: bool,
) -> tuple[Piece, float, float]:
    s = b * b if kind == "odd" else b
    goals = (1e-12, 1e-11) if precise else (6e-7, 2e-6)
    line = kind == "line"
    target, weight = (value, np.ones_like(b)) if line else (value / b, np.maximum(b, 1.0))
    q_value, error = _best(s, target, weight, extra=int(line), goal=goals[0], precise=precise)
    q_slope, slope_error = _best(s, slope, np.ones_like(b), extra=0, goal=goals[1], precise=precise)
    # the tail meets the fitted value and slope at the cut
    scale, shift, power = _tail(cut + sign * origin, float(value[-1]), float(slope[-1]), tail_power)
    piece = Piece(kind, sign, origin, low, cut, q_value, q_slope, scale, shift, power)
    return piece, error, slope_error


def _tail(x: float, end: float, steep: float, tail_power: float | None) -> tuple[float, float, float]:
    """C, δ and γ of the tail through (x, end) with slope ``steep``; without a power, the local one with δ = 0."""
    if tail_power is None or tail_power <= 0 or steep <= 0:
        power = max(x * steep / end, 0.0) if tail_power is None else tail_power
        return end / x**power, 0.0, power
    shift = max(tail_power * x * end / steep - x * x, -0.9 * x * x)
    return end / (x * x + shift) ** (0.5 * tail_power), shift, tail_power


def _best(
    s: Array, target: Array, weight: Array, *, extra: int, goal: float, precise: bool
) -> tuple[Quotient, float]:
    """The lowest degree that reaches the goal, else the one with the least error."""
    best: tuple[float, Quotient | None] = (math.inf, None)
    start = 8 if s[0] < 0 else 4
    for n in range(start + 2, 17) if precise else range(start, 14):
        quotient, error = _lawson(s, target, weight, n, extra=extra, rounds=16 if precise else 40)
        if quotient is None:
            continue
        if not precise:  # rounding grows with the degree: what counts is the error that float32 sees
            single = _evaluate(quotient, s.astype(np.float32)).astype(np.float64) - target
            rounding = float((weight * np.abs(single)).max()) - error
            error = max(error, rounding - _ROUNDING * float(np.abs(weight * target).max()))
        if error < best[0]:
            best = (error, quotient)
        if best[0] <= goal:
            break
    if best[1] is None:
        raise ArithmeticError(
            "while fitting a rational: every degree from 4 to 16 has a pole in the interval"
        )
    return best[1], best[0]


def _lawson(
    s: Array, target: Array, weight: Array, n: int, *, extra: int, rounds: int
) -> tuple[Quotient | None, float]:
    """Degrees (n + extra, n): the best pole-free quotient of the rounds, in monomials, and its weighted error."""
    top = n + extra
    # the Möbius variable needs s ≥ 0; a positive activation is smooth on its scale, and uses s itself
    tau = 4.0 if s[0] >= 0 else 0.0
    w = s / (s + tau) if tau else s
    low, high = 0.0 if tau else float(w.min()), float(w.max())
    unit = (2 * w - low - high) / (high - low)
    vp, vq = chebyshev.chebvander(unit, top), chebyshev.chebvander(unit, n)
    lawson, q = np.ones_like(s), np.ones_like(s)
    best: tuple[float, Array | None] = (math.inf, None)
    for round_ in range(rounds):
        scale = np.sqrt(lawson) * weight / np.maximum(np.abs(q) / np.abs(q).max(), 1e-12)
        system = np.hstack([vp * scale[:, None], -vq * (target * scale)[:, None]])
        norms = np.linalg.norm(system, axis=0)
        c = np.linalg.svd(system / norms, full_matrices=False)[2][-1] / norms
        q = vq @ c[top + 1 :]
        if not np.all(q * q[0] > 0):
            continue
        error = weight * np.abs((vp @ c[: top + 1]) / q - target)
        if error.max() < best[0]:
            best = (float(error.max()), c)
        if round_ >= 6:
            lawson = np.maximum(lawson * error / error.max(), 1e-30)
            lawson /= lawson.max()
    if best[1] is None:
        return None, math.inf
    p, d = best[1][: top + 1], best[1][top + 1 :]
    quotient = _to_quotient(p, d, (low, high), n, tau)
    # the change of basis loses digits for high degrees: the error that counts is the one after it
    value = _evaluate(quotient, s)
    bad = not np.all(np.isfinite(value)) or not np.all(np.polyval(quotient.denominator, s) > 0)
    return (None, math.inf) if bad else (quotient, float((weight * np.abs(value - target)).max()))


def _to_quotient(p: Array, d: Array, domain: tuple[float, float], n: int, tau: float) -> Quotient:
    """From Chebyshev coefficients in w to line · s + constant + N(s)/Q(s), in extended precision."""
    numerator, denominator = (_monomials(c, domain, n, tau) for c in (p, d))
    numerator, denominator = numerator / denominator[-1], denominator / denominator[-1]
    whole, rest = polynomial.polydiv(numerator, denominator)
    line = float(whole[1]) if len(whole) > 1 else 0.0
    flip = lambda c: tuple(float(a) for a in c[::-1])  # noqa: E731
    return Quotient(float(whole[0]), line, flip(rest), flip(denominator))


def _monomials(c: Array, domain: tuple[float, float], n: int, tau: float) -> Array:
    """Coefficients in s, from the lowest, of c(w) (times (s + τ)^n where w = s/(s + τ))."""
    low, high = (np.longdouble(end) for end in domain)
    unit = np.array([-(high + low) / (high - low), 2 / (high - low)], dtype=np.longdouble)
    in_unit = chebyshev.cheb2poly(c.astype(np.longdouble))
    total = np.zeros(1, dtype=np.longdouble)
    for a in in_unit[::-1]:  # Horner in the polynomial unit(w)
        total = polynomial.polyadd(polynomial.polymul(total, unit), np.array([a]))
    if not tau:
        return total[: len(c)]
    out = np.zeros(n + 1, dtype=np.longdouble)
    step = np.array([tau, 1], dtype=np.longdouble)
    for j, a in enumerate(total[: len(c)]):  # w^j (s + τ)^n = s^j (s + τ)^{n−j}
        rest = polynomial.polypow(step, n - j) if n > j else np.ones(1, dtype=np.longdouble)
        out[j : n + 1] += a * rest
    return out


def _evaluate(quotient: Quotient, s: Array) -> Array:
    kind = s.dtype.type
    top, bottom = (np.zeros_like(s) for _ in range(2))
    for c in quotient.numerator:
        top = top * s + kind(c)
    for c in quotient.denominator:
        bottom = bottom * s + kind(c)
    return top / bottom + kind(quotient.constant) + kind(quotient.line) * s
