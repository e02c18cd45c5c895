"""What a batch-normalised linear network does to gradients: conservation at isometry, slopes away from it."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError


@checked
@clean
def conserved_parts(h: Float[Tensor, "d d"]) -> tuple[float, float]:
    """Squared norms of the antisymmetric and of the symmetric off-diagonal part of H = (∂L/∂X) Xᵀ.

    At isometry the first is carried unchanged through every layer below; the second contracts.

    Examples
    --------
    >>> import torch
    >>> from firstlight.theory.batchnorm import conserved_parts
    >>> conserved_parts(torch.tensor([[5.0, 3.0], [1.0, 5.0]]))
    (2.0, 8.0)
    """
    h = h.double()
    rest = h - torch.diag(torch.diagonal(h))
    antisymmetric, symmetric = (rest - rest.T) / 2, (rest + rest.T) / 2
    return float(antisymmetric.square().sum()), float(symmetric.square().sum())


@checked
@clean
def gradient_at_isometry(
    antisymmetric: float, symmetric: float, d: int, layers: int
) -> Float[Tensor, " layers"]:
    r"""Expected squared gradient norm of W, k = 0 … layers−1 layers below the point where H was taken.

    .. math:: E \lVert \nabla_k \rVert^2 = \lVert A \rVert^2 + \lVert S \rVert^2 (1 - 2/(d+2))^k

    With orthogonal weights and features at isometry, ‖∇W_ℓ‖ = ‖H − diag H‖ and H_ℓ = Wᵀ(H − diag H)W: the
    gradient can neither explode nor vanish, at any depth.

    Parameters
    ----------
    antisymmetric, symmetric
        Squared norms ‖A‖² and ‖S‖² as `conserved_parts` gives them.
    d
        Width.
    layers
        How many layers.

    Returns
    -------
    Tensor
        From the layer at the output to the first, float64.

    Raises
    ------
    DomainError
        If the width is below 2, or there is no layer.

    References
    ----------
    Derived for this project.

    Examples
    --------
    >>> from firstlight.theory.batchnorm import gradient_at_isometry
    >>> gradient_at_isometry(1.0, 1.0, 2, 3).tolist()
    [2.0, 1.5, 1.25]
    """
    if d < 2 or layers < 1:
        raise DomainError(
            f"while predicting gradients: expected d ≥ 2 and at least one layer, got d={d} and {layers}"
        )
    k = torch.arange(layers, dtype=torch.float64)
    return antisymmetric + symmetric * torch.exp(k * math.log1p(-2 / (d + 2)))


@checked
@clean
def theorem_5(gap: float, d: int, *, constant: float = 1.0) -> float:
    """Theorem 5: E log‖∂L/∂W_ℓ‖ ≤ C d⁵ (φ(X₀)³ + 1), whatever the depth; infinite for a degenerate batch.

    The paper leaves the constant open; the bound is far from tight (measured values stay below 1) and its
    worth is that depth does not appear.

    Raises
    ------
    DomainError
        If the gap is negative or the width below 1.

    Examples
    --------
    >>> from firstlight.theory.batchnorm import theorem_5
    >>> theorem_5(1.0, 10), theorem_5(float("inf"), 10)
    (200000.0, inf)
    """
    if not gap >= 0 or d < 1:
        raise DomainError(
            f"while bounding gradients: expected a gap ≥ 0 and d ≥ 1, got {gap} and {d}; take the gap from "
            "`measure.isometry_gap`"
        )
    return constant * d**5 * (gap**3 + 1)


@checked
@clean
def degenerate_slope(rank: int, d: int) -> float:
    r"""Growth of log ‖∇W‖ per layer with orthogonal weights when the features have rank r < d.

    .. math:: \tfrac12 \Bigl(\frac{1}{r - 3/2} - \frac{1}{d}\Bigr)

    A fit to measurements at d = 100, good within 15 % for ranks from 5 to .7 d, once the first layers are past (10
    layers at rank 10, 50 at rank 70). At rank 3 features lose their rank with depth: .28 over 30 layers and .19 from
    50 to 100, where the fit has .33. 0 at full rank.

    Raises
    ------
    DomainError
        If the rank is below 2 or above d.

    Examples
    --------
    >>> from firstlight.theory.batchnorm import degenerate_slope
    >>> round(degenerate_slope(10, 100), 4), degenerate_slope(100, 100)    # 0.0528 and 8e-5 measured
    (0.0538, 0.0)
    """
    if not 2 <= rank <= d:
        raise DomainError(
            f"while predicting a slope: expected a rank from 2 to the width {d}, got {rank}; batch norm of a "
            "rank-one batch leaves only signs"
        )
    return 0.0 if rank == d else 0.5 * (1 / (rank - 1.5) - 1 / d)


@checked
@clean
def gaussian_slope(rank: int, d: int) -> float:
    """Growth of log ‖∇W‖ per layer with Gaussian weights: about 1/d over a hundred layers, more at low rank.

    Within 30 % over layers 10 to 100 at n = d = 100. The rate rises with depth: .011 there, .021 from 50 to 100.
    At n = d this is not the mean-field rate, which holds only for d ≫ n².

    Examples
    --------
    >>> from firstlight.theory.batchnorm import gaussian_slope
    >>> gaussian_slope(100, 100)       # 0.0105 measured
    0.01
    """
    return max(1 / d, degenerate_slope(rank, d))
