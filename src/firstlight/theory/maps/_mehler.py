"""Mehler: pairs of a smooth activation by its Hermite series, with as many terms as the correlations need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Terms below this share of the sum do nothing to its last digit.
_NOTHING = 1e-17
# The last terms that were computed, relative to all: what lies beyond them is a few times that.
_LAST, _ENDED = 6, 1e-14
# Variances this close have coefficients that differ less than the series is cut off at.
_SAME = 1e-14

Pair = tuple[Tensor, Tensor | None]


@dataclass(frozen=True, eq=False)
class Mehler:
    r"""Σ a_k(u) a_k(v) c^k and its derivative by the covariance, with Horner's rule.

    .. math:: E φ(x)φ(y) = \sum_k a_k(q_1)\, a_k(q_2)\, c^k, \qquad
        E φ'(x)φ'(y) = \frac{1}{\sqrt{q_1 q_2}} \sum_k k\, a_k(q_1)\, a_k(q_2)\, c^{k-1}

    An odd or even φ needs half of the terms, f = c^s P(c²); correlations below 1 need fewer: those up to r leave out
    what adds nothing to the slope's leading term, the first that is not constant.

    Attributes
    ----------
    left, right
        Coefficients of both sides, (terms, n₁, 1, …) and (terms, 1, n₂, …).
    level
        Whether all inputs have one variance.
    start, step
        Degrees are start, start + step, ….
    bound
        Upper bounds of k·|a_k a_k| and the lower one of the leading term, in which terms are measured.
    """

    left: Tensor
    right: Tensor
    level: bool
    start: int
    step: int
    bound: np.ndarray
    leading: float

    @classmethod
    def of(cls, a: Tensor, b: Tensor, q1: Tensor, q2: Tensor, *, start: int, step: int) -> Mehler:
        """From coefficients (inputs, terms) of the flattened variances q₁ and q₂."""
        degrees = start + step * np.arange(a.shape[1])
        most = (a.abs().amax(0) * b.abs().amax(0)).numpy() * degrees
        first = 0 if start else 1
        least = float(a[:, first].abs().min() * b[:, first].abs().min()) * degrees[first]
        low, high = (v.tolist() for v in torch.stack([*torch.aminmax(q1), *torch.aminmax(q2)]).view(2, 2).T)
        level = max(high) - min(low) <= _SAME * max(high)
        count = a.shape[1]
        left = a.T.contiguous()
        right = left if b is a else b.T.contiguous()
        return cls(
            left.view(count, *q1.shape),
            right.view(count, *q2.shape),
            level,
            start,
            step,
            most,
            least,
        )

    def terms(self, r: float) -> int | None:
        """How many terms count for correlations up to r in absolute value; None if the series is too short."""
        used = len(self.bound)
        first = 0 if self.start else 1
        # k a_k² r^(k − k₀), added up from the last one
        powers = min(r, 1.0) ** (self.step * (np.arange(used) - first))
        parts = self.bound * powers
        if parts[-_LAST:].sum() > _ENDED * parts.sum():
            return None
        rest = np.cumsum(parts[::-1])[::-1]
        return max(first + 1, int(np.count_nonzero(rest > _NOTHING * self.leading)))

    def __call__(self, c: Tensor, rows: slice, columns: slice, *, terms: int, want: bool) -> Pair:
        """E φφ and, if wanted, √(q₁q₂) E φ'φ' for the correlations of a tile, by the first ``terms`` terms."""
        power = c * c if self.step == 2 else c
        left, right = self.left[:terms, rows], self.right[:terms, :, columns]
        if self.level:
            squares = left.flatten(1)[:, 0] * right.flatten(1)[:, 0]
            value, slope = self._one_level(power, squares, want)
        else:
            value, slope = self._horner(power, left, right, want)
        if slope is not None and self.step == 2:
            # f = c^s P(c²): f' = s c^{s−1} P + 2 c^{s+1} P'
            slope = slope.mul_(power).mul_(2).add_(value) if self.start else slope.mul_(c).mul_(2)
        if self.start:
            value.mul_(c)
        return value, slope

    @staticmethod
    def _horner(power: Tensor, left: Tensor, right: Tensor, want: bool) -> Pair:
        value = torch.mul(left[-1], right[-1])
        value = value.expand_as(power).contiguous() if value.shape != power.shape else value
        slope = torch.zeros_like(power) if want else None
        for a, b in zip(left.flip(0)[1:], right.flip(0)[1:]):
            if slope is not None:
                torch.addcmul(value, slope, power, out=slope)
            value.mul_(power).addcmul_(a, b)
        return value, slope

    @staticmethod
    def _one_level(power: Tensor, squares: Tensor, want: bool) -> Pair:
        value = squares[-1].expand_as(power).contiguous()
        slope = torch.zeros_like(power) if want else None
        for a in squares.flip(0)[1:]:
            if slope is not None:
                torch.addcmul(value, slope, power, out=slope)
            torch.addcmul(a, value, power, out=value)
        return value, slope
