"""Layers of Kolmogorov–Arnold networks: learnt functions on edges, their moments and their start."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from firstlight import gauss
from firstlight.errors import DomainError

Basis = Literal["spline", "bump", "chebyshev"]
_DOING = "making a KANLayer"


class KANLayer(nn.Module):
    r"""y_j = Σ_i Σ_k c_jik B_k(x_i): every edge has a function of its own, a combination of basis functions.

    Parameters
    ----------
    in_features, out_features
        Inputs and outputs.
    basis
        ``"spline"``: cubic B-splines on an even grid; ``"bump"``: normal bumps as wide as the grid's step;
        ``"chebyshev"``: T_k(tanh x).
    size
        Number of basis functions, at least 4.
    reach
        The grid lies on [−reach, reach].
    gain
        Weight scale: coefficients are drawn with the variance gain²/(in_features · Σ_k E B_k(x)²) over normal
        inputs of variance 1, so that E y² = gain².
    generator
        Where the random numbers come from.

    Raises
    ------
    DomainError
        A size below 4, a count that is not positive, or an unknown basis.

    Examples
    --------
    >>> import torch
    >>> from firstlight.activations.modules import KANLayer
    >>> layer = KANLayer(64, 512, generator=torch.Generator().manual_seed(0))
    >>> y = layer(torch.randn(256, 64, generator=torch.Generator().manual_seed(1)))
    >>> bool((y.square().mean() - 1).abs() < 0.1)
    True
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        basis: Basis = "spline",
        size: int = 8,
        reach: float = 3.0,
        gain: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if basis not in get_args(Basis) or size < 4 or min(in_features, out_features) < 1 or not reach > 0:
            raise DomainError(
                f"while {_DOING}: expected a basis among {', '.join(get_args(Basis))} of size ≥ 4, reach > 0 and "
                f"positive counts, got {basis!r}, {size}, {reach}, {in_features} and {out_features}"
            )
        self.in_features, self.out_features = in_features, out_features
        self.basis, self.size, self.reach = basis, size, reach
        second, _ = self.basis_moments()
        deviation = gain / math.sqrt(in_features * second)
        self.coefficients = nn.Parameter(torch.empty(out_features, in_features, size))
        with torch.no_grad():
            self.coefficients.normal_(generator=generator).mul_(deviation)

    def functions(self, x: Float[Tensor, "*shape"]) -> Tensor:
        """B_k(x) for every k, on a new last axis."""
        if self.basis == "chebyshev":
            angle = torch.acos(torch.tanh(x).clamp(-1 + 1e-7, 1 - 1e-7))
            return torch.cos(angle[..., None] * torch.arange(self.size, dtype=x.dtype, device=x.device))
        places = self.size - 3 if self.basis == "spline" else self.size - 1
        step = 2 * self.reach / places
        first = -self.reach - (step if self.basis == "spline" else 0.0)
        centres = first + step * torch.arange(self.size, dtype=x.dtype, device=x.device)
        t = (x[..., None] - centres) / step
        if self.basis == "bump":
            return torch.exp(-0.5 * t * t)
        # the cubic B-spline by truncated powers of its distance from the centre
        return ((2 - t.abs()).clamp_min(0.0) ** 3 - 4 * (1 - t.abs()).clamp_min(0.0) ** 3) / 6

    def basis_moments(self, q: float = 1.0) -> tuple[float, float]:
        r"""Σ_k E B_k(x)² and Σ_k E B_k'(x)² over x ~ N(0, q): what one layer does to signals and gradients.

        With coefficients of variance v a layer has E y² = in·v·(the first) and multiplies a squared gradient per
        input, from ``out_features`` outputs, by out·v·(the second).
        """

        def squares(x: Tensor) -> Tensor:
            with torch.enable_grad():
                leaf = x.detach().clone().requires_grad_()
                values = self.functions(leaf)
                slopes = [
                    torch.autograd.grad(values[..., k].sum(), leaf, retain_graph=True)[0]
                    for k in range(self.size)
                ]
            return torch.stack([values.detach().square().sum(-1), torch.stack(slopes).square().sum(0)])

        std = torch.tensor([math.sqrt(q)], dtype=torch.float64)
        found = gauss.integrate(squares, 0.0, std, rtol=1e-9).value
        return float(found[0, 0]), float(found[1, 0])

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Outputs of every sample."""
        return self.functions(x).flatten(-2) @ self.coefficients.flatten(1).T

    def extra_repr(self) -> str:
        """Counts and basis."""
        return f"{self.in_features}, {self.out_features}, basis={self.basis}, size={self.size}, reach={self.reach}"
