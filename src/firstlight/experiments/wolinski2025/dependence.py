"""How far two units of one layer are from independent: correlation of their squares, and distance correlation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from firstlight.weights import Normal, WeightLaw

_BATCHES = 20
_POINTS = 400  # a distance correlation takes the square of its points in memory


@dataclass(frozen=True)
class Dependence:
    """Two units of the second layer, over random networks.

    Attributes
    ----------
    width
        Units of the first layer, which both share.
    squares, squares_se
        Correlation of their squares, 0 for independent units, with its standard error over batches of networks.
    exact
        The same by moments of φ and of the weights.
    distance, distance_se
        Bias-corrected squared distance correlation, 0 for independent units only.
    """

    width: int
    squares: float
    squares_se: float
    exact: float
    distance: float
    distance_se: float


def unit_dependence(
    activation: Callable[[Tensor], Tensor],
    law: WeightLaw,
    *,
    width: int,
    sigma_w: float = 1.0,
    sigma_b: float = 0.0,
    draws: int = 200_000,
    seed: int = 0,
) -> Dependence:
    r"""Dependence of two units that share ``width`` independent inputs, in the setting of ``two_layer_ks``.

    .. math:: Cov(z_1^2, z_2^2) = σ_w^4 (E W^2)^2 Var(φ^2) / n

    Parameters
    ----------
    activation, law, sigma_w, sigma_b
        φ, the weights of the second layer, and its scales.
    width
        n, the units of the first layer.
    draws, seed
        Networks, and the seed of what is drawn.

    References
    ----------
    Székely & Rizzo (2014), the bias-corrected distance correlation.

    Examples
    --------
    >>> import torch
    >>> from firstlight.experiments.wolinski2025 import unit_dependence
    >>> from firstlight.weights import Normal
    >>> found = unit_dependence(torch.relu, Normal(), width=5, sigma_w=2**0.5, draws=20_000)
    >>> abs(found.squares - found.exact) < 4 * found.squares_se
    True
    """
    g = torch.Generator().manual_seed(seed)
    first, parts = Normal(), []
    for _ in range(_BATCHES):
        n = -(-draws // _BATCHES)
        z = math.hypot(sigma_w, sigma_b) * first.sample((n, width), generator=g)
        w = law.sample((n, 2, width), generator=g, fan_in=width, sigma_w=sigma_w)
        with torch.no_grad():
            both = torch.einsum("boi,bi->bo", w, activation(z))
        if sigma_b:
            both = both + sigma_b * first.sample(tuple(both.shape), generator=g)
        parts.append(both.double().numpy())
    squares = [float(np.corrcoef((part**2).T)[0, 1]) for part in parts]
    distances = [distance_correlation(part[:_POINTS, 0], part[:_POINTS, 1]) for part in parts]
    root = math.sqrt(_BATCHES)
    exact = _exact(activation, law, width, sigma_w, sigma_b)
    return Dependence(
        width, float(np.mean(squares)), float(np.std(squares, ddof=1)) / root, exact,
        float(np.mean(distances)), float(np.std(distances, ddof=1)) / root,
    )  # fmt: skip


def distance_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """The bias-corrected squared distance correlation of two samples: 0 on average for independent ones.

    Examples
    --------
    >>> import numpy as np
    >>> from firstlight.experiments.wolinski2025.dependence import distance_correlation
    >>> x = np.arange(10.0)
    >>> round(distance_correlation(x, 3 * x), 12)
    1.0
    """
    a, b = _centred(x), _centred(y)
    return float((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()))


def _centred(x: np.ndarray) -> np.ndarray:
    """Distances, centred so that products have no bias; 0 on the diagonal."""
    n = len(x)
    d = np.abs(x[:, None] - x[None, :])
    row = d.sum(axis=1) / (n - 2)
    centred = d - row[:, None] - row[None, :] + d.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0.0)
    return centred


def _exact(
    activation: Callable[[Tensor], Tensor], law: WeightLaw, n: int, sigma_w: float, sigma_b: float
) -> float:
    """Correlation of the squares by moments, with Gauss–Hermite nodes for φ."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(160)
    with torch.no_grad():
        z = torch.tensor(math.hypot(sigma_w, sigma_b) * nodes).float()
        h = activation(z).double().numpy()
    weights = weights / weights.sum()
    second, fourth = float(weights @ h**2), float(weights @ h**4)
    w2 = float(law.variance)
    w4 = float(law.moment(4.0))
    v = sigma_w**2 * w2 * second
    shared = sigma_w**4 * w2**2 * (fourth - second**2) / n
    a4 = sigma_w**4 / n**2 * (n * w4 * fourth + 3 * n * (n - 1) * w2**2 * second**2)
    z4 = a4 + 6 * v * sigma_b**2 + 3 * sigma_b**4
    return shared / (z4 - (v + sigma_b**2) ** 2)
