"""Quantised weights: a few magnitudes, each with its probability and a fair random sign."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.weights.law import WeightLaw, written


@checked
@dataclass(frozen=True)
class Discrete(WeightLaw):
    """|W| takes the given magnitudes with the given probabilities; E|W|^s = Σ p_i a_i^s.

    Parameters
    ----------
    magnitudes
        Strictly increasing, non-negative. A zero gives sparse weights (and no exact partner).
    probabilities
        Positive, one per magnitude, summing to one.

    Raises
    ------
    DomainError
        When the two do not describe such a law.

    Examples
    --------
    >>> from firstlight.weights import Discrete
    >>> law = Discrete((1.0, 2.0), (0.5, 0.5))  # four levels: 2-bit weights
    >>> law.variance
    2.5
    """

    magnitudes: tuple[float, ...]
    probabilities: tuple[float, ...]
    has_density: ClassVar[bool] = False
    word: ClassVar[str] = "discrete"

    def __post_init__(self) -> None:
        a, p = self.magnitudes, self.probabilities
        increasing = all(x < y for x, y in itertools.pairwise(a))
        if not a or len(a) != len(p) or not increasing or a[0] < 0 or not math.isfinite(a[-1]):
            problem = f"strictly increasing non-negative magnitudes, one probability each, got {a} and {p}"
        elif not all(x > 0 for x in p) or abs(sum(p) - 1) > 1e-9:
            problem = f"positive probabilities that sum to one, got {p}"
        else:
            return
        raise DomainError(f"while making a Discrete weight law: expected {problem}; sort and normalise them")

    @property
    def spelling(self) -> str:
        """Every magnitude with its probability, as ``"discrete(1: 0.4, 2: 0.6)"``."""
        levels = zip(self.magnitudes, self.probabilities, strict=True)
        return f"{self.word}({', '.join(f'{written(a)}: {written(p)}' for a, p in levels)})"

    @property
    def strip(self) -> tuple[float, float]:
        """Every moment is finite, unless there is an atom at 0."""
        return (-math.inf if self.magnitudes[0] > 0 else 0.0), math.inf

    def moment(self, order: float) -> float:
        """Σ p_i a_i^order."""
        if order == 0:
            return 1.0
        if order < 0 and self.magnitudes[0] == 0:
            return math.inf
        return math.fsum(p * a**order for a, p in zip(self.magnitudes, self.probabilities, strict=True))

    def log_mellin(self, s: object) -> Any:
        """Log Σ p_i a_i^s; complex, with the principal branch."""
        s = np.asarray(s, dtype=np.complex128)
        positive = [(a, p) for a, p in zip(self.magnitudes, self.probabilities, strict=True) if a > 0]
        return np.log(sum(p * np.exp(s * math.log(a)) for a, p in positive))

    def _sf(self, t: Tensor) -> Tensor:
        out = torch.zeros_like(t)
        for a, p in zip(self.magnitudes, self.probabilities, strict=True):
            out = out + p * (t < a).to(t.dtype)
        return out

    def _isf(self, v: Tensor) -> Tensor:
        out = torch.full_like(v, self.magnitudes[-1])
        above = 0.0  # probability of the magnitudes larger than this one
        for a, p in zip(reversed(self.magnitudes), reversed(self.probabilities), strict=True):
            out = torch.where(v > above, a, out)
            above += p
        return out

    def _log_density(self, t: Tensor) -> Tensor:
        out = torch.full_like(t, -math.inf)
        for a, p in zip(self.magnitudes, self.probabilities, strict=True):
            out = torch.where(t == a, math.log(p), out)
        return out
