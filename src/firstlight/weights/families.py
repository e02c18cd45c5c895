"""Two master families, powers of a gamma and of a beta variable, and Student's law; named laws are cases."""

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
from firstlight.errors import DomainError
from firstlight.weights.closed import log_gamma
from firstlight.weights.law import ScaledLaw, WeightLaw


def _through_scipy(function: Any, value: Tensor, *parameters: float) -> Tensor:
    """Apply a scipy ufunc ``function(*parameters, x)`` to a float64 tensor, on the CPU."""
    x = value.detach().cpu().numpy()
    return torch.from_numpy(np.asarray(function(*parameters, x), dtype=np.float64)).to(value.device)


@dataclass(frozen=True)
class GeneralisedGamma(WeightLaw):
    """|W| = Γ_α^{1/θ} with Γ_α a standard gamma variable; E|W|^s = Γ(α + s/θ)/Γ(α).

    α = 1 is Weibull, α = 1/θ the generalised normal, θ = 1 the symmetric gamma, θ = 2 a χ law over √2.

    Examples
    --------
    >>> from firstlight.weights import GeneralisedGamma
    >>> round(GeneralisedGamma(1.5, 2.0).variance, 12)
    1.5
    """

    alpha: float
    theta: float
    word: ClassVar[str] = "generalised_gamma"
    constraints: ClassVar[Mapping[str, tuple[float, float]]] = {
        "alpha": (0.0, math.inf),
        "theta": (0.0, math.inf),
    }

    @property
    def strip(self) -> tuple[float, float]:
        """Moments above −αθ are finite."""
        return -float(self.alpha * self.theta), math.inf

    def log_mellin(self, s: object) -> Any:
        """Log Γ(α + s/θ) − log Γ(α)."""
        return log_gamma(self.alpha + np.asarray(s) / self.theta) - math.lgamma(self.alpha)

    def _sf(self, t: Tensor) -> Tensor:
        from scipy.special import gammaincc

        return _through_scipy(gammaincc, t**self.theta, self.alpha)

    def _isf(self, v: Tensor) -> Tensor:
        from scipy.special import gammainccinv

        return _through_scipy(gammainccinv, v, self.alpha) ** (1 / self.theta)

    def _log_density(self, t: Tensor) -> Tensor:
        power = self.alpha * self.theta - 1
        log_t = torch.log(t) * power if power != 0 else torch.zeros_like(t)
        return math.log(self.theta) - math.lgamma(self.alpha) + log_t - t**self.theta


@dataclass(frozen=True)
class SquaredBeta(WeightLaw):
    """W² ~ Beta(α, β); E|W|^s = B(α + s/2, β)/B(α, β).

    α = ½, β = (d−1)/2 is one coordinate of a uniform point on the sphere S^{d−1}; d = 2 the arcsine law.

    Examples
    --------
    >>> from firstlight.weights import SquaredBeta
    >>> round(SquaredBeta(0.5, 0.5).variance, 12)
    0.5
    """

    alpha: float
    beta: float
    word: ClassVar[str] = "squared_beta"
    constraints: ClassVar[Mapping[str, tuple[float, float]]] = {
        "alpha": (0.0, math.inf),
        "beta": (0.0, math.inf),
    }

    @property
    def strip(self) -> tuple[float, float]:
        """Moments above −2α are finite."""
        return -2.0 * self.alpha, math.inf

    def log_mellin(self, s: object) -> Any:
        """Log B(α + s/2, β) − log B(α, β)."""
        half = np.asarray(s) / 2
        constant = math.lgamma(self.alpha + self.beta) - math.lgamma(self.alpha)
        return log_gamma(self.alpha + half) - log_gamma(self.alpha + self.beta + half) + constant

    def _sf(self, t: Tensor) -> Tensor:
        from scipy.special import betainc

        # the complement is taken inside the function, where the tail keeps its digits
        rest = (1 - t.clamp(max=1)) * (1 + t.clamp(max=1))
        return _through_scipy(betainc, rest, self.beta, self.alpha)

    def _isf(self, v: Tensor) -> Tensor:
        from scipy.special import betaincinv

        rest = _through_scipy(betaincinv, v, self.beta, self.alpha)
        # near v = 1 the square itself carries the digits
        square = _through_scipy(betaincinv, 1 - v, self.alpha, self.beta)
        return torch.sqrt(torch.where(rest < 0.5, 1 - rest, square))

    def _log_density(self, t: Tensor) -> Tensor:
        log_beta = math.lgamma(self.alpha) + math.lgamma(self.beta) - math.lgamma(self.alpha + self.beta)
        a, b = 2 * self.alpha - 1, self.beta - 1
        value = torch.full_like(t, math.log(2) - log_beta)
        value = value + a * torch.log(t) if a != 0 else value
        value = value + b * torch.log1p(-(t.clamp(max=1) ** 2)) if b != 0 else value
        return torch.where(t <= 1, value, -math.inf)


