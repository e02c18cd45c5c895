"""What every exact sampler of a layer does: forward from activations, backward from gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.ensemble.samplers._draws import fill_normal


class Sampler(ABC):
    r"""Draws :math:`Z = \tfrac{\sigma_w}{\sqrt n} W H + \sigma_b B 1^T` for many networks, each its own W.

    ``H`` holds one network per leading index, one unit per row and one input per column. ``backward`` draws
    :math:`\tfrac{\sigma_w}{\sqrt n} W^T \Delta` from its exact law *given* everything the forward pass has
    revealed about W, so a network's gradients belong to its activations.
    """

    @abstractmethod
    def forward(
        self,
        h: Float[Tensor, "nets fan_in inputs"],
        fan_out: int,
        generator: torch.Generator,
        *,
        keep: bool = False,
    ) -> tuple[Float[Tensor, "nets fan_out inputs"], Any]:
        """Pre-activations, and what ``backward`` needs (None unless ``keep``)."""

    @abstractmethod
    def backward(
        self, memo: object, delta: Float[Tensor, "nets fan_out inputs"], generator: torch.Generator
    ) -> Float[Tensor, "nets fan_in inputs"]:
        """Gradients by ``h`` from gradients by the pre-activations; call once per ``memo``."""


def normals(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    """Independent N(0,1) entries in the dtype and on the device of ``like``."""
    return fill_normal(torch.empty(shape, dtype=like.dtype, device=like.device), generator)


def project_out(basis: Float[Tensor, "nets n r"], x: Float[Tensor, "nets n k"]) -> Float[Tensor, "nets n k"]:
    """The part of the columns of ``x`` that is orthogonal to the orthonormal columns of ``basis``."""
    return x - basis @ (basis.mT @ x)
