"""Between two weight layers: normalise over the batch or the units, apply φ, drop units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.activations import Activation
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork


def normalise(z: Float[Tensor, "nets units inputs"], norm: str | None) -> Float[Tensor, "nets units inputs"]:
    r"""Divide by a root mean square, over the inputs (batch) or over the units (layer, rms), after centring.

    Without ε: a row of zeros stays zero. ``"batch-uncentred"`` and ``"rms"`` do not centre. Rows keep a root
    mean square of 1, so a row has norm √inputs (the papers on batch norm use norm 1; the factor is this √).
    """
    if norm is None:
        return z
    dim = 2 if norm.startswith("batch") else 1
    if norm in ("batch", "layer"):
        z = z - z.mean(dim=dim, keepdim=True)
    # the largest entry is taken out first, so that squares neither overflow nor vanish
    top = z.detach().abs().amax(dim=dim, keepdim=True)
    scaled = z / torch.where(top > 0, top, torch.ones_like(top))
    square = scaled.square().mean(dim=dim, keepdim=True)
    return scaled * torch.where(square > 0, square, torch.ones_like(square)).rsqrt()


# fresh memory for a result costs as much as half of tanh
_IN_PLACE: dict[Callable[..., Tensor], Callable[[Tensor], Tensor]] = {
    torch.tanh: torch.tanh_,
    torch.relu: torch.relu_,
    torch.erf: torch.erf_,
}


@dataclass(frozen=True)
class Between:
    """The map H = D φ(N(Z)) from pre-activations to the next layer's inputs, and its transpose derivative."""

    phi: Activation
    norm: str | None = None
    dropout: float = 0.0

    @classmethod
    def of(cls, net: RandomNetwork) -> Between:
        """The local map of a network."""
        return cls(net.phi, net.norm, net.dropout)

    def check(self, inputs: int) -> None:
        """Raise a DomainError if the batch is too small for the normaliser."""
        if self.norm == "batch" and inputs < 2:
            raise DomainError(
                f"while simulating a network with batch norm: expected at least 2 inputs, got {inputs}; "
                "give a batch, or choose norm='batch-uncentred', 'layer' or 'rms'"
            )

    def mask(self, z: Tensor, generator: torch.Generator) -> Tensor | None:
        """Dropout's random factors for one layer, independent for every network, unit and input."""
        if self.dropout == 0:
            return None
        keep = torch.empty_like(z).bernoulli_(1 - self.dropout, generator=generator)
        return keep.div_(1 - self.dropout)

    def forward(
        self, z: Float[Tensor, "nets units inputs"], mask: Tensor | None = None, *, reuse: bool = False
    ) -> Tensor:
        """The next layer's inputs; with ``reuse`` they may take the place of ``z``, which is faster."""
        if reuse and self.norm is None and getattr(self.phi, "function", None) in _IN_PLACE:
            h = _IN_PLACE[self.phi.function](z)
        else:
            h = self.phi(normalise(z, self.norm))
        return h if mask is None else h * mask

    def backward(self, z: Tensor, mask: Tensor | None, grad: Tensor) -> Tensor:
        """Gradients by ``z`` from gradients by the result of ``forward``."""
        if self.norm is None:
            grad = grad if mask is None else grad * mask
            return grad * self.phi.gradient_slope(z)
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            (result,) = torch.autograd.grad(self.forward(leaf, mask), leaf, grad)
        return result
