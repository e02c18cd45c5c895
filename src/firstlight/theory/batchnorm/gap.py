"""How the isometry gap falls from layer to layer: its exact one-step law, its decay, and the paper's bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.measure.isometry import isometry_gap
from firstlight.weights import haar

Spectrum = Sequence[float] | Float[Tensor, " d"]


@checked
@clean
def gap_of_spectrum(eigenvalues: Spectrum) -> float:
    """Isometry gap of a matrix whose Gram matrix has these eigenvalues; infinite if one is zero.

    Examples
    --------
    >>> from firstlight.theory.batchnorm import gap_of_spectrum
    >>> round(gap_of_spectrum([0.5, 1.5]), 6)
    0.143841
    """
    lam = _spectrum(eigenvalues)
    return float(torch.log(lam.mean()) - torch.log(lam).mean())


@checked
@clean
def gap_step(eigenvalues: Spectrum) -> float:
    r"""Expected change of the isometry gap over one layer X → BN(WX) with Haar W, exactly.

    .. math:: E\,φ(BN(WX)) - φ(X) = E \log \lVert (WX)_1 \rVert^2
              = \int_0^\infty \Bigl[e^{-t} - \prod_i (1 + 2 t λ_i)^{-1/2}\Bigr] \frac{dt}{t}
                - ψ(d/2) - \log 2

    for X = BN(·), that is Σλ = d. The step is never positive, and zero only at isometry.

    Parameters
    ----------
    eigenvalues
        The d eigenvalues λ of XᵀX; they are scaled to mean 1.

    Returns
    -------
    float
        The change in nats, to about 1e-13.

    Raises
    ------
    DomainError
        If an eigenvalue is negative or not finite, or all are zero.

    References
    ----------
    Derived for this project; checked against simulation and the expansion `gap_step_near_isometry`.

    Examples
    --------
    >>> from firstlight.theory.batchnorm import gap_step
    >>> abs(gap_step([1.0] * 8)) < 1e-12
    True
    >>> round(gap_step([0.5, 1.5]), 6)       # −Σ(λ−1)²/(d(d+2)) is −0.0625 to second order
    -0.069336
    """
    lam = _spectrum(eigenvalues)
    lam = lam / lam.mean()
    d = len(lam)
    # At isometry the same integral is known: subtracting it leaves a smooth integrand without ψ. In s = log t
    # it is analytic and decays double-exponentially to the left (like t²) and like t^{-rank/2} to the right,
    # where the trapezoidal rule converges exponentially.
    positive = int((lam > 0).sum())
    right = 80.0 / max(positive, 1) + 5 + math.log(1e3 / float(lam[lam > 0].min()))
    s = torch.linspace(-22.0, right, 1 + int((right + 22) / 0.02), dtype=torch.float64)
    t = torch.exp(s)
    log_here = -0.5 * torch.log1p(2 * t[:, None] * lam).sum(dim=1)
    log_isometry = -0.5 * d * torch.log1p(2 * t)
    difference = torch.exp(log_isometry) * -torch.expm1(log_here - log_isometry)
    return float(difference.sum() * (s[1] - s[0]))


@checked
@clean
def gap_step_near_isometry(eigenvalues: Spectrum) -> float:
    """Expected change of the gap over one layer to second order: −Σ(λ−1)²/(d(d+2)).

    Examples
    --------
    >>> from firstlight.theory.batchnorm import gap_step_near_isometry
    >>> gap_step_near_isometry([0.5, 1.5])
    -0.0625
    """
    lam = _spectrum(eigenvalues)
    lam = lam / lam.mean()
    d = len(lam)
    return -float((lam - 1).square().sum()) / (d * (d + 2))


@checked
@clean
def gap_decay_rate(d: int) -> float:
    """Decay of log φ per layer near isometry, log(1 − 2/(d+2)).

    Raises
    ------
    DomainError
        If the width d is below 1.

    Examples
    --------
    >>> from firstlight.theory.batchnorm import gap_decay_rate
    >>> [round(gap_decay_rate(d), 5) for d in (16, 32, 50)]
    [-0.11778, -0.06062, -0.03922]
    """
    if d < 1:
        raise DomainError(f"while computing the decay of the gap: expected d ≥ 1, got {d}; d is the width")
    return math.log1p(-2 / (d + 2))


@checked
@clean
def gap_chain(
    factor: Float[Tensor, "d r"],
    depth: int,
    *,
    weights: Literal["orthogonal", "normal"] = "orthogonal",
    draws: int = 4,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "draws layers"]:
    """Isometry gaps of layers 0 … depth, by sampling the chain X → BN(WX) of a linear network itself.

    A right factor that is common to all layers does not matter, so a d × r factor stands for any number of
    samples: for features X (d × n) pass U diag(s) of its singular value decomposition, or X itself.

    Parameters
    ----------
    factor
        Features as rows. The rows are normalised first, so layer 0 is BN(X).
    depth
        Number of layers.
    weights
        Haar-orthogonal or Gaussian.
    draws
        Independent networks.
    generator
        Where the random numbers come from.

    Returns
    -------
    Tensor
        One row per draw, float64; infinite from where float64 finds the features rank deficient.

    Examples
    --------
    >>> import torch
    >>> from firstlight.theory.batchnorm import gap_chain
    >>> gaps = gap_chain(torch.eye(4).double() + 0.5, 200, generator=torch.Generator().manual_seed(0))
    >>> bool((gaps[:, -1] < 1e-6 * gaps[:, 0]).all())
    True
    """
    d = factor.shape[0]
    x = _unit_rows(factor.double().expand(draws, *factor.shape))
    gaps = [_gap_of_rows(x)]
    for layer in range(depth):
        if bool(torch.isinf(gaps[-1]).all()):
            # rank once lost does not come back
            gaps += [gaps[-1]] * (depth - layer)
            break
        if weights == "orthogonal":
            w = haar(d, count=draws, generator=generator, dtype=torch.float64)
        else:
            w = torch.randn(draws, d, d, generator=generator, dtype=torch.float64)
        x = _unit_rows(w @ x)
        gaps.append(_gap_of_rows(x))
    return torch.stack(gaps, dim=1)


def _unit_rows(x: Tensor) -> Tensor:
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)


def _gap_of_rows(x: Tensor) -> Tensor:
    """Gap of the Gram matrix of the features (rows), infinite below full rank."""
    return isometry_gap(x, gram="rows", method="fast")


@checked
@clean
def theorem_1(gap: float, d: int, layer: int, *, constant: float = 1.0) -> float:
    """Theorem 1: E φ(X_ℓ) ≤ φ(X₀) e^{−ℓ/k} with k = C d² (1 + d φ(X₀)).

    The paper leaves the absolute constant C open; 1 holds in every measurement here.

    Examples
    --------
    >>> from firstlight.theory.batchnorm import theorem_1
    >>> theorem_1(0.0, 10, 5), round(theorem_1(1.0, 10, 1100), 6)
    (0.0, 0.367879)
    """
    _check_gap(gap, d)
    return gap * math.exp(-layer / (constant * d**2 * (1 + d * gap)))


@checked
@clean
def lemma_2(x: Float[Tensor, "d n"], weight: Float[Tensor, "d d"]) -> float:
    """Lemma 2: the lower bound (1 + Var_j‖(WX)_j‖ / mean_j²) I(X) for I(BN(WX)) of this orthogonal W.

    The rows of X are features, as in the paper.

    Examples
    --------
    >>> import torch
    >>> from firstlight.theory.batchnorm import lemma_2
    >>> lemma_2(torch.eye(3), torch.eye(3))
    1.0
    """
    lengths = torch.linalg.vector_norm(weight.double() @ x.double(), dim=1)
    spread = lengths.var(correction=0) / lengths.mean().square()
    return float((1 + spread) * torch.exp(-isometry_gap(x)))


@checked
@clean
def isometry_gain(eigenvalues: Spectrum) -> float:
    """The factor of Theorem 3, (1 − Σ(λ−1)²/(2d²(d+2)))⁻¹: E I(BN(WX)) ≥ gain · I(X) for X = BN(·).

    Examples
    --------
    >>> from firstlight.theory.batchnorm import isometry_gain
    >>> round(isometry_gain([0.5, 1.5]), 6)
    1.015873
    """
    return 1 / (1 - _spread_term(eigenvalues))


@checked
@clean
def theorem_3(eigenvalues: Spectrum) -> float:
    """Theorem 3: the lower bound `isometry_gain` · I(X) for E I(BN(WX)), X with this Gram spectrum.

    Examples
    --------
    >>> from firstlight.theory.batchnorm import theorem_3
    >>> theorem_3([1.0, 1.0])
    1.0
    """
    return isometry_gain(eigenvalues) * math.exp(-gap_of_spectrum(eigenvalues))


@checked
@clean
def corollary_4(eigenvalues: Spectrum) -> float:
    """Corollary 4: the upper bound φ(X) + log(1 − Σ(λ−1)²/(2d²(d+2))) for E φ(BN(WX)).

    Examples
    --------
    >>> from firstlight.theory.batchnorm import corollary_4, gap_of_spectrum, gap_step
    >>> lam = [0.5, 1.5]
    >>> gap_of_spectrum(lam) + gap_step(lam) <= corollary_4(lam) <= gap_of_spectrum(lam)
    True
    """
    return gap_of_spectrum(eigenvalues) + math.log1p(-_spread_term(eigenvalues))


def _spread_term(eigenvalues: Spectrum) -> float:
    lam = _spectrum(eigenvalues)
    lam = lam / lam.mean()
    d = len(lam)
    return float((lam - 1).square().sum()) / (2 * d**2 * (d + 2))


def _check_gap(gap: float, d: int) -> None:
    if not gap >= 0 or d < 1:
        raise DomainError(
            f"while bounding the isometry gap: expected a gap ≥ 0 and d ≥ 1, got {gap} and {d}; take the gap from "
            "`measure.isometry_gap`"
        )


def _spectrum(eigenvalues: Spectrum) -> Tensor:
    lam = torch.as_tensor(eigenvalues, dtype=torch.float64).cpu()
    if (
        lam.ndim != 1
        or len(lam) == 0
        or not bool((torch.isfinite(lam) & (lam >= 0)).all())
        or not lam.sum() > 0
    ):
        raise DomainError(
            f"while reading a spectrum: expected finite eigenvalues ≥ 0 that are not all zero, got "
            f"{lam.flatten()[:8].tolist()}; take the squared singular values"
        )
    return lam
