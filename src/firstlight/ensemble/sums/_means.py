"""Means over networks of a quantity that may be infinite, with quantiles: gaps, ranks, gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.ensemble.sums.sketch import Sketch

LEVELS = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class MeanSums:
    """Sum and sum of squares of the finite values of one number per network, and the sketch of all values.

    Gradient norms are heavy-tailed, so they come as logs, whose infinite values (dead networks) are counted
    in the sketch and left out of the mean.
    """

    finite: int
    total: float
    squares: float
    sketch: Sketch

    @classmethod
    def of(cls, values: Float[Tensor, " nets"]) -> MeanSums:
        """From one value per network."""
        values = values.double().cpu()
        good = values[torch.isfinite(values)]
        return cls(len(good), float(good.sum()), float(good.square().sum()), Sketch.of(values))

    def merge(self, other: MeanSums) -> MeanSums:
        """Over both sets of networks."""
        return MeanSums(
            self.finite + other.finite,
            self.total + other.total,
            self.squares + other.squares,
            self.sketch.merge(other.sketch),
        )

    def summary(self, name: str, *, quantiles: bool = False) -> Mapping[str, float]:
        """Mean and standard error under ``name`` and ``name_se``; quantiles under ``name_q05`` and so on.

        The mean is over the networks where the number is finite, the share of the others is ``name_infinite``.
        """
        mean = self.total / self.finite if self.finite else float(self.sketch.quantile(0.5))
        spread = math.nan
        if self.finite > 1:
            variance = max(self.squares - self.finite * mean**2, 0.0) / (self.finite - 1)
            spread = math.sqrt(variance / self.finite)
        result = {name: mean, f"{name}_se": spread}
        seen = self.sketch.total + self.sketch.invalid
        result[f"{name}_infinite"] = (seen - self.finite) / seen if seen else math.nan
        if quantiles:
            result |= {f"{name}_q{round(100 * level):02d}": self.sketch.quantile(level) for level in LEVELS}
        return result


def spectra(z: Float[Tensor, "nets units inputs"]) -> tuple[Tensor, Tensor]:
    """Isometry gap and effective rank of every network's Gram matrix between inputs (or units, if fewer).

    From singular values in float64, never from eigenvalues of the Gram matrix. Values below 10·ε of the
    input's dtype relative to the largest count as zero: there the gap is infinite.
    """
    s = torch.linalg.svdvals(z.double())
    top = s[:, :1]
    floor = 10 * torch.finfo(z.dtype).eps * math.sqrt(max(z.shape[1:]))
    zero = s <= floor * top
    square = (s / torch.where(top > 0, top, torch.ones_like(top))).square()
    gap = square.mean(dim=1).log() - square.log().mean(dim=1)
    gap = torch.where(zero.any(dim=1), math.inf, gap.clamp_min(0))
    share = square / square.sum(dim=1, keepdim=True)
    rank = torch.special.entr(share).sum(dim=1).exp()
    return gap, torch.where(top[:, 0] > 0, rank, math.nan)


def pack_mean(sums: MeanSums) -> dict[str, np.ndarray]:
    """As arrays, for a shard file."""
    return {
        "sums": np.array([sums.finite, sums.total, sums.squares]),
    } | sums.sketch.to_arrays()


def unpack_mean(arrays: Mapping[str, np.ndarray]) -> MeanSums:
    """The inverse of ``pack_mean``."""
    finite, total, squares = arrays["sums"].tolist()
    return MeanSums(int(finite), total, squares, Sketch.from_arrays(arrays))
