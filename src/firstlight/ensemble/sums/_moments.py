"""Moments to order 8 over networks, with covariances, so that any function of them has a standard error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

ORDERS = 8
# Most blocks that are kept, and the fewest that a jackknife takes.
_BLOCKS, _ENOUGH = 64, 8
_GAUSSIAN = np.array([0.0, 1.0, 0.0, 3.0, 0.0, 15.0, 0.0, 105.0])


@dataclass(frozen=True)
class PowerSums:
    """Sums over networks of their mean powers a_p = mean z^p, p = 1…8, and of the products a_p a_q.

    Values are divided by 2^exponent first: a power of two, so that bringing two sums to one exponent is exact
    and eighth powers neither overflow nor vanish in deep layers. Pre-activations have mean zero by
    symmetry, so raw moments lose no digits.

    Attributes
    ----------
    nets
        Number of networks.
    exponent
        Binary exponent of the scale.
    total
        Σ a_p, one entry per order.
    products
        Σ a_p a_q.
    blocks
        (blocks, 1 + orders): networks and Σ a_p of each block of the jackknife; None for one block.
    """

    nets: int
    exponent: int
    total: NDArray[np.float64]
    products: NDArray[np.float64]
    blocks: NDArray[np.float64] | None = None

    @classmethod
    def of_values(cls, z: Float[Tensor, "nets units inputs"]) -> PowerSums:
        """From pre-activations: means over the units and inputs of each network."""
        exponent = _exponent(float(z.abs().max()))
        x = torch.ldexp(z.reshape(z.shape[0], -1).double(), torch.tensor(-exponent))
        power, means = x, [x.mean(dim=1)]
        for _ in range(ORDERS - 1):
            power = power * x
            means.append(power.mean(dim=1))
        return cls._from(torch.stack(means, dim=1), exponent)

    @classmethod
    def of_variances(cls, v: Float[Tensor, "nets inputs"]) -> PowerSums:
        """From conditional variances of Gaussian units: E z^p = (p − 1)!! v^{p/2} (Rao–Blackwell)."""
        v = v.double()
        exponent = _exponent(math.sqrt(float(v.max())))
        v = torch.ldexp(v, torch.tensor(-2 * exponent))
        means = torch.zeros(len(v), ORDERS, dtype=torch.float64, device=v.device)
        power = torch.ones_like(v)
        for order in range(2, ORDERS + 1, 2):
            power = power * v
            means[:, order - 1] = power.mean(dim=1) * _GAUSSIAN[order - 1]
        return cls._from(means, exponent)

    @classmethod
    def _from(cls, means: Tensor, exponent: int) -> PowerSums:
        table = means.cpu().numpy()
        return cls(len(table), exponent, table.sum(axis=0), table.T @ table)

    def add(self, other: PowerSums) -> PowerSums:
        """The sums over both sets of networks as one block: for chunks of one shard."""
        exponent = max(self.exponent, other.exponent)
        a, b = self._at(exponent), other._at(exponent)
        return PowerSums(self.nets + other.nets, exponent, a.total + b.total, a.products + b.products)

    def merge(self, other: PowerSums) -> PowerSums:
        """The sums over both sets of networks, with the blocks of both; too many blocks are joined by twos."""
        both = self.add(other)
        parts = [one._at(both.exponent)._parts() for one in (self, other)]
        blocks = np.concatenate(parts)
        if len(blocks) > _BLOCKS:
            blocks = np.add.reduceat(blocks, np.arange(0, len(blocks), 2), axis=0)
        return PowerSums(both.nets, both.exponent, both.total, both.products, blocks)

    def _parts(self) -> NDArray[np.float64]:
        return np.append(float(self.nets), self.total)[None] if self.blocks is None else self.blocks

    def squares(self) -> NDArray[np.float64]:
        """Networks of each block and the sum of their mean squares, (blocks, 2), in one unit."""
        return self._parts()[:, [0, 2]]

    def _at(self, exponent: int) -> PowerSums:
        orders = np.arange(1, ORDERS + 1) * (self.exponent - exponent)
        total, blocks = np.ldexp(self.total, orders), self.blocks
        if blocks is not None:
            blocks = np.concatenate([blocks[:, :1], np.ldexp(blocks[:, 1:], orders)], axis=1)
        products = np.ldexp(self.products, orders[:, None] + orders)
        return PowerSums(self.nets, exponent, total, products, blocks)

    def _jackknife(self, half: int) -> float:
        """Standard error of mean(a_{2·half})/mean(a_2)^half when each block is left out in turn; 0 with few blocks."""
        parts = self._parts()
        if len(parts) < _ENOUGH:
            return 0.0
        left = parts.sum(axis=0) - parts
        second, moment = left[:, 2] / left[:, 0], left[:, 2 * half] / left[:, 0]
        if not (second > 0).all():
            return 0.0
        values = moment / second**half
        return math.sqrt((len(parts) - 1) * float(values.var()))

    def summary(self) -> Mapping[str, float]:
        """Mean, q, variance, excess kurtosis and standardised sixth and eighth moments, each with its error.

        Standard errors follow from the covariance of the networks' mean powers (delta method). Where few networks
        carry the moments, this linear estimate of a ratio is too small; the jackknife over blocks follows the ratio
        itself, and the larger of both is stated.
        """
        mean = self.total / self.nets
        free = max(self.nets - 1, 1)
        covariance = (self.products - self.nets * np.outer(mean, mean)) / free / self.nets
        unit = 2.0**self.exponent if abs(self.exponent) < 1000 else math.nan
        q = float(mean[1])
        result = {
            "mean": float(mean[0]) * unit,
            "mean_se": math.sqrt(max(covariance[0, 0], 0.0)) * unit,
            "q": q * unit**2,
            "q_se": math.sqrt(max(covariance[1, 1], 0.0)) * unit**2,
            "var": (q - float(mean[0]) ** 2) * unit**2,
        }
        for order, name, shift in ((4, "kurtosis", 3.0), (6, "moment_6", 0.0), (8, "moment_8", 0.0)):
            if q <= 0:
                result[name] = result[f"{name}_se"] = math.nan
                continue
            half = order // 2
            value = float(mean[order - 1]) / q**half
            slope = np.zeros(ORDERS)
            slope[order - 1] = 1 / q**half
            slope[1] = -half * value / q
            result[name] = value - shift
            linear = math.sqrt(max(float(slope @ covariance @ slope), 0.0))
            result[f"{name}_se"] = max(linear, self._jackknife(half))
        if self.nets < 2:
            return {k: math.nan if k.endswith("_se") else v for k, v in result.items()}
        return result


def _exponent(top: float) -> int:
    """The binary exponent of the largest magnitude; 0 where there is none."""
    return math.frexp(top)[1] if math.isfinite(top) and top > 0 else 0
