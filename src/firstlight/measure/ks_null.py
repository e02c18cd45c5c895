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

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from firstlight.clean_room import clean

DRAWS = 1024
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

    basis: NDArray[np.float32]  # (GRID, orders): φ(t) He_{k−1}(t) / √k!
    normals: NDArray[np.float32]  # (orders + 1, DRAWS), the last row all ones
    paths: NDArray[np.float32]  # (bands + 1, GRID · DRAWS): the processes of the bands and of the rest
    bias: NDArray[np.float32]  # (GRID,): b(t) · (n + 2)


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
@clean
def _reference() -> _Reference:
    # Of 60 seeds, one whose 5 % line is at a level of .048 to .052 of 10⁵ draws, over eight correlations.
    generator = torch.Generator().manual_seed(18)
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
    normals = _latin_normals(len(ORDERS), generator)
    return _Reference(
        basis=basis[:, columns].float().numpy(),
        normals=torch.cat([normals, torch.ones(1, DRAWS)]).float().numpy(),
        paths=torch.stack(paths).float().flatten(1).numpy(),
        bias=(basis[:, 0] * (t**3 - 3 * t) / 4).float().numpy(),
    )


def power_means(
    correlation: Float[Tensor, "*layers samples samples"], units: int | NDArray[np.int64]
) -> NDArray[np.float32]:
    """w_k, the mean of c_ab^k over all ordered pairs of samples, for every order and band of the null law.

    One row per matrix of correlations, whose diagonals are ones. The last entry is w_1680, which only equal
    samples keep: the roughness of G between points of the grid. For k ≥ 3, c² is first reduced by the 1/n
    that the cosine of two independent rows of n units has on average; n may differ between layers.
    """
    samples = correlation.shape[-1]
    c = upper_triangle(correlation).float().numpy()
    square = c * c
    width = np.asarray(units, np.float64)[..., None]
    # the cosine of two rows of one unit says nothing of chance
    chance = np.where(width > 1, 1.0 / width, 0.0)
    square -= chance.astype(np.float32)
    square *= (1.0 / (1.0 - chance)).astype(np.float32)
    np.maximum(square, 0.0, out=square)
    shrunk = np.copysign(np.sqrt(square), c)
    powers = np.empty((len(ORDERS) + len(BANDS) + 2, *c.shape), np.float32)
    powers[0] = c
    np.multiply(shrunk, square, out=powers[1])  # order 3
    for i in range(2, len(ORDERS)):
        np.multiply(powers[i - 1], shrunk, out=powers[i])
    np.multiply(powers[5], powers[6], out=powers[9])  # 7 + 8
    np.multiply(powers[9], np.square(powers[8]), out=powers[10])  # 15 + 2·10
    np.multiply(powers[10], np.square(powers[10]), out=powers[11])  # 3·35
    for i in (12, 13):
        np.square(np.square(powers[i - 1]), out=powers[i])
    # every pair counts twice, and each sample once with itself
    means = np.moveaxis((2.0 * powers.sum(axis=-1) + samples) / samples**2, 0, -1)
    return np.maximum(means, 0.0).astype(np.float32)


@lru_cache(maxsize=8)
@clean
def _upper(samples: int) -> Tensor:
    row, column = torch.triu_indices(samples, samples, 1)
    return row * samples + column


def upper_triangle(matrices: Float[Tensor, "*layers samples samples"]) -> Float[Tensor, "*layers pairs"]:
    """The entries above the diagonals, each pair of samples once."""
    return matrices.flatten(-2).index_select(-1, _upper(matrices.shape[-1]))


def suprema(weights: NDArray[np.float32], units: int | NDArray[np.int64]) -> NDArray[np.float32]:
    """Draws of sup_t |G(t) + √n b(t)| for these w_k, from the fixed reference draws.

    Parameters
    ----------
    weights
        As ``power_means`` gives them, one row per layer.
    units
        n, the number of units behind every sample; one for all layers, or one for each.

    Returns
    -------
    ndarray
        1024 draws for each row of weights.
    """
    reference = _reference()
    layers = weights.reshape(-1, weights.shape[-1])
    amplitude = np.sqrt(layers)
    orders, bands = len(ORDERS), len(BANDS) + 1
    width = np.broadcast_to(np.asarray(units, np.float64), weights.shape[:-1]).reshape(-1)
    offsets = (np.sqrt(width) / (width + 2)).astype(np.float32)
    basis = np.empty((GRID, orders + 1), np.float32)
    result = np.empty((len(layers), DRAWS), np.float32)
    rest, paths = np.empty(GRID * DRAWS, np.float32), np.empty((GRID, DRAWS), np.float32)
    for i, row in enumerate(amplitude):
        # one product for all orders and the bias, whose draw is always 1; a layer at a time stays in cache
        np.multiply(reference.basis, row[:orders], out=basis[:, :orders])
        np.multiply(reference.bias, offsets[i], out=basis[:, orders])
        np.matmul(row[orders : orders + bands], reference.paths, out=rest)
        np.matmul(basis, reference.normals, out=paths)
        paths += rest.reshape(GRID, DRAWS)
        np.abs(paths, out=paths).max(axis=0, out=result[i])
    result += np.float32(OVERSHOOT / math.sqrt(GRID)) * amplitude[:, -1:]
    return result.reshape(*weights.shape[:-1], DRAWS)
