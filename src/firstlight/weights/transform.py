"""A law given only by its Mellin transform E|W|^s: density, cdf and quantile by numerical inversion.

Smooth laws on the half-line go through the tilted lines of ``inversion``. A law with an edge a has a transform that
decays too slowly for them; there −log(|W|/a) ≥ 0 is expanded in Laguerre functions (Weeks' method), whose
coefficients are a Fourier transform of E|W|^s over the imaginary axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.weights.inversion import MellinInversion, NoLawError
from firstlight.weights.law import WeightLaw

_COEFFICIENTS = 1024


@dataclass(frozen=True)
class MellinLaw(WeightLaw):
    """The symmetric law with a given Mellin transform; made by ``from_mellin``, which checks it."""

    log_transform: Callable[[Any], Any]
    interval: tuple[float, float]
    edge: float
    label: str = "law of a Mellin transform"

    def __post_init__(self) -> None:
        what = f"while making the weight law {self.label}"
        if not (self.interval[0] < 0 < self.interval[1] and self.edge > 0):
            raise DomainError(
                f"{what}: expected a strip (low, high) with low < 0 < high and an edge > 0, got {self.interval} and "
                f"{self.edge}; E|W|^s is finite at 0 and beside it for a law with a density"
            )
        one = complex(np.exp(self.log_mellin(np.zeros(1)))[0])
        if not abs(one - 1) < 1e-9:
            raise DomainError(f"{what}: expected E|W|^0 = 1, got {one:.6g}; divide the transform by it")
        _ = self._inverse

    @property
    def name(self) -> str:
        """As given."""
        return self.label

    @property
    def strip(self) -> tuple[float, float]:
        """As given."""
        return self.interval

    def log_mellin(self, s: object) -> Any:
        """As given."""
        return np.asarray(self.log_transform(np.asarray(s, dtype=np.complex128)), dtype=np.complex128)

    @cached_property
    @clean
    def _scale(self) -> float:
        """What |W| is divided by before it is inverted: its edge, or its size in the mean."""
        if math.isfinite(self.edge):
            return float(self.edge)
        order = min(2.0, self.interval[1] / 2)
        return math.exp(float(np.real(self.log_mellin(np.array([order]))[0])) / order)

    @cached_property
    @clean
    def _inverse(self) -> Any:
        def scaled(s: object) -> Any:
            return self.log_mellin(s) - np.asarray(s) * math.log(self._scale)

        if math.isfinite(self.edge):
            return EdgeInversion(self.label, scaled, rate=-self.interval[0])
        return MellinInversion(self.label, scaled, strip=self.interval)

    @property
    def support(self) -> tuple[float, float]:
        """Up to the edge."""
        return -self.edge, self.edge

    def _sf(self, t: Tensor) -> Tensor:
        return _with_numpy(lambda y: np.exp(self._inverse.log_sf(y)), t / self._scale)

    def _isf(self, v: Tensor) -> Tensor:
        with np.errstate(divide="ignore"):
            return self._scale * _with_numpy(lambda p: self._inverse.quantile(1 - p, np.log(p)), v)

    def _log_density(self, t: Tensor) -> Tensor:
        return _with_numpy(self._inverse.log_pdf, t / self._scale) - math.log(self._scale)


class EdgeInversion:
    """The law of |Y| ≤ 1 with a given log E|Y|^s, by a Laguerre expansion of the law of Z = −log |Y|.

    With w = (s − b)/(s + b), (s + b)·E e^{−sZ} = Σ c_n w^n exactly when Z has density Σ c_n e^{−bz} L_n(2bz); on the
    imaginary axis |w| = 1, so c_n is a Fourier coefficient. The tail P(Z > z) has transform (1 − E e^{−sZ})/s.

    Parameters
    ----------
    label, log_mellin
        As for ``MellinInversion``.
    rate
        b: E|Y|^s is finite for Re s > −b.

    References
    ----------
    Weeks, Numerical inversion of Laplace transforms using Laguerre functions, J. ACM 13 (1966).
    """

    def __init__(self, label: str, log_mellin: Callable[[Any], Any], *, rate: float) -> None:
        self._rate = b = min(rate, 4.0)
        angle = 2 * math.pi * (np.arange(_COEFFICIENTS) + 0.5) / _COEFFICIENTS
        s = 1j * b / np.tan(angle / 2)
        transform = np.exp(log_mellin(s))
        self._density = self._series(transform * (s + b), angle)
        self._tail = self._series((1 - transform) / s * (s + b), angle)
        rest = float(np.abs(self._density[-_COEFFICIENTS // 8 :]).max())
        if not rest < 1e-5:
            raise NoLawError(
                f"while solving for the {label}: expected a law on [0, edge] with a density, got Laguerre coefficients "
                f"that stay at {rest:.3g}; check the edge and the strip"
            )
        self.error = float(np.abs(self._tail[-_COEFFICIENTS // 8 :]).sum())
        z = np.linspace(0, 40 / b, 400)
        low = self._sum(self._density, z)
        tail = self._sum(self._tail, z)
        if low.min() < -1e-4 * max(1.0, low.max()) or np.diff(tail).max() > 1e-8:
            at = float(z[int(low.argmin())])
            raise NoLawError(
                f"while solving for the {label}: expected a positive density, got {low.min():.3g} (of log y) at "
                f"y = {math.exp(-at):.4g} of the edge; no law on this interval has these moments"
            )

    @staticmethod
    def _series(values: Any, angle: Any) -> Any:
        n = np.arange(len(values))
        c = (np.fft.fft(values) / len(values) * np.exp(-1j * n * angle[0])).real[: len(values) // 2]
        large = np.flatnonzero(np.abs(c) > 1e-15 * np.abs(c).max())
        c[large[-1] + 1 :] = 0
        return c

    def _sum(self, c: Any, z: Any) -> Any:
        """Σ c_n e^{−bz} L_n(2bz), by the recurrence; every Laguerre function is at most 1."""
        x = 2 * self._rate * np.asarray(z, dtype=np.float64)
        before, now = np.zeros_like(x), np.exp(-x / 2)
        total = c[0] * now
        for n in range(int(np.flatnonzero(c)[-1])):
            before, now = now, ((2 * n + 1 - x) * now - n * before) / (n + 1)
            total = total + c[n + 1] * now
        return total

    def log_sf(self, y: Any) -> Any:
        """Log P(|Y| > y), to absolute 1e-14 of the probability where the density is smooth."""
        z = -np.log(np.clip(y, 1e-300, 1.0))
        with np.errstate(divide="ignore"):
            out = np.log(np.clip(1 - self._sum(self._tail, z), 0, 1))
        return np.where(np.asarray(y) >= 1, -np.inf, out)

    def log_pdf(self, y: object) -> Any:
        """Log-density."""
        y = np.asarray(y, dtype=np.float64)
        z = -np.log(np.clip(y, 1e-12, 1.0))
        with np.errstate(divide="ignore"):
            out = np.log(np.maximum(self._sum(self._density, z), 0)) + z
        return np.where(y <= 1, out, -np.inf)

    def quantile(self, p: Any, log_sf: Any) -> Any:
        """The y with P(|Y| ≤ y) = p, by bisection in z = −log y."""
        low, high = np.zeros(np.shape(p)), np.full(np.shape(p), 60 / self._rate)
        for _ in range(56):
            middle = (low + high) / 2
            above = self._sum(self._tail, middle) > p
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return np.exp(-(low + high) / 2)


def _with_numpy(function: Callable[[Any], Any], value: Tensor) -> Tensor:
    made = function(value.detach().cpu().numpy())
    return torch.from_numpy(np.asarray(made, dtype=np.float64)).to(value.device)


@checked
@clean
def from_mellin(
    log_mellin: Callable[[object], object],
    *,
    strip: tuple[float, float],
    edge: float = math.inf,
    name: str = "law of a Mellin transform",
) -> WeightLaw:
    """The symmetric weight law with a given log E|W|^s, as a law like every other.

    Density, cdf and quantile come from a numerical inversion (analytic densities: cdf 1e-8, density 3e-7), moments from
    the transform.

    Parameters
    ----------
    log_mellin
        Log E|W|^s on complex NumPy arrays, on any branch.
    strip
        The open interval of Re s, around 0, where E|W|^s is finite.
    edge
        The largest |W|, for a bounded law; such a transform decays slowly and is inverted in another way.
    name
        How reports name the law.

    Raises
    ------
    DomainError
        A strip without 0, E|W|^0 ≠ 1, or (as ``NoLawError``) moments that no law has, with the place where it shows.

    Examples
    --------
    >>> import numpy as np
    >>> from firstlight import weights
    >>> law = weights.from_mellin(lambda s: -np.log1p(s), strip=(-1, float("inf")), edge=1.0)  # uniform
    >>> round(float(law.cdf(0.5)), 9)
    0.75
    """
    return MellinLaw(log_mellin, (float(strip[0]), float(strip[1])), edge, name)
