"""Correlations between inputs over networks, pooled and per network, with jackknife standard errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.doors import checked

_BLOCKS = 64  # sums are kept for at most this many groups of networks, for the jackknife


@dataclass(frozen=True)
class CorrelationSums:
    """Sums over networks of second moments and of cosines between inputs, in blocks of networks.

    Attributes
    ----------
    moments
        (blocks, inputs, inputs): Σ over networks of the mean over units of z_a z_b, or of its exact
        conditional expectation.
    cosines, defined
        (blocks, inputs, inputs): Σ over networks of the cosine between z_a and z_b over units, and the number
        of networks where it is defined (neither is zero).
    nets
        (blocks,): number of networks.
    """

    moments: NDArray[np.float64]
    cosines: NDArray[np.float64]
    defined: NDArray[np.int64]
    nets: NDArray[np.int64]

    @classmethod
    def of(
        cls, z: Float[Tensor, "nets units inputs"], covariance: Float[Tensor, "nets inputs inputs"] | None
    ) -> CorrelationSums:
        """From pre-activations; pooled second moments from ``covariance`` where that is given."""
        units = z.shape[1]
        product = z.mT @ z
        pooled = product.double().sum(dim=0) / units if covariance is None else covariance.double().sum(dim=0)
        norm = product.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt()
        alive = norm > 0
        inverse = torch.where(alive, 1 / norm, torch.zeros_like(norm))
        cosine = product * inverse[:, :, None] * inverse[:, None, :]
        both = alive.to(torch.float64).mT @ alive.to(torch.float64)
        return cls(
            pooled.cpu().numpy()[None],
            cosine.double().sum(dim=0).clamp(-len(z), len(z)).cpu().numpy()[None],
            both.round().to(torch.int64).cpu().numpy()[None],
            np.array([len(z)], np.int64),
        )

    def add(self, other: CorrelationSums) -> CorrelationSums:
        """The sums over both, block by block: for chunks of one shard."""
        return CorrelationSums(
            self.moments + other.moments,
            self.cosines + other.cosines,
            self.defined + other.defined,
            self.nets + other.nets,
        )

    def merge(self, other: CorrelationSums) -> CorrelationSums:
        """The blocks of both, one after the other; neighbours are joined when there are too many."""
        stacks = [np.concatenate(pair) for pair in zip(self._arrays(), other._arrays(), strict=True)]
        if len(stacks[3]) > _BLOCKS:
            stacks = [np.add.reduceat(stack, np.arange(0, len(stack), 2), axis=0) for stack in stacks]
        return CorrelationSums(*stacks)

    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.moments, self.cosines, self.defined, self.nets

    def pooled(self) -> Float[np.ndarray, "inputs inputs"]:
        """E z_a z_b / √(E z_a² E z_b²), expectations over networks and units (the papers' estimator)."""
        return _normalised(self.moments.sum(axis=0))

    def per_network(self) -> Float[np.ndarray, "inputs inputs"]:
        """Mean over networks of the cosine between the two inputs' pre-activations in one network."""
        return _ratio(self.cosines.sum(axis=0), self.defined.sum(axis=0))

    def summary(self) -> dict[str, float]:
        """Mean over pairs of different inputs of both estimators, with delete-one-block standard errors.

        ``correlation_network_defined`` is the share of networks and pairs where neither input is dead; the
        others are left out of the per-network mean, and count as 0 in ``correlation_network_zero``.
        """
        k = self.moments.shape[-1]
        if k < 2:
            return {}
        off = ~np.eye(k, dtype=bool)
        result = {
            "correlation": float(self.pooled()[off].mean()),
            "correlation_network": float(self.per_network()[off].mean()),
            "correlation_network_zero": float(self.cosines.sum(axis=0)[off].mean() / self.nets.sum()),
            "correlation_network_defined": float(self.defined.sum(axis=0)[off].mean() / self.nets.sum()),
        }
        result["correlation_se"] = result["correlation_network_se"] = math.nan
        blocks = len(self.nets)
        if blocks >= 4:
            whole = [stack.sum(axis=0) for stack in self._arrays()]
            left = [
                (
                    _normalised(whole[0] - self.moments[i])[off].mean(),
                    _ratio(whole[1] - self.cosines[i], whole[2] - self.defined[i])[off].mean(),
                )
                for i in range(blocks)
            ]
            se = np.sqrt((blocks - 1) * np.var(np.array(left), axis=0))
            result["correlation_se"], result["correlation_network_se"] = float(se[0]), float(se[1])
        return result


@checked
@clean
def class_means(
    matrix: Float[np.ndarray, "inputs inputs"], labels: NDArray[np.int64]
) -> Float[np.ndarray, "classes classes"]:
    """Mean of a correlation matrix over the pairs of inputs of each pair of classes, self-pairs left out.

    Rows and columns follow ``numpy.unique(labels)``. NaN on the diagonal for a class with one input.

    Examples
    --------
    >>> import numpy as np
    >>> from firstlight.ensemble.sums.correlations import class_means
    >>> class_means(np.array([[1, .5, .1], [.5, 1, .3], [.1, .3, 1]]), np.array([0, 0, 1])).round(3)
    array([[0.5, 0.2],
           [0.2, nan]])
    """
    one_hot = (labels[:, None] == np.unique(labels)).astype(np.float64)
    off = ~np.eye(len(labels), dtype=bool)
    return _ratio(one_hot.T @ (matrix * off) @ one_hot, one_hot.T @ off @ one_hot)


def _normalised(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    scale = np.sqrt(np.diagonal(moments))
    return _ratio(moments, np.outer(scale, scale))


def _ratio(top: np.ndarray, bottom: np.ndarray) -> NDArray[np.float64]:
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=np.asarray(bottom) > 0)
