"""One pass over any number of values in constant memory: distances to N(0, σ²) and moments."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firstlight.ensemble.sums.distance import Distance, ks_of_values
from firstlight.ensemble.sums.sketch import Sketch

_SHIFT, _BINS = 12, 1 << 20
_BLOCK = 1 << 22  # counting into fresh bins costs as much as a few hundred thousand values


class Stream:
    """Counts values by their leading 20 bits as they come; 8 MB whatever their number.

    Examples
    --------
    >>> import torch
    >>> from firstlight.ensemble.sums.streaming import Stream
    >>> stream = Stream()
    >>> generator = torch.Generator().manual_seed(0)
    >>> for _ in range(3):
    ...     stream.add(torch.randn(100_000, generator=generator))
    >>> stream.sketch().total, stream.compare().ks.value < 0.005
    (300000, True)
    """

    def __init__(self) -> None:
        self._counts = torch.zeros(_BINS, dtype=torch.int64)

    def add(self, values: Tensor) -> None:
        """Count all entries of a tensor, in float32."""
        flat = values.detach().float().cpu().contiguous().view(-1)
        for block in flat.split(_BLOCK):
            # numpy shifts unsigned words, so the sign bit needs no mask
            bins = np.right_shift(block.numpy().view(np.uint32), _SHIFT).view(np.int32)
            self._counts += torch.bincount(torch.from_numpy(bins), minlength=_BINS)

    def sketch(self) -> Sketch:
        """The counts as a sketch, which merges with others."""
        return Sketch.of_dense(self._counts.numpy())

    def compare(self, *, scale: float = 1.0) -> Comparison:
        """Distances of what was counted to N(0, scale²), and moments."""
        return compare(self.sketch(), scale=scale)


@dataclass(frozen=True)
class Comparison:
    """A set of values against N(0, scale²).

    Attributes
    ----------
    ks
        Kolmogorov–Smirnov distance, with the error of the bins.
    anderson_darling
        n ∫ (F̂ − Φ)²/(Φ(1 − Φ)) dΦ; 2.492 is its 5 % line for independent values.
    wasserstein
        ∫ |F̂ − Φ| dx, in units of the values.
    energy
        2 ∫ (F̂ − Φ)² dx, in units of the values.
    moments
        E x^p for p = 1…8, of bin centres: within p·2⁻¹² relative for even orders, and far closer for many
        values, whose roundings average out.
    """

    ks: Distance
    anderson_darling: float
    wasserstein: float
    energy: float
    moments: tuple[float, ...]


def compare(sketch: Sketch, *, scale: float = 1.0) -> Comparison:
    """Distances between the values of a sketch and N(0, scale²); infinite values make them infinite or NaN.

    F̂ is known exactly at the ends of bins; between them it is taken as linear, so the integrals carry a
    relative error of the order of the bins, 2⁻¹¹, squared.
    """
    from scipy.special import ndtr

    low, high = sketch.edges()
    n = sketch.total
    after = np.cumsum(sketch.counts) / n
    before = after - sketch.counts / n
    x = np.stack([low, high], axis=1).ravel() / scale
    f = np.stack([before, after], axis=1).ravel()
    # far tails, where there are no values, and gaps between bins need points of their own
    grid = np.linspace(-9, 9, 2401)
    extra = np.interp(grid, x, f, left=0.0, right=1.0)
    order = np.argsort(x_all := np.concatenate([x, grid]), kind="stable")
    x_all, f_all = x_all[order], np.concatenate([f, extra])[order]
    upper, lower = ndtr(-x_all), ndtr(x_all)
    gap = f_all - lower
    density = np.exp(-0.5 * x_all**2) / math.sqrt(2 * math.pi)
    weight = lower * upper
    ad = np.divide(gap**2 * density, weight, out=np.zeros_like(gap), where=weight > 1e-300)
    c = sketch.centres()
    moments = tuple(float((c**p) @ sketch.counts) / n for p in range(1, 9))
    return Comparison(
        ks_of_values(sketch, scale=scale),
        n * _trapezoid(ad, x_all),
        scale * _trapezoid(np.abs(gap), x_all),
        2 * scale * _trapezoid(gap**2, x_all),
        moments,
    )


def _trapezoid(y: NDArray[np.float64], x: NDArray[np.float64]) -> float:
    return float(np.sum(0.5 * (y[1:] + y[:-1]) * np.diff(x)))
