"""ASH: a swish whose threshold follows the statistics of its layer, so that a share of the entries passes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from firstlight.errors import DomainError


class AdaptiveSwish(nn.Module):
    r"""z·s(α(z − μ − c·σ)) with the mean μ and the deviation σ of the layer's entries.

    .. math:: φ(z) = z\, S\big(α (z - μ_z - z_k σ_z)\big), \qquad z_k = Φ^{-1}(1 - k)

    A share k of normal entries stands above the threshold. The hard form is clip(z, 0, 2)·hard_sigmoid. Statistics
    are of each sample, over every other axis, and gradients pass through them.

    Parameters
    ----------
    share
        k, in (0, 1).
    alpha
        Steepness α, which is trained.
    hard
        Whether to use the hard form.

    Raises
    ------
    DomainError
        A share outside (0, 1).

    Notes
    -----
    Lee et al. (2022), *Stochastic adaptive activation function*. ``activations.get("ash(alpha, mu, offset)")`` and
    ``"hard_ash(…)"`` are the forms with fixed statistics that theory takes.

    Examples
    --------
    >>> import torch
    >>> from firstlight.activations.modules import AdaptiveSwish
    >>> z = torch.randn(4, 4000, generator=torch.Generator().manual_seed(0))
    >>> bool(((AdaptiveSwish(0.1, alpha=50.0)(z) > 0.05).float().mean() - 0.1).abs() < 0.02)
    True
    """

    def __init__(self, share: float = 0.1, *, alpha: float = 1.0, hard: bool = False) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise DomainError(f"while making an AdaptiveSwish: expected a share in (0, 1), got {share}")
        self.share, self.hard = share, hard
        self.quantile = -float(torch.special.ndtri(torch.tensor(share, dtype=torch.float64)))
        self.alpha = nn.Parameter(torch.tensor(float(alpha)))

    def forward(self, z: Float[Tensor, samples * shape]) -> Float[Tensor, samples * shape]:
        """The gated entries."""
        axes = tuple(range(1, z.dim()))
        mean = z.mean(axes, keepdim=True)
        deviation = z.std(axes, keepdim=True, correction=0)
        gate = self.alpha * (z - mean - self.quantile * deviation)
        return z.clamp(0.0, 2.0) * F.hardsigmoid(gate) if self.hard else z * torch.sigmoid(gate)

    def extra_repr(self) -> str:
        """The share and the form."""
        return f"share={self.share}, hard={self.hard}"
