"""Controlled residual networks: a path drives the layers, and the kernel at infinite width is a signature kernel."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from firstlight.errors import DomainError


class ControlledResidual(nn.Module):
    r"""h_{k+1} = h_k + Σ_c A_c h_k Δx_c(k)/√n along a path x, from a fixed h₀ of entries N(0, 1).

    As width and steps grow, ⟨h(x), h(y)⟩/n tends to a kernel of the two paths. For straight paths with increments a
    and b it is I₀(2√⟨a,b⟩) with weights that all steps share, the signature kernel, and e^{⟨a,b⟩} with weights of
    their own at every step, whose increments are multiplied by √steps: the path then runs through one unit of time.

    Parameters
    ----------
    width
        n.
    channels
        Channels of the path.
    steps
        Steps of the path; the layers where weights are not shared.
    shared
        Whether all steps have the same weights.
    generator
        Where the random numbers come from.

    Raises
    ------
    DomainError
        A size that is not positive, or a path of another shape.

    Notes
    -----
    Cirone, Lemercier and Salvi (2023), *Neural signature kernels as infinite-width-depth-limits of controlled
    ResNets*.

    Examples
    --------
    >>> import torch
    >>> from firstlight.builders.blocks import ControlledResidual
    >>> net = ControlledResidual(8, 2, steps=10, generator=torch.Generator().manual_seed(0))
    >>> net(torch.zeros(3, 11, 2)).shape  # a path that stands still leaves h₀
    torch.Size([3, 8])
    """

    def __init__(
        self,
        width: int,
        channels: int,
        *,
        steps: int,
        shared: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if min(width, channels, steps) < 1:
            raise DomainError(
                f"while making a ControlledResidual: expected positive sizes, got width={width}, channels={channels}, "
                f"steps={steps}"
            )
        self.steps, self.shared = steps, shared
        layers = 1 if shared else steps
        self.weight = nn.Parameter(torch.empty(layers, channels, width, width))
        self.start = nn.Parameter(torch.empty(width))
        with torch.no_grad():
            self.weight.normal_(generator=generator).mul_(1 / math.sqrt(width))
            self.start.normal_(generator=generator)

    def forward(self, path: Float[Tensor, "samples points channels"]) -> Float[Tensor, "samples width"]:
        """h at the end of each path."""
        if path.shape[1] != self.steps + 1:
            raise DomainError(
                f"while running a ControlledResidual of {self.steps} steps: expected paths of {self.steps + 1} points, "
                f"got shape {tuple(path.shape)}"
            )
        h = self.start.expand(len(path), -1)
        # weights that are new at every step add up as noise does, by the root of the time
        scale = 1.0 if self.shared else math.sqrt(self.steps)
        for k, step in enumerate((scale * path.diff(dim=1)).unbind(1)):
            weight = self.weight[0 if self.shared else k]
            h = h + torch.einsum("cij,sj,sc->si", weight, h, step)
        return h
