"""The law of the studentised Kolmogorov–Smirnov distance when samples share their units' weights.

Given the inputs of a layer with Gaussian weights, its units are independent draws of a Gaussian vector over
the samples, whose correlation matrix C is that of the inputs. With every sample divided by its root mean
square over n units, the empirical cdf of all entries deviates from Φ by G(t)/√n + b(t), where

    G(t) = φ(t) Σ_{k ≠ 2} √(w_k / k!) He_{k−1}(t) ξ_k,   w_k = mean over all pairs (a, b) of c_ab^k,

ξ_k independent N(0,1): the Hermite expansion of the indicator 1[x ≤ t], in which dividing by the root mean
square removes exactly the second term, and Mehler's formula, by which k-th Hermite terms of two samples
correlate as c^k. b(t) = φ(t) He₃(t) / (4 (n + 2)) is the bias: a coordinate of a vector of fixed length has
excess kurtosis −6/(n+2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

DRAWS = 2048
GRID = 64
# Hermite orders with a weight of their own; beyond them, bands of orders share one.
ORDERS = (1, 3, 4, 5, 6, 7, 8, 9, 10)
# (orders from, to), weighed by w_15, w_35, w_105 and, beyond the last, w_420.
BANDS = ((11, 20), (21, 60), (61, 200))
# Mean overshoot of a Brownian path between points of a grid, −ζ(1/2)/√(2π) (Siegmund 1979).
OVERSHOOT = 0.5826


@dataclass(frozen=True)
class _Reference:
    """Fixed draws from which the null law of any set of weights w_k is read off."""

    basis: Tensor  # (GRID, orders): φ(t) He_{k−1}(t) / √k!
    normals: Tensor  # (orders, DRAWS)
    paths: Tensor  # (bands + 1, GRID, DRAWS): the processes of the bands and of everything beyond
    bias: Tensor  # (GRID,): b(t) · (n + 2)


def _hermite_basis(t: Tensor, orders: int) -> Tensor:
    """φ(t) He_{k−1}(t) / √k! for k = 1..orders, one column each."""
    density = torch.exp(-0.5 * t * t) / math.sqrt(2 * math.pi)
    columns = [density, density * t / math.sqrt(2)]
    for k in range(3, orders + 1):
        # He_{k−1} = t He_{k−2} − (k−2) He_{k−3}, each divided by the root of its own factorial
        columns.append(t * columns[-1] / math.sqrt(k) - (k - 2) * columns[-2] / math.sqrt(k * (k - 1)))
    return torch.stack(columns, dim=1)


def _latin_normals(rows: int, generator: torch.Generator) -> Tensor:
    """Standard normal draws, each row stratified: one draw in each of DRAWS equally likely cells."""
    cells = torch.stack([torch.randperm(DRAWS, generator=generator) for _ in range(rows)]).double()
    uniform = (cells + torch.rand(rows, DRAWS, generator=generator, dtype=torch.float64)) / DRAWS
    return torch.special.ndtri(uniform.clamp(1e-12, 1 - 1e-12))


@lru_cache(maxsize=1)
def _reference() -> _Reference:
    generator = torch.Generator().manual_seed(20221225)
    levels = (torch.arange(GRID, dtype=torch.float64) + 0.5) / GRID
    t = torch.special.ndtri(levels)
    top = BANDS[-1][1]
    basis = _hermite_basis(t, top)
    bridge = torch.minimum(levels[:, None], levels) - levels[:, None] * levels
    rest = bridge - basis @ basis.T
    values, vectors = torch.linalg.eigh(rest)
    root = vectors * values.clamp_min(0).sqrt()
    paths = [basis[:, low - 1 : high] @ _latin_normals(high - low + 1, generator) for low, high in BANDS]
    paths.append(root @ _latin_normals(GRID, generator))
    columns = [k - 1 for k in ORDERS]
    return _Reference(
        basis=basis[:, columns].float(),
        normals=_latin_normals(len(ORDERS), generator).float(),
        paths=torch.stack(paths).float(),
        bias=(basis[:, 0] * (t**3 - 3 * t) / 4).float(),
    )


def power_means(correlation: Float[Tensor, "samples samples"], units: int) -> Float[Tensor, " orders"]:
    """w_k, the mean of c_ab^k over all ordered pairs of samples, for every order and band of the null law.

    The last entry is w_1680, which only equal samples keep: the roughness of G between points of the grid.

    For k ≥ 3, c² is first reduced by the 1/n that the cosine of two independent rows of n units has on
    average.
    """
    c = correlation.clamp(-1.0, 1.0)
    square = c * c
    if units > 1:
        square.sub_(1.0 / units).div_(1.0 - 1.0 / units).clamp_(min=0.0)
    shrunk = square.sqrt().copysign_(c)
    powers = c.new_empty(len(ORDERS) + len(BANDS) + 2, *c.shape)
    powers[0] = c
    torch.mul(shrunk, square, out=powers[1])  # order 3
    for i in range(2, len(ORDERS)):
        torch.mul(powers[i - 1], shrunk, out=powers[i])
    torch.mul(powers[5], powers[6], out=powers[9])  # 7 + 8
    torch.mul(powers[9], square.copy_(powers[8]).square_(), out=powers[10])  # 15 + 2·10
    torch.mul(powers[10], square.copy_(powers[10]).square_(), out=powers[11])  # 3·35
    for i in (12, 13):
        torch.mul(powers[i - 1], powers[i - 1], out=powers[i]).square_()
    pairs = powers.flatten(1)
    return (pairs @ pairs.new_full((pairs.shape[1],), 1.0 / pairs.shape[1])).clamp_(min=0.0)


def suprema(weights: Float[Tensor, " orders"], units: int) -> Float[Tensor, " draws"]:
    """Draws of sup_t |G(t) + √n b(t)| for these w_k, from the fixed reference draws.

    Parameters
    ----------
    weights
        As ``power_means`` gives them.
    units
        n, the number of units behind every sample.
    """
    reference = _reference()
    amplitude = weights.float().cpu().sqrt()
    orders = len(ORDERS)
    offset = reference.bias * (math.sqrt(units) / (units + 2))
    paths = torch.addmm(offset[:, None], reference.basis * amplitude[:orders], reference.normals)
    for path, scale in zip(reference.paths, amplitude[orders:].tolist()):
        paths.add_(path, alpha=scale)
    return paths.abs_().amax(dim=0) + OVERSHOOT * amplitude[-1] / math.sqrt(GRID)
