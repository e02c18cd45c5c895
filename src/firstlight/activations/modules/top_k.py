"""Top-k: a layer keeps its largest entries only; what that does to moments and gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from firstlight.errors import DomainError


@dataclass(frozen=True)
class TopKMoments:
    """What keeping a share of the largest entries does to normal entries of variance q, in wide layers.

    Attributes
    ----------
    threshold
        τ√q with Φ(τ) = 1 − share (for sizes, Φ(τ) = 1 − share/2): what an entry, or its size, must exceed.
    mean, second
        Of the outputs.
    slope
        E φ'²: the share that passes, which the squared gradient is multiplied with.
    sigma_w2
        1/slope: the weight scale that keeps gradients; with it second moments grow by ``growth``.
    growth
        second·sigma_w2/q.
    """

    threshold: float
    mean: float
    second: float
    slope: float
    sigma_w2: float
    growth: float


def top_k_moments(share: float, *, q: float = 1.0, by_size: bool = False) -> TopKMoments:
    r"""Moments of the k largest of n entries N(0, q) as n grows with k/n = ``share``.

    .. math:: E h = \sqrt q\, p(τ), \quad E h^2 = q\,(s + τ p(τ)), \quad E φ'^2 = s

    with Φ(τ) = 1 − s; for the largest *sizes* E h = 0, E h² = q(s + 2τp(τ)) with Φ(τ) = 1 − s/2.

    Parameters
    ----------
    share
        s = k/n in (0, 1].
    q
        Variance of the entries.
    by_size
        Whether the largest |entries| are kept.

    Raises
    ------
    DomainError
        A share outside (0, 1], or a variance that is not positive.

    Examples
    --------
    >>> from firstlight.activations.modules import top_k_moments
    >>> half = top_k_moments(0.5)  # as ReLU
    >>> round(half.second, 6), half.slope, round(half.mean, 6)
    (0.5, 0.5, 0.398942)
    """
    if not (0 < share <= 1 and q > 0):
        raise DomainError(
            f"while taking the moments of top-k: expected a share in (0, 1] and q > 0, got {share} and {q}"
        )
    tail = share / 2 if by_size else share
    tau = -float(torch.special.ndtri(torch.tensor(tail, dtype=torch.float64)))
    density = math.exp(-0.5 * tau * tau) / math.sqrt(2 * math.pi) if math.isfinite(tau) else 0.0
    rest = tau * density if math.isfinite(tau) else 0.0
    second = q * (share + (2 if by_size else 1) * rest)
    mean = 0.0 if by_size else math.sqrt(q) * density
    return TopKMoments(tau * math.sqrt(q), mean, second, share, 1 / share, second / share / q)


class TopK(nn.Module):
    """Keep the ``k`` largest entries (or sizes) along an axis, and put zeros elsewhere.

    Parameters
    ----------
    k
        How many entries stay.
    dim
        The axis of units.
    by_size
        Whether the largest |entries| stay.

    Raises
    ------
    DomainError
        k below 1.

    Notes
    -----
    The k-sparse autoencoder of Makhzani and Frey (2014); gradients pass through what stays.

    Examples
    --------
    >>> import torch
    >>> from firstlight.activations.modules import TopK
    >>> TopK(2)(torch.tensor([3.0, -4.0, 1.0, 2.0])).tolist()
    [3.0, 0.0, 0.0, 2.0]
    """

    def __init__(self, k: int, *, dim: int = -1, by_size: bool = False) -> None:
        super().__init__()
        if k < 1:
            raise DomainError(f"while making TopK: expected k ≥ 1, got {k}")
        self.k, self.dim, self.by_size = k, dim, by_size

    def forward(self, z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The entries that stay."""
        order = z.abs() if self.by_size else z
        chosen = order.detach().topk(min(self.k, z.shape[self.dim]), dim=self.dim).indices
        return torch.zeros_like(z).scatter(self.dim, chosen, z.gather(self.dim, chosen))

    def extra_repr(self) -> str:
        """What stays."""
        return f"k={self.k}, dim={self.dim}, by_size={self.by_size}"
