"""Softmax of T Gaussian logits: mean products of its probabilities at any T, by integrals over the denominator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# Steps of the trapezoidal rules: in log λ, and in the logits times their standard deviation. Both integrands are
# analytic for imaginary parts below π/2, so that a step h leaves e^{−π²/h}.
_STEP, _COARSE = 0.3, 0.42
_REACH = 9.0
# Below this t²(1 − ρ) the difference of two shares is its first term, right to this share of itself.
_CLOSE = 1e-5
# What is lost for good, short of a logarithm of zero.
_ALL = 1 - 2.0**-53


@dataclass(frozen=True)
class Shares:
    """What the probabilities p of one query and p' of another, over T tokens, come to on average.

    Attributes
    ----------
    own
        E Σ p_s².
    apart
        E Σ p_s² − E Σ p_s p'_s.
    error
        Estimated error of both, relative to each.
    """

    own: float
    apart: float
    error: float


@lru_cache(maxsize=4096)
def shares(tokens: int, spread: float, correlation: float) -> Shares:
    r"""Shares of T logits of variance t² = ``spread``, those of two queries with this correlation.

    .. math:: E \frac{e^{2tξ_1}}{S^2} = \int_0^\infty λ\, E[e^{2tξ} e^{-λ e^{tξ}}]\, (E e^{-λ e^{tξ}})^{T-1} dλ,
        \qquad S = \sum_s e^{tξ_s}

    and likewise over (λ, λ') for two queries, whose logits are correlated Gaussians.
    """
    if tokens == 1:
        return Shares(1.0, 0.0, 0.0)
    t = math.sqrt(spread)
    if t < 1e-9:
        return Shares(1 / tokens, spread * (1 - correlation) * (1 - 1 / tokens) / tokens, 1e-9)
    fine, coarse = _squares(tokens, t, _STEP), _squares(tokens, t, _COARSE)
    error = abs(fine[0] / coarse[0] - 1)
    if spread * (1 - correlation) < _CLOSE:
        # E Σ pp' at correlation r rises by t² E[Σp² − 2Σp³ + (Σp²)²] at r = 1
        own, third, square = fine
        apart = (1 - correlation) * spread * (own - 2 * third + square)
        return Shares(own, apart, max(error, spread * (1 - correlation)))
    both = [_product(tokens, t, correlation, step) for step in (_STEP, _COARSE)]
    apart, other = fine[0] - both[0], coarse[0] - both[1]
    return Shares(fine[0], apart, max(error, abs(apart - other) / abs(apart)))


def _grids(tokens: int, t: float, step: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes in log λ, nodes in the logits over t, and the weights of the latter."""
    low, high = -_REACH * t - math.log(tokens) - 36.0, _REACH * t + 6.0
    x = np.linspace(low, high, math.ceil((high - low) / step) + 1)
    width = min(0.5 * step / _STEP, step / t)
    xi = np.linspace(-_REACH, _REACH, math.ceil(2 * _REACH / width) + 1)
    weights = np.exp(-xi * xi / 2) * (xi[1] - xi[0]) / math.sqrt(2 * math.pi)
    return x, xi, weights


def _squares(tokens: int, t: float, step: float) -> tuple[float, float, float]:
    """E Σ p², E Σ p³ and E (Σ p²)²."""
    x, xi, weights = _grids(tokens, t, step)
    y = x[:, None] + t * xi
    parts = np.exp(np.minimum(y, 700.0))
    alive = np.exp(-parts)
    m2, m3, m4 = (np.where(parts > 700, 0.0, parts**k * alive) @ weights for k in (2, 3, 4))
    lost = -np.expm1(-parts) @ weights
    logs = np.log1p(-np.minimum(lost, _ALL))
    rest = np.exp((tokens - 1) * logs)
    two = np.exp((tokens - 2) * logs)
    dx = x[1] - x[0]
    own = tokens * float((m2 * rest).sum()) * dx
    third = tokens * float((m3 * rest).sum()) * dx / 2
    pairs = tokens * float((m4 * rest).sum()) * dx / 6
    pairs += tokens * (tokens - 1) * float((m2 * m2 * two).sum()) * dx / 6
    return own, third, pairs


def _product(tokens: int, t: float, correlation: float, step: float) -> float:
    """E Σ p_s p'_s, over λ and λ' with what the two logits share held fixed."""
    x, xi, weights = _grids(tokens, t, step)
    shared, own = math.sqrt(abs(correlation)), math.sqrt(1 - abs(correlation))
    lost, tilted = (np.empty((len(x), len(xi))) for _ in range(2))
    for j, g in enumerate(xi):
        parts = np.exp(np.minimum(x[:, None] + t * (shared * g + own * xi), 700.0))
        lost[:, j] = -np.expm1(-parts) @ weights
        tilted[:, j] = np.where(parts > 700, 0.0, parts * np.exp(-parts)) @ weights
    other = slice(None) if correlation >= 0 else slice(None, None, -1)
    single = lost @ weights
    gone = single[:, None] + single - (lost * weights) @ lost[:, other].T
    rest = np.exp((tokens - 1) * np.log1p(-np.clip(gone, 0.0, _ALL)))
    both = (tilted * weights) @ tilted[:, other].T
    dx = x[1] - x[0]
    return tokens * float((both * rest).sum()) * dx * dx