@dataclass(frozen=True)
class Student(WeightLaw):
    """Student's t law with ν degrees of freedom.

    E|W|^s = ν^{s/2} Γ((1+s)/2) Γ((ν−s)/2)/(√π Γ(ν/2)) for −1 < s < ν.

    Examples
    --------
    >>> from firstlight.weights import Student
    >>> Student(2.0).variance
    inf
    """

    df: float
    word: ClassVar[str] = "student"
    constraints: ClassVar[Mapping[str, tuple[float, float]]] = {"df": (0.0, math.inf)}

    @property
    def strip(self) -> tuple[float, float]:
        """Moments between −1 and ν are finite."""
        return -1.0, float(self.df)

    def log_mellin(self, s: object) -> Any:
        """Log of the closed form above."""
        s = np.asarray(s)
        constant = 0.5 * math.log(math.pi) + math.lgamma(self.df / 2)
        gammas = log_gamma((1 + s) / 2) + log_gamma((self.df - s) / 2)
        return 0.5 * s * math.log(self.df) + gammas - constant

    def _sf(self, t: Tensor) -> Tensor:
        from scipy.special import betainc

        # P(|T| > t) = I_{ν/(ν+t²)}(ν/2, ½) keeps its digits in the tail
        return _through_scipy(betainc, self.df / (self.df + t * t), self.df / 2, 0.5)

    def _isf(self, v: Tensor) -> Tensor:
        from scipy.special import betaincinv

        ratio = _through_scipy(betaincinv, v, self.df / 2, 0.5)
        # near v = 1 the complement carries the digits
        rest = _through_scipy(betaincinv, 1 - v, 0.5, self.df / 2)
        return torch.where(
            ratio < 0.5, torch.sqrt(self.df * (1 - ratio) / ratio), torch.sqrt(self.df * rest / (1 - rest))
        )

    def _log_density(self, t: Tensor) -> Tensor:
        nu = self.df
        constant = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(nu * math.pi)
        return math.log(2) + constant - (nu + 1) / 2 * torch.log1p(t * t / nu)


@checked
@clean
def sphere_marginal(d: float) -> WeightLaw:
    """One coordinate of a uniform point on the unit sphere of ℝ^d, d ≥ 2; variance 1/d.

    Raises
    ------
    DomainError
        A d that is no whole number, or below 2.

    Examples
    --------
    >>> from firstlight import weights
    >>> round(weights.sphere_marginal(5).variance, 12)
    0.2
    """
    if not math.isfinite(d) or d != int(d) or d < 2:
        raise DomainError(
            f"while making the weight law sphere_marginal: expected a whole number of dimensions d ≥ 2, got {d!r}; "
            "SquaredBeta(0.5, (d - 1)/2) takes any d > 1"
        )
    return SquaredBeta(0.5, (int(d) - 1) / 2)


@clean
def arcsine() -> WeightLaw:
    """The arcsine law on [−1, 1], the sphere marginal in two dimensions.

    Examples
    --------
    >>> from firstlight import weights
    >>> round(float(weights.arcsine().cdf(0.5)), 12)  # ½ + arcsin(½)/π
    0.666666666667
    """
    return sphere_marginal(2)


@checked
@clean
def generalised_normal(beta: float) -> WeightLaw:
    """The law with density ∝ exp(−|w|^β): β = 1 Laplace, 2 a normal of variance ½, ∞ uniform.

    Examples
    --------
    >>> from firstlight import weights
    >>> round(weights.generalised_normal(2.0).variance, 12)
    0.5
    """
    return GeneralisedGamma(1 / beta, float(beta))


@checked
@clean
def symmetric_gamma(alpha: float) -> WeightLaw:
    """|W| ~ Gamma(α) with a random sign.

    Examples
    --------
    >>> from firstlight import weights
    >>> round(weights.symmetric_gamma(2.0).variance, 12)
    6.0
    """
    return GeneralisedGamma(float(alpha), 1.0)


@checked
@clean
def chi(nu: float) -> ScaledLaw:
    """W = ±χ_ν/√ν, unit variance: ν = 1 normal, 2 Rayleigh (Weibull θ = 2), 3 Maxwell.

    Examples
    --------
    >>> from firstlight import weights
    >>> round(weights.chi(3).variance, 12)
    1.0
    """
    return GeneralisedGamma(nu / 2, 2.0).scaled(math.sqrt(2 / nu))
