"""From a Mellin transform to a law: numerical inversion on tilted lines, with an error estimate.

With M(s) = E|Y|^s and u = log y, for any σ inside the strip

    f(u) = (1/2π) ∫ M(σ+it) e^{−(σ+it)u} dt,    P(|Y| > y) = (1/2π) ∫ M(σ+it) e^{−(σ+it)u} dt/(σ+it), σ > 0,

and the same with the sign turned for the cdf, σ < 0. Rounding costs 1e-16·M(σ)e^{−σu}: each u takes the σ
that costs least, which keeps relative digits far down the tail. The trapezoid rule in t converges
geometrically.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from firstlight.errors import DomainError

Array = Any
LogMellin = Callable[[Any], Any]
_TILTS = (0.5, 1.0, 2.0, 4.0, 8.0, 14.0, 22.0, 32.0)
_STEP = 2 * math.pi / 76  # what lies 76 units of u away folds back, at e^{−76|σ|} < 1e-16


def hermite(t: Array, knots: Array, values: Array, slopes: Array) -> Array:
    """Cubic Hermite interpolation on increasing knots."""
    i = np.clip(np.searchsorted(knots, t, side="right") - 1, 0, len(knots) - 2)
    h = knots[i + 1] - knots[i]
    s = (t - knots[i]) / h
    rise = values[i + 1] - values[i]
    bend0, bend1 = h * slopes[i] - rise, rise - h * slopes[i + 1]
    return values[i] + s * (rise + (1 - s) * (bend0 * (1 - s) + bend1 * s))


def _log(y: object) -> Array:
    return np.log(np.maximum(np.asarray(y, dtype=np.float64), 1e-300))


class NoLawError(DomainError):
    """A function that is not the Mellin transform of a law, or of one this solver can invert."""


class MellinInversion:
    """The law of |Y| ≥ 0 with a given log E|Y|^s, analytic in a strip that holds 0.

    Parameters
    ----------
    label
        How messages name the law.
    log_mellin
        Log E|Y|^s on complex arrays.
    strip
        Where E|Y|^s is finite.

    Raises
    ------
    NoLawError
        When there is no such law; the message says where it fails.
    """

    edge = math.inf
    refusal: ClassVar[type[NoLawError]] = NoLawError

    def __init__(
        self, label: str, log_mellin: LogMellin, *, strip: tuple[float, float] = (-1.0, math.inf)
    ) -> None:
        self._label = label
        self._strip = strip
        self._negative = -min(0.5, -strip[0] / 2)  # the tilt that gives the cdf
        # a line |σ| from 0 folds back what lies 2π/step away, by e^{−2π|σ|/step}
        self._step = _STEP * min(1.0, -self._negative / 0.5)
        self._log_mellin = log_mellin
        self._refuse_impossible_moments()
        self._reach = self._decay()
        self._tabulate()

    @property
    def name(self) -> str:
        """What it is the partner of."""
        return self._label

    def _refuse_impossible_moments(self) -> None:
        low, high = self._strip
        s = np.arange(max(-0.9, 0.9 * low), min(12.01, 0.95 * high), 0.05)
        with np.errstate(all="ignore"):
            logs = np.real(self._log_mellin(s.astype(np.complex128)))
        bend = logs[2:] - 2 * logs[1:-1] + logs[:-2]
        worst = int(np.argmin(np.where(np.isfinite(bend), bend, -np.inf)))
        if not np.isfinite(bend[worst]) or bend[worst] < -1e-11 * max(1.0, abs(logs[worst + 1])):
            raise self.refusal(
                f"while solving for the {self._label}: expected log E|Y|^s convex in s, got it concave or "
                f"infinite near s = {s[worst + 1]:.2f}; no law has these moments"
            )

    def _decay(self) -> float:
        """Where the transform on the imaginary axis has fallen below rounding."""
        start, size = 0.05, np.zeros(1)
        while start < 2000:
            t = np.linspace(start, 2 * start + 10, 400)
            with np.errstate(all="ignore"):
                size = np.real(self._log_mellin(1j * t))
            if np.nanmax(size) > 1e-8:
                at = int(np.nanargmax(size))
                modulus = "more than 1e100" if size[at] > 230 else f"{math.exp(size[at]):.6g}"
                raise self.refusal(
                    f"while solving for the {self._label}: expected |E|Y|^(it)| ≤ 1, got {modulus} at t = {t[at]:.2f}; "
                    "the quotient of transforms is not a characteristic function"
                )
            if np.all(size[200:] < -37.0):
                return float(t[int(np.argmax(size < -37.0))])
            start = float(t[-1])
        raise self.refusal(
            f"while solving for the {self._label}: expected a transform that decays along the imaginary axis, got "
            f"modulus {math.exp(size[-1]):.3g} at t = {start:.0f}; |Y| has no smooth density (an edge or an atom), "
            "and this solver needs one"
        )

    def _tabulate(self) -> None:
        t = np.arange(0, math.ceil(self._reach / self._step) + 1) * self._step
        far = 40 / self._strip[1]  # 0 unless the tail is a power law
        u = np.concatenate(
            [np.arange(-26.0, -2.0, 0.05), np.arange(-2.0, 6.0, 0.005), np.arange(6.0, 6.0 + far, 0.05)]
        )
        lines = []
        for sigma in (self._negative, *_TILTS):
            if not self._strip[0] < sigma < self._strip[1]:
                continue
            with np.errstate(all="ignore"):
                top = float(np.real(self._log_mellin(np.array([sigma + 0j]))[0]))
                transform = np.exp(self._log_mellin(sigma + 1j * t) - top) * (self._step / math.pi)
            transform[0] *= 0.5
            if np.all(np.isfinite(transform)):
                lines.append((sigma, top, transform))
        # the line t < 0 is the conjugate of t > 0; the waves are the same for every tilt
        densities = np.stack([transform for _, _, transform in lines], axis=1)
        masses = np.stack([transform / (sigma + 1j * t) for sigma, _, transform in lines], axis=1)
        both = np.hstack([densities, masses])
        blocks = [
            (np.exp(-1j * np.outer(part, t)) @ both).real
            for part in np.array_split(u, max(1, u.size * t.size // 500_000))
        ]
        sums = np.concatenate(blocks)
        best = np.full(u.shape, np.inf)
        below, log_above, density = (np.zeros_like(u) for _ in range(3))
        for column, (sigma, top, _) in enumerate(lines):
            f, part = sums[:, column], sums[:, len(lines) + column]
            log_scale = np.minimum(top - sigma * u, 600.0)
            cost = 1e-15 / np.maximum(np.abs(part), 1e-300)
            # a tilt is used on its own side: σ < 0 gives the cdf, σ > 0 the survival
            log_part = np.log(np.maximum(np.abs(part), 1e-300)) + log_scale
            better = (cost < best) & (log_part < math.log(0.999))
            best[better] = cost[better]
            density[better] = (f[better]) * np.exp(log_scale[better])
            if sigma < 0:
                below[better] = np.exp(log_part[better])
                log_above[better] = np.log1p(-below[better])
            else:
                log_above[better] = log_part[better]
                below[better] = -np.expm1(log_above[better])
        lowest = int(np.argmin(np.where((best < 1e-8) & (below > 1e-10), density, 0.0)))
        if density[lowest] < -1e-8:
            raise self.refusal(
                f"while solving for the {self._label}: expected a positive density, got {density[lowest]:.3g} (of "
                f"log y) at y = {math.exp(u[lowest]):.4g}; no law has these moments"
            )
        keep = (best < 1e-8) & (density > 0) & (below > 0) & (log_above < 0)
        first, last = int(np.argmax(keep)), len(keep) - int(np.argmax(keep[::-1]))
        solid = slice(first, last)
        self._u, self._below = u[solid], below[solid]
        self._log_above, self._density = log_above[solid], density[solid]
        ordered = (np.diff(self._below, prepend=-1) > 0) | (np.diff(self._log_above, prepend=1) < 0)
        good = ordered & keep[solid]
        self._u, self._below, self._log_above, self._density = (
            a[good] for a in (self._u, self._below, self._log_above, self._density)
        )
        self.error = float(np.max(best[solid][good]))

    def _at(self, u: Array, values: Array, slopes: Array) -> Array:
        return hermite(np.clip(u, self._u[0], self._u[-1]), self._u, values, slopes)

    # Past the ends of the table the laws are powers, as they are in the quantile: P(|Y| ≤ y) ~ y^k at 0, and
    # −log P(|Y| > y) ~ y^m far out.

    @property
    def _powers(self) -> tuple[float, float]:
        """The exponents k and m; k is that of a pole of the transform, most often an integer."""
        low = float(self._density[0] / self._below[0])
        if abs(low - round(low)) < 2e-3:
            low = float(round(low))
        return low, float(-self._density[-1] / math.exp(self._log_above[-1]) / self._log_above[-1])

    def _short(self, u: Array) -> Array:
        """What log y lacks to the start of the table."""
        return np.minimum(u - self._u[0], 0)

    def _level(self, u: Array) -> Array:
        """Past the table, −log P(|Y| > y)."""
        with np.errstate(over="ignore"):
            return -self._log_above[-1] * np.exp(self._powers[1] * np.maximum(u - self._u[-1], 0))

    def pdf(self, y: object) -> Array:
        """Density."""
        return np.exp(self.log_pdf(y))

    def log_pdf(self, y: object) -> Array:
        """Log-density, from the table of that of log |Y|."""
        u = _log(y)
        logs = np.log(self._density)
        low, high = self._powers
        inside = self._at(u, logs, np.gradient(logs, self._u, edge_order=2)) + low * self._short(u)
        level = self._level(u)
        return np.where(u > self._u[-1], np.log(high * level) - level, inside) - u

    def score(self, y: object) -> Array:
        """Derivative of the log-density."""
        y = np.asarray(y, dtype=np.float64)
        h = 1e-4
        return (self.log_pdf(y * (1 + h)) - self.log_pdf(y * (1 - h))) / (2 * h * y)

    def cdf(self, y: object) -> Array:
        """P(|Y| ≤ y)."""
        u = _log(y)
        inside = self._at(u, np.log(self._below), self._density / self._below)
        below = np.exp(inside + self._powers[0] * self._short(u))
        return np.where(u > self._u[-1], -np.expm1(-self._level(u)), below)

    def log_sf(self, y: object) -> Array:
        """Log P(|Y| > y)."""
        u = _log(y)
        inside = self._at(u, self._log_above, -self._density / np.exp(self._log_above))
        with np.errstate(divide="ignore"):  # past the other end, where it is not used
            inside = np.where(u < self._u[0], np.log1p(-self.cdf(y)), inside)
        return np.where(u > self._u[-1], -self._level(u), inside)

    def quantile(self, p: Array, log_sf: Array) -> Array:
        """By the table of log cdf below the median, of the log-survival above; linear in log y past its ends."""
        p, log_sf = np.asarray(p, dtype=np.float64), np.asarray(log_sf, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            low = hermite(np.log(p), np.log(self._below), self._u, self._below / self._density)
            rate = np.exp(self._log_above) / self._density
            high = hermite(-log_sf, -self._log_above, self._u, rate)
            past = -log_sf > -self._log_above[-1]
            far = self._u[-1] + rate[-1] * self._log_above[-1] * np.log(log_sf / self._log_above[-1]) * -1
            first = self._below[0]
            near = self._u[0] + np.log(p / first) * first / self._density[0]
            u = np.where(p <= 0.5, np.where(p < first, near, low), np.where(past, far, high))
        return np.where(p <= 0, 0.0, np.exp(u))
