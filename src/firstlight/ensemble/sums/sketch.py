"""A histogram on the leading bits of float32 numbers: mergeable, precise at any scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Sign, exponent and 11 bits of mantissa are kept: bins are between 2⁻¹² and 2⁻¹¹ of their value wide.
_SHIFT = 12
_MASK = (1 << (31 - _SHIFT)) - 1
_DENSE = 1 << (32 - _SHIFT)
_MANY = 1 << 17  # from here on counting into all bins is faster than sorting
RELATIVE_WIDTH = 2.0 ** -(23 - _SHIFT)


@dataclass(frozen=True)
class Sketch:
    """How many values fell in each bin; bins are the float32 numbers that share their leading 20 bits.

    Counts are integers, so merging in any order gives the same sketch, and every statement about the
    empirical law (a quantile, a distance) holds up to the stated width of a bin.

    Attributes
    ----------
    keys
        Occupied bins in increasing order of value: m ≥ 0 for non-negative values, −1 − m for negative ones,
        with m the leading bits of the magnitude.
    counts
        Number of values in each.
    invalid
        Number of NaN, which no bin holds.

    Examples
    --------
    >>> import torch
    >>> from firstlight.ensemble.sums.sketch import Sketch
    >>> sketch = Sketch.of(torch.tensor([-2.0, 1.0, 1.0, 4.0]))
    >>> sketch.total, sketch.counts.tolist()
    (4, [1, 2, 1])
    """

    keys: NDArray[np.int64]
    counts: NDArray[np.int64]
    invalid: int = 0

    @classmethod
    def empty(cls) -> Sketch:
        """The sketch of no values."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))

    @classmethod
    def of(cls, values: Tensor) -> Sketch:
        """The sketch of all entries of a tensor, in float32."""
        flat = values.detach().float().cpu().contiguous().view(-1)
        raw = flat.view(torch.int32) >> _SHIFT
        if flat.numel() >= _MANY:
            return cls.of_dense(torch.bincount(raw.bitwise_and_(_DENSE - 1), minlength=_DENSE).numpy())
        return cls._of_raw(*np.unique(raw.numpy(), return_counts=True))

    @classmethod
    def of_dense(cls, dense: NDArray[np.int64]) -> Sketch:
        """From counts of all 2²⁰ leading bit patterns, as unsigned numbers."""
        unique = np.flatnonzero(dense)
        return cls._of_raw(unique, dense[unique])

    @classmethod
    def _of_raw(cls, unique: np.ndarray, counts: np.ndarray) -> Sketch:
        """From bit patterns, signed or unsigned, and their counts."""
        magnitude = unique.astype(np.int64) & _MASK
        negative = (unique < 0) | (unique > _MASK)
        finite = magnitude <= _INFINITE
        keys = np.where(negative, -1 - magnitude, magnitude)[finite]
        order = np.argsort(keys)
        counts = counts.astype(np.int64)
        return cls(keys[order], counts[finite][order], int(counts[~finite].sum()))

    @property
    def total(self) -> int:
        """Number of values in the bins."""
        return int(self.counts.sum())

    def merge(self, *others: Sketch) -> Sketch:
        """The sketch of all values together."""
        parts = [self, *others]
        keys, where = np.unique(np.concatenate([p.keys for p in parts]), return_inverse=True)
        counts = np.zeros(len(keys), np.int64)
        np.add.at(counts, where, np.concatenate([p.counts for p in parts]))
        return Sketch(keys, counts, sum(p.invalid for p in parts))

    def edges(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper ends of the occupied bins."""
        magnitude = np.where(self.keys < 0, -1 - self.keys, self.keys)
        near, far = _value(magnitude), _value(magnitude + 1)
        return np.where(self.keys < 0, -far, near), np.where(self.keys < 0, -near, far)

    def centres(self) -> NDArray[np.float64]:
        """One value for each occupied bin, at most half a bin from every value in it; zeros stay zero."""
        low, high = self.edges()
        middle = 0.5 * (low + high)
        middle = np.where(np.isin(self.keys, (0, -1)), 0.0, middle)
        return np.where(np.isinf(low) | np.isinf(high), np.where(self.keys < 0, -np.inf, np.inf), middle)

    def quantile(self, level: float) -> float:
        """The value below which a share ``level`` of the values lies, to the width of a bin; NaN if empty."""
        if not self.total:
            return float("nan")
        below = np.cumsum(self.counts)
        return float(self.centres()[np.searchsorted(below, level * below[-1])])

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Small arrays for a file: differences of keys, counts in the narrowest type."""
        width = np.min_scalar_type(int(self.counts.max(initial=0)))
        return {
            "keys": np.diff(self.keys, prepend=0).astype(np.int32),
            "counts": self.counts.astype(width),
            "invalid": np.array(self.invalid, np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Sketch:
        """The inverse of ``to_arrays``."""
        keys = np.cumsum(arrays["keys"], dtype=np.int64)
        return cls(keys, arrays["counts"].astype(np.int64), int(arrays["invalid"]))


def _value(magnitude: NDArray[np.int64]) -> NDArray[np.float64]:
    bits = np.minimum(magnitude, _INFINITE).astype(np.int64) << _SHIFT
    return bits.astype(np.int32).view(np.float32).astype(np.float64)


_INFINITE = 0x7F800000 >> _SHIFT
