"""The law of |Y| for y ≤ √2: a Taylor series, and close to θ = 2 a Hankel contour folded onto the axis.

    f(y) = √(2/π) Σ_k (−x)^k / (k! Γ(1 − (2k+1)/θ)),    x = y²/2 ≤ 1.

The terms do not cancel for x ≤ 1, but their number grows like 1/(θ−2); below θ = 2.02 the contour

    f = (√(2/π)/π) ∫₀^∞ r^{a/2−1} Im[e^{iπa/2} exp(−r − x r^a e^{iπa})] dr,    a = 2/θ,

is cheaper. With r = exp(v − e^{−v}) the trapezoid rule converges geometrically.
"""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray
_SCALE = math.sqrt(2 / math.pi)


class SeriesBody:
    """The Taylor series, evaluated by Horner's rule."""

    def __init__(self, theta: float) -> None:
        self._coefficients = taylor_coefficients(theta)

    def pdf(self, y: Array) -> Array:
        """Density."""
        return _SCALE * _horner(self._coefficients, -0.5 * y * y)

    def slope(self, y: Array) -> Array:
        """Derivative of the density."""
        c = self._coefficients
        return -_SCALE * y * _horner(c[1:] * np.arange(1, len(c)), -0.5 * y * y)

    def cdf(self, y: Array) -> Array:
        """Probability below."""
        c = self._coefficients
        return _SCALE * y * _horner(c / (2 * np.arange(len(c)) + 1), -0.5 * y * y)


def taylor_coefficients(theta: float) -> Array:
    """1/(k! Γ(1 − (2k+1)/θ)) for k = 0, 1, … until they no longer count at x = 1."""
    from scipy.special import gammaln, rgamma

    a = 2 / theta
    count = 64
    while True:
        k = np.arange(count, dtype=np.float64)
        z = (k + 0.5) * a
        # reflection: 1/Γ(1−z) = Γ(z) sin(πz)/π, whose parts overflow where the quotient by k! does not
        size = np.exp(gammaln(z) - gammaln(k + 1)) / math.pi
        reflected = size * np.sin(math.pi * (z - 2 * np.round(z / 2)))
        direct = rgamma(1 - z[:8]) / np.exp(gammaln(k[:8] + 1))
        coefficients = np.concatenate([direct, reflected[8:]])
        settled = (size < 1e-19) & (k > 4)
        if settled.any():
            return coefficients[: int(np.argmax(settled)) + 1]
        count *= 2


def _horner(coefficients: Array, t: Array) -> Array:
    total = np.zeros_like(t)
    for c in coefficients[::-1]:
        total *= t
        total += c
    return total


class ContourBody:
    """The folded Hankel contour."""

    def __init__(self, theta: float) -> None:
        a, e = 2 / theta, (theta - 2) / theta
        v = np.arange(-80, 205) * 0.1
        log_r = v - np.exp(-v)
        self._r, self._weight = np.exp(log_r), (1 + np.exp(-v)) * 0.1
        self._root = np.exp(0.5 * a * log_r)  # r^{a/2}
        # πa = π − πe, so that the angle keeps its digits next to π
        self._turn = complex(-math.cos(math.pi * e), math.sin(math.pi * e))
        self._half = complex(math.sin(0.5 * math.pi * e), math.cos(0.5 * math.pi * e))

    def _kernel(self, y: Array) -> Array:
        x = 0.5 * y[..., None] ** 2
        return self._half * np.exp(-self._r - x * self._root**2 * self._turn)

    def pdf(self, y: Array) -> Array:
        """Density."""
        return _SCALE / math.pi * (self._kernel(y).imag * self._root * self._weight).sum(-1)

    def slope(self, y: Array) -> Array:
        """Derivative of the density."""
        moment = (self._kernel(y) * self._turn).imag * self._root**3 * self._weight
        return -_SCALE / math.pi * y * moment.sum(-1)

    def cdf(self, y: Array) -> Array:
        """(1/π) ∫ e^{−r} Im erf(y r^{a/2} e^{iπa/2}/√2) dr/r."""
        from scipy.special import erf, wofz

        z = (y[..., None] / math.sqrt(2)) * self._root * self._half
        near = self._r < 20  # beyond, erf alone would overflow; e^{−r − z²} does not
        total = (np.exp(-self._r[near]) * erf(z[..., near]).imag * self._weight[near]).sum(-1)
        far = z[..., ~near]
        x_ra = 0.5 * y[..., None] ** 2 * self._root[~near] ** 2
        tail = np.exp(-self._r[~near] - x_ra * self._turn) * wofz(1j * far)
        return (total - (tail.imag * self._weight[~near]).sum(-1)) / math.pi


def body(theta: float) -> SeriesBody | ContourBody:
    """The cheaper exact form for this θ."""
    return SeriesBody(theta) if theta >= 2.02 else ContourBody(theta)
