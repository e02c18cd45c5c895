"""The table of polynomials that the native kernel reads, made from an exact activation in milliseconds.

φ and φ' are interpolated, each for itself, at Chebyshev points of sixteen intervals a side; ``kernel.cpp`` says which
intervals, and in which order the numbers stand. Beyond the last interval |φ| = |b|^γ p(15/|b|).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.polynomial import chebyshev, polynomial
from torch import Tensor

from firstlight.errors import DomainError
from firstlight.pairs.exact.function import ExactActivation

Array = np.ndarray
CELLS, LINES, TAIL, REACH = 16, 7, 6, 15.0
_EDGES = np.array([2.0 ** (j // 4) * (1 + (j % 4) / 4) - 1 for j in range(CELLS + 1)])
_LOW = -6.0  # a positive φ is 1e-9 there, and stays so below
_POINTS = 30
_WORST = 2e-6


def make_table(exact: ExactActivation, tail_power: float) -> Tensor:
    """The table of one activation: float32, on the CPU.

    Parameters
    ----------
    exact
        The activation.
    tail_power
        γ, φ(x) ~ x^γ.

    Raises
    ------
    DomainError
        When the polynomials miss φ on [−12, 12] by more than 2e-6: it has an infinite slope, or a jump.

    Examples
    --------
    >>> from firstlight import pairs
    >>> from firstlight.pairs.modules._table import make_table
    >>> make_table(pairs.weibull(3.0).exact, 1 / 3).shape
    torch.Size([495])
    """
    positive = exact.split == 0
    kink = 0.0 if positive else exact.kink
    centre = np.zeros(2 * CELLS)
    value, slope = np.zeros((LINES, 2 * CELLS)), np.zeros((LINES, 2 * CELLS))
    tail = np.zeros((2, TAIL))
    worst = 0.0
    t = np.cos(math.pi * (np.arange(_POINTS) + 0.5) / _POINTS)
    for cell in range(2 * CELLS):
        sign = 1.0 if cell < CELLS else -1.0
        low, high = _EDGES[cell % CELLS], _EDGES[cell % CELLS + 1]
        if positive and sign < 0 and low >= -_LOW:
            continue  # never read
        middle, half = (low + high) / 2, (high - low) / 2
        b = middle + half * t
        y, dy = exact(kink + sign * b), exact.derivative(kink + sign * b)
        if low == 0 and not positive:
            # φ = b·(…), counted from the zero of φ itself: relative digits, and φ(0) = 0
            value[1:, cell] = polynomial.polyfit(b / high, y / b, LINES - 2) / high ** np.arange(LINES - 1)
            slope[:, cell] = polynomial.polyfit(b / high, dy, LINES - 1) / high ** np.arange(LINES)
        else:
            centre[cell] = middle
            for target, to in ((y, value), (dy, slope)):
                series = chebyshev.cheb2poly(chebyshev.chebfit(t, target, LINES - 1))
                to[:, cell] = np.pad(series, (0, LINES - len(series))) / half ** np.arange(LINES)
        if low < 12:
            got = polynomial.polyval(b - centre[cell], value[:, cell])
            worst = max(worst, float(np.abs(got - y).max()))
    if not worst <= _WORST:
        raise DomainError(
            f"while making the table of an activation: expected polynomials that follow φ on [−12, 12] to {_WORST:g}, "
            f"got an error of {worst:.2g}; φ is not smooth enough (an infinite slope at its zero): use its own module"
        )
    for side, sign in enumerate((1.0, -1.0)):
        if not (positive and sign < 0):
            tail[side] = _tail(exact, kink, sign, tail_power)
    origin = [kink, _LOW if positive else -math.inf, tail_power]
    numbers = np.concatenate([origin, tail.ravel(), centre, value.ravel(), slope.ravel()])
    return torch.from_numpy(numbers.astype(np.float32))


def _tail(exact: ExactActivation, kink: float, sign: float, power: float) -> Array:
    """Coefficients of p: |φ|/|b|^γ as a polynomial in 15/|b|."""
    s = 0.5 * (1 + np.cos(math.pi * (np.arange(_POINTS) + 0.5) / _POINTS))
    b = REACH / s
    return np.asarray(polynomial.polyfit(s, np.abs(exact(kink + sign * b)) / b**power, TAIL - 1))
