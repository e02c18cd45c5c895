"""Laws of the blocks of a jackknife: how far a distance moves when networks are left out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firstlight.ensemble.sums.sketch import Sketch

# Bins of a block are 2⁻⁴ of their value wide: the same for all blocks, so that their width moves no difference.
_COARSE = 7
# As many blocks as the jackknife of moments keeps and takes at least.
_BLOCKS, _ENOUGH = 64, 8
Block = tuple[NDArray[np.int32], NDArray[np.float64]]


@dataclass(frozen=True)
class LawBlocks:
    """The laws of some blocks of networks, in bins.

    Attributes
    ----------
    blocks
        Keys of the occupied bins and how many values are in each, block by block.
    """

    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, law: Sketch) -> LawBlocks:
        """One block."""
        magnitude = np.where(law.keys < 0, -1 - law.keys, law.keys)
        coarse = np.where(magnitude > 0, (magnitude >> _COARSE) + 1, 0)
        keys, where = np.unique(np.where(law.keys < 0, -coarse, coarse).astype(np.int32), return_inverse=True)
        return cls(((keys, np.bincount(where, law.counts, len(keys)).astype(np.float64)),))

    def merge(self, other: LawBlocks) -> LawBlocks:
        """The blocks of both; too many are joined by twos, as those of moments are."""
        both = self.blocks + other.blocks
        if len(both) <= _BLOCKS:
            return LawBlocks(both)
        return LawBlocks(tuple(_joined(both[i : i + 2]) for i in range(0, len(both), 2)))

    def error(
        self, at: float, squares: NDArray[np.float64], *, conditional: bool, own_scale: bool
    ) -> float | None:
        """Standard error of P(z ≤ at) when each block is left out in turn; None with few blocks.

        Parameters
        ----------
        at
            The point, in units of the values.
        squares
            (blocks, 2): the networks of each block and the sum of their mean squares.
        conditional
            Whether the values are standard deviations of normal units.
        own_scale
            Whether the point moves with the root mean square of what is left.
        """
        if len(self.blocks) < _ENOUGH or len(self.blocks) != len(squares) or not math.isfinite(at):
            return None
        keys = np.unique(np.concatenate([k for k, _ in self.blocks]))
        table = np.zeros((len(self.blocks), len(keys)))
        for row, (own, counts) in zip(table, self.blocks):
            row[np.searchsorted(keys, own)] = counts
        left = table.sum(axis=0) - table
        rest = squares.sum(axis=0) - squares
        scale = np.full(len(left), at)
        if own_scale:
            with np.errstate(invalid="ignore", divide="ignore"):
                scale = at * np.sqrt(rest[:, 1] / rest[:, 0] / (squares[:, 1].sum() / squares[:, 0].sum()))
        if not (np.isfinite(scale).all() and (left.sum(axis=1) > 0).all()):
            return None
        below = (_below_normal if conditional else _below)(keys, scale)
        values = (left * below).sum(axis=1) / left.sum(axis=1)
        return math.sqrt((len(left) - 1) * float(values.var()))


def _joined(blocks: tuple[Block, ...]) -> Block:
    keys, where = np.unique(np.concatenate([k for k, _ in blocks]), return_inverse=True)
    counts = np.bincount(where, np.concatenate([c for _, c in blocks]), len(keys))
    return keys.astype(np.int32), counts.astype(np.float64)


def _edges(keys: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper ends of bins; 0 for the values that are nothing."""
    size = np.abs(keys).astype(np.int64)
    near, far = (
        (np.maximum(size + step, 0) << (_COARSE + 12)).clip(max=0x7F800000).astype(np.int32).view(np.float32)
        for step in (-1, 0)
    )
    low, high = (np.where(keys == 0, 0.0, v.astype(np.float64)) for v in (near, far))
    return np.where(keys < 0, -high, low), np.where(keys < 0, -low, high)


def _below(keys: NDArray[np.int32], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of each bin that lies below each point."""
    low, high = _edges(keys)
    width = np.where((high > low) & np.isfinite(high - low), high - low, 1.0)
    return np.asarray(
        np.clip((at[:, None] - low) / width, 0.0, 1.0) * (high > low) + (low <= at[:, None]) * (high == low)
    )


def _below_normal(keys: NDArray[np.int32], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(z ≤ point) for normal z with the standard deviation of each bin."""
    from scipy.special import ndtr

    low, high = _edges(keys)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(
            np.where(high > 0, ndtr(at[:, None] / ((low + high) / 2)), np.where(at[:, None] > 0, 1.0, 0.5))
        )
