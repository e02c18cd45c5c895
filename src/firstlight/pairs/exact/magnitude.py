"""The law of |φ(X)|: what an activation needs from it is a quantile that is exact at both ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

Array = Any  # a NumPy array, or a NumPy scalar where the argument was one


class Magnitude(ABC):
    """The law of a positive variable |Y|, in float64 on NumPy arrays.

    A quantile is asked for by *two* numbers, the probability p below and the logarithm of the probability
    above, because neither alone keeps its digits at both ends.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """How reports name the law."""

    @property
    @abstractmethod
    def edge(self) -> float:
        """The upper end of the support."""

    @property
    def jump(self) -> bool:
        """Whether |Y| is at least some y > 0, so that an odd φ jumps at its zero."""
        return False

    @abstractmethod
    def pdf(self, y: object) -> Array:
        """Density at y ≥ 0."""

    @abstractmethod
    def score(self, y: object) -> Array:
        """Derivative of the log-density at y ≥ 0."""

    @abstractmethod
    def cdf(self, y: object) -> Array:
        """P(|Y| ≤ y)."""

    @abstractmethod
    def log_sf(self, y: object) -> Array:
        """log P(|Y| > y)."""

    @abstractmethod
    def quantile(self, p: Array, log_sf: Array) -> Array:
        """The y with P(|Y| ≤ y) = p and log P(|Y| > y) = log_sf."""

    def quantile_with_density(self, p: Array, log_sf: Array) -> tuple[Array, Array, Array]:
        """The quantile, and the log-density and its derivative there.

        A law whose density at a quantile loses digits when it goes through y overrides this.
        """
        y = self.quantile(p, log_sf)
        return y, self.log_pdf(y), self.score(y)

    def sf(self, y: object) -> Array:
        """P(|Y| > y)."""
        return np.exp(self.log_sf(y))

    def log_pdf(self, y: object) -> Array:
        """Log-density at y ≥ 0."""
        with np.errstate(divide="ignore"):
            return np.log(self.pdf(y))
