"""Laws whose tail and quantile are elementary: Weibull, normal, uniform, power of a uniform, Rademacher."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.weights.law import WeightLaw, written


def log_gamma(z: object) -> Any:
    """Log Γ(z) for a complex array; real input with a positive value stays real in effect."""
    from scipy.special import loggamma

    return loggamma(np.asarray(z, dtype=np.complex128))


@dataclass(frozen=True)
class SymmetricWeibull(WeightLaw):
    """P(|W| > t) = exp(−t^θ), with a fair random sign; E|W|^s = Γ(1 + s/θ).

    The weight law of the pairs of Wolinski & Arbel (TMLR 2025); E W² = Γ(1 + 2/θ), not 1.

    Examples
    --------
    >>> from firstlight.weights import SymmetricWeibull
    >>> round(SymmetricWeibull(2.0).variance, 12)
    1.0
    """

    theta: float
    word: ClassVar[str] = "weibull"
    constraints: ClassVar[Mapping[str, tuple[float, float]]] = {"theta": (0.0, math.inf)}

    @property
    def strip(self) -> tuple[float, float]:
        """Moments above −θ are finite."""
        return -float(self.theta), math.inf

    def log_mellin(self, s: object) -> Any:
        """Log Γ(1 + s/θ)."""
        return log_gamma(1 + np.asarray(s) / self.theta)

    def _sf(self, t: Tensor) -> Tensor:
        return torch.exp(-(t**self.theta))

    def _isf(self, v: Tensor) -> Tensor:
        return (-torch.log(v)) ** (1 / self.theta)

    def _log_density(self, t: Tensor) -> Tensor:
        power = self.theta - 1
        # θ = 1 has a finite density at 0, where 0 · log 0 would be NaN
        log_t = torch.log(t) * power if power != 0 else torch.zeros_like(t)
        return math.log(self.theta) + log_t - t**self.theta


@dataclass(frozen=True)
class Normal(WeightLaw):
    """The standard normal law; E|W|^s = 2^{s/2} Γ((1+s)/2)/√π.

    Examples
    --------
    >>> from firstlight.weights import Normal
    >>> round(Normal().moment(4), 12)
    3.0
    """

    word: ClassVar[str] = "normal"

    @property
    def strip(self) -> tuple[float, float]:
        """Moments above −1 are finite."""
        return -1.0, math.inf

    def moment(self, order: float) -> float:
        """(k − 1)!! for an even whole order k, without rounding; the Mellin transform for others."""
        if order >= 0 and order % 2 == 0 and order <= 20:
            return float(math.prod(range(1, int(order), 2)))
        return super().moment(order)

    def log_mellin(self, s: object) -> Any:
        """Log 2^{s/2} Γ((1+s)/2)/√π."""
        s = np.asarray(s)
        return 0.5 * s * math.log(2) + log_gamma((1 + s) / 2) - 0.5 * math.log(math.pi)

    def _sf(self, t: Tensor) -> Tensor:
        return torch.special.erfc(t / math.sqrt(2))

    def _isf(self, v: Tensor) -> Tensor:
        return -torch.special.ndtri(v / 2)

    def _log_density(self, t: Tensor) -> Tensor:
        return 0.5 * math.log(2 / math.pi) - 0.5 * t * t

    def _draw(self, count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        return torch.randn(count, generator=generator, dtype=torch.float64, device=device)


@dataclass(frozen=True)
class PowerUniform(WeightLaw):
    """|W| = U^{1/κ} with U uniform on [0, 1]; E|W|^s = κ/(κ + s). κ = 1 is the uniform law on [−1, 1].

    Examples
    --------
    >>> from firstlight.weights import PowerUniform
    >>> PowerUniform(3.0).variance
    0.6
    """

    kappa: float
    word: ClassVar[str] = "power_uniform"
    constraints: ClassVar[Mapping[str, tuple[float, float]]] = {"kappa": (0.0, math.inf)}

    @property
    def spelling(self) -> str:
        """``"uniform"`` for κ = 1."""
        return "uniform" if self.kappa == 1 else f"{self.word}({written(self.kappa)})"

    @property
    def strip(self) -> tuple[float, float]:
        """Moments above −κ are finite."""
        return -float(self.kappa), math.inf

    def moment(self, order: float) -> float:
        """κ/(κ + order)."""
        return self.kappa / (self.kappa + order) if order > -self.kappa else math.inf

    def log_mellin(self, s: object) -> Any:
        """Log κ/(κ + s)."""
        return -np.log(1 + np.asarray(s, dtype=np.complex128) / self.kappa)

    def _sf(self, t: Tensor) -> Tensor:
        return 1 - t.clamp(max=1) ** self.kappa

    def _isf(self, v: Tensor) -> Tensor:
        return (1 - v) ** (1 / self.kappa)

    def _log_density(self, t: Tensor) -> Tensor:
        power = self.kappa - 1
        inside = math.log(self.kappa) + (torch.log(t) * power if power != 0 else torch.zeros_like(t))
        return torch.where(t <= 1, inside, -math.inf)


@dataclass(frozen=True)
class Rademacher(WeightLaw):
    """W = ±1 with equal probability; E|W|^s = 1.

    Examples
    --------
    >>> from firstlight.weights import Rademacher
    >>> Rademacher().excess_kurtosis
    -2.0
    """

    has_density: ClassVar[bool] = False
    word: ClassVar[str] = "rademacher"

    @property
    def strip(self) -> tuple[float, float]:
        """Every moment is finite."""
        return -math.inf, math.inf

    def log_mellin(self, s: Any) -> Any:
        """Zero for every s."""
        return np.zeros(np.shape(s), dtype=np.complex128)

    def _sf(self, t: Tensor) -> Tensor:
        return (t < 1).to(t.dtype)

    def _isf(self, v: Tensor) -> Tensor:
        return torch.ones_like(v)

    def _log_density(self, t: Tensor) -> Tensor:
        return torch.where(t == 1, 0.0, -math.inf).to(t.dtype)


@checked
@clean
def weibull(theta: float) -> WeightLaw:
    """The symmetric Weibull law; θ = ∞ is its limit, Rademacher.

    Examples
    --------
    >>> from firstlight import weights
    >>> weights.weibull(float("inf"))
    Rademacher()
    """
    return Rademacher() if theta == math.inf else SymmetricWeibull(float(theta))


@clean
def uniform() -> WeightLaw:
    """The uniform law on [−1, 1] (variance 1/3; ``uniform().standardised()`` is U(±√3)).

    Examples
    --------
    >>> from firstlight import weights
    >>> round(weights.uniform().standardised().support[1], 6)
    1.732051
    """
    return PowerUniform(1.0)
