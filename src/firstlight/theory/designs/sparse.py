"""Scales that keep a network sparse, critical and stable, for clipped thresholds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from firstlight import activations
from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError


@dataclass(frozen=True)
class SparseTuning:
    """A sparsity-inducing activation with the scales that make q = 1 stationary and χ₁ = 1.

    Attributes
    ----------
    activation
        Its name for ``RandomNetwork`` and ``firstlight.activations.get``.
    tau, m
        Threshold and clip; m is infinite without a clip.
    sigma_w, sigma_b
        Scales.
    slope
        V'(1): below 1, so that the variance returns to 1; exactly 1 without a clip, where it does not from above.
    """

    activation: str
    tau: float
    m: float
    sigma_w: float
    sigma_b: float
    slope: float


@checked
@clean
def sparse_tuning(kind: str, *, sparsity: float, slope: float | None = None) -> SparseTuning:
    r"""Threshold, clip and scales of a network in which a given share of units is zero.

    .. math::
        τ = Φ^{-1}(s) \;(\text{CReLU}),\; Φ^{-1}(\tfrac{1+s}2) \;(\text{CST}), \quad P = Φ(τ+m) - Φ(τ), \quad
        σ_w^2 = \tfrac1P \;(\tfrac1{2P}), \quad σ_b^2 = 1 - σ_w^2 Eφ^2, \quad V'(1) = 1 - \tfrac{m\,p(τ+m)}{P}

    Parameters
    ----------
    kind
        ``"crelu"``: min(max(z − τ, 0), m), or ``"cst"``: its odd counterpart.
    sparsity
        Share of zeros, in (0, 1).
    slope
        V'(1) to aim at, in (0, 1), by the choice of m; None for no clip. Near 1 other stationary variances
        appear: ``variance_fixed_points`` lists them.

    Raises
    ------
    DomainError
        A share or a slope outside its domain, or one for which σ_b² would be negative.

    Notes
    -----
    Price, Adam and Tanner (2024), *Deep neural network initialization with sparsity inducing activations*.

    Examples
    --------
    >>> from firstlight.theory import sparse_tuning
    >>> found = sparse_tuning("crelu", sparsity=0.85, slope=0.5)
    >>> round(found.m, 4), round(found.sigma_w**2, 3), round(found.sigma_b**2, 4)
    (0.8095, 8.507, 0.6605)
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr, ndtri

    if kind not in ("crelu", "cst") or not 0 < sparsity < 1 or (slope is not None and not 0 < slope < 1):
        raise DomainError(
            "while tuning a sparse network: expected 'crelu' or 'cst' with sparsity and slope in (0, 1), got "
            f"{kind!r}, {sparsity} and {slope}"
        )
    sides = 1 if kind == "crelu" else 2
    tau = float(ndtri(sparsity if sides == 1 else (1 + sparsity) / 2))

    def active(m: float) -> float:
        return float(ndtr(-tau) - ndtr(-tau - m))

    def excess(m: float) -> float:
        return (
            1 - m * math.exp(-0.5 * (tau + m) ** 2) / math.sqrt(2 * math.pi) / active(m) - float(slope or 0)
        )

    m = math.inf if slope is None else float(brentq(excess, 1e-3, 12.0, xtol=1e-14))
    w2 = 1 / (sides * active(m))
    name = f"{kind}({tau!r}, {m!r})" if slope is not None else f"{kind}({tau!r})"
    b2 = 1 - w2 * float(activations.second(activations.get(name), 1.0))
    if b2 < 0:
        raise DomainError(
            f"while tuning a sparse network: expected σ_b² ≥ 0, got {b2:.4g} at sparsity {sparsity} and slope {slope}; "
            "ask for more zeros or a smaller slope"
        )
    return SparseTuning(name, tau, m, math.sqrt(w2), math.sqrt(b2), 1.0 if slope is None else float(slope))
