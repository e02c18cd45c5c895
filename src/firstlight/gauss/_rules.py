"""Gauss–Legendre panels: nodes, weights, and the end of the Legendre series."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from firstlight.clean_room import clean

ORDER = 24


@dataclass(frozen=True, eq=False)
class LegendreRule:
    """A Gauss–Legendre rule on [−1, 1] with the projection on its three highest Legendre coefficients."""

    nodes: Float64[Tensor, " m"]
    weights: Float64[Tensor, " m"]
    tail: Float64[Tensor, "m 3"]


@lru_cache(maxsize=8)
@clean
def rule(order: int = ORDER) -> LegendreRule:
    """The rule with ``order`` nodes.

    Three coefficients and not one, because an even or odd function has every second one zero.
    """
    nodes, weights = np.polynomial.legendre.leggauss(order)
    powers = np.polynomial.legendre.legvander(nodes, order - 1)[:, -3:]
    degrees = np.arange(order - 3, order)
    tail = weights[:, None] * powers * (2 * degrees + 1) / 2
    return LegendreRule(torch.from_numpy(nodes), torch.from_numpy(weights), torch.from_numpy(tail))
