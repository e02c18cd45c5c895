"""Second moments, correlations and gradient factors along a network with batch norm, at any batch size."""

from __future__ import annotations

import math

import numpy as np

from firstlight.theory.batchnorm.mean_field import batch_moments
from firstlight.theory.maps._trajectory import Path
from firstlight.theory.maps.layer import LayerMap


def batch_path(layer: LayerMap, q1: float, c1: float, depth: int, batch: float) -> tuple[Path, np.ndarray]:
    r"""Path and correlations of a wide network that normalises over a batch of samples of equal correlation.

    .. math::
        q_{l+1} = s^2 q_l + a^2 (σ_w^2 E φ(y_1)^2 + σ_b^2), \quad
        q_{l+1} c_{l+1} = s^2 q_l c_l + a^2 (σ_w^2 E φ(y_1) φ(y_2) + σ_b^2), \quad
        χ_l = s^2 + a^2 \frac{σ_w^2 λ_B (E φ(y_1)^2 - E φ(y_1)φ(y_2))}{q_l (1 - c_l)}

    with y from ``batch_moments``. Without skip, χ_l from the second layer on is the rate λ_B of Yang et al.: the
    batch's common part has been taken away, so that V' = 0 and gradients are divided by the batch's own spread.
    Samples are taken as equicorrelated; without centring as uncorrelated, where odd activations lead, so that q_l
    stands in the place of q_l(1 − c_l).

    Raises
    ------
    DomainError
        A batch too small for a finite rate; a finite batch without centring for φ that is not odd.
    """
    own, scale, bias = layer.skip**2, layer.branch**2 * layer.sigma_w2, layer.branch**2 * layer.sigma_b2
    centred, keep = layer.norm == "batch", 1 - layer.dropout
    m = batch_moments(layer.phi, batch, centred=centred)
    q, c, chi = (np.empty(depth) for _ in range(3))
    q[0], c[0] = q1, c1
    for i in range(depth - 1):
        q[i + 1] = own * q[i] + scale * m.second / keep + bias
        c[i + 1] = (own * q[i] * c[i] + scale * m.cross + bias) / q[i + 1]
    spread = q * (1 - c) if centred else q
    with np.errstate(divide="ignore"):
        chi[:] = own + scale / keep * m.rate * (m.second - m.cross) / spread
    return Path(q, np.full(depth, own), chi), c


def stationary_chi(layer: LayerMap, batch: float) -> float:
    r"""χ of a network with batch norm whose second moments and correlations have become stationary.

    .. math:: χ = s^2 + (1 - s^2)\, λ_B \frac{E φ(y_1)^2 - E φ(y_1)φ(y_2)}{E φ(y_1)^2 - (1-p)\, E φ(y_1)φ(y_2)}

    for a dropout of p, with centring; NaN if s ≥ 1, where they grow without end. Without skip and dropout χ = λ_B.

    Raises
    ------
    DomainError
        As ``batch_path``.
    """
    own, scale, bias = layer.skip**2, layer.branch**2 * layer.sigma_w2, layer.branch**2 * layer.sigma_b2
    centred, keep = layer.norm == "batch", 1 - layer.dropout
    if own >= 1:
        return math.nan
    m = batch_moments(layer.phi, batch, centred=centred)
    spread = scale * (m.second / keep - m.cross) if centred else scale * m.second / keep + bias
    return own + (1 - own) * scale / keep * m.rate * (m.second - m.cross) / spread
