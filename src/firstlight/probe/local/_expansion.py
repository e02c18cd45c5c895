"""Hermite coefficients of φ(μ + σ·g) for many (μ, σ) at once: what carries correlations one layer on.

``gauss.hermite_coefficients`` is exact and adapts to one function; an audit has hundreds of rows and needs
three digits, so all of them share one set of nodes per panel here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.clean_room import clean

# |g| ≤ 8 leaves out 1e-15 of the mass; ψ_40 has about 17 oscillations there.
_REACH = 8.0
_NODES = 48


@cache
def _rule() -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return torch.from_numpy(nodes), torch.from_numpy(weights)


def expansion(
    phi: Callable[[Tensor], Tensor], means: Tensor, stds: Tensor, order: int, kinks: Sequence[float]
) -> Tensor:
    """a_k = E φ(μ + σ g) He_k(g)/√k! for every row and k ≤ order, on panels that end at 0 and at the kinks.

    Parameters
    ----------
    phi
        Entry by entry, on float64 tensors.
    means, stds
        One of each per row.
    order
        Highest k.
    kinks
        Points of z where φ or its derivative jumps.

    Returns
    -------
    Tensor
        Shape (rows, order + 1), float64.

    Examples
    --------
    >>> import torch
    >>> from firstlight.probe.local._expansion import expansion
    >>> one = torch.ones(1, dtype=torch.float64)
    >>> expansion(torch.square, 0 * one, one, 2, ()).round(decimals=6)
    tensor([[1.0000, 0.0000, 1.4142]], dtype=torch.float64)
    """
    rows = len(means)
    places = [torch.full((rows,), at, dtype=torch.float64) for at in (-_REACH, 0.0, _REACH)]
    places += [((k - means) / stds.clamp_min(1e-300)).clamp(-_REACH, _REACH) for k in kinks]
    edges = torch.stack(places, dim=1).sort(dim=1).values
    nodes, weights = _rule()
    if bool((edges == edges[:1]).all()):
        # without kinks, or with kinks at the means, every row has the same panels
        g, weighed = _table(tuple(edges[0].tolist()), order)
        return phi(means[:, None] + stds[:, None] * g) @ weighed.T
    half = (edges[:, 1:] - edges[:, :-1]).unsqueeze(2) / 2
    g = ((edges[:, 1:] + edges[:, :-1]).unsqueeze(2) / 2 + half * nodes).flatten(1)
    w = (half * weights).flatten(1)
    y = phi(means[:, None] + stds[:, None] * g)
    # ψ_k = He_k/√k! · e^{−g²/4} stays bounded; f takes the other half of the Gaussian weight
    root = torch.exp(-0.25 * g * g)
    y = y * (w * root / math.sqrt(2 * math.pi))
    result = torch.empty(rows, order + 1, dtype=torch.float64)
    for k, now in enumerate(_bounded(g, root, order)):
        torch.linalg.vecdot(y, now, dim=1, out=result[:, k])
    return result


def _bounded(g: Tensor, root: Tensor, order: int) -> Iterator[Tensor]:
    """He_k(g)/√k! times ``root`` for k = 0 … order."""
    before, now = torch.zeros_like(g), root
    for k in range(order + 1):
        yield now
        before, now = now, (g * now - math.sqrt(k) * before).div_(math.sqrt(k + 1))


@lru_cache(maxsize=64)
@clean
def _table(edges: tuple[float, ...], order: int) -> tuple[Tensor, Tensor]:
    """Nodes of these panels, and at each He_k/√k! times its weight and the Gaussian density, one row for each k."""
    nodes, weights = _rule()
    ends = torch.tensor(edges, dtype=torch.float64)
    half = (ends[1:] - ends[:-1]).unsqueeze(1) / 2
    g = ((ends[1:] + ends[:-1]).unsqueeze(1) / 2 + half * nodes).flatten()
    root = torch.exp(-0.25 * g * g)
    bell = (half * weights).flatten() * root / math.sqrt(2 * math.pi)
    return g, torch.stack(list(_bounded(g, root, order))) * bell


def power_series(coefficients: Float[Tensor, "rows orders"], x: Float[Tensor, "rows n"]) -> Tensor:
    """Σ_k a_k x^k for every row, entry by entry (Horner)."""
    value = torch.empty_like(x)
    # a few rows at a time stay in cache from power to power
    for a, at, out in zip(coefficients.split(8), x.split(8), value.split(8)):
        out[:] = a[:, -1:]
        for k in range(a.shape[1] - 2, -1, -1):
            torch.addcmul(a[:, k : k + 1], out, at, out=out)
    return value
