"""The layer that a `RandomNetwork` repeats, as a block: normaliser, activation, dropout, weights, identity path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.builders.blocks.dense import MappedBlock
from firstlight.builders.dense import activation_module, draw
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork
from firstlight.theory import LayerMap

_NORMS: dict[str | None, Any] = {
    None: lambda width: None,
    "batch": lambda width: nn.BatchNorm1d(width, affine=False),
    "layer": lambda width: nn.LayerNorm(width, elementwise_affine=False),
    "rms": lambda width: nn.RMSNorm(width, elementwise_affine=False),
}


class _Kept(nn.Module):
    """skip·x + scale·branch(x)."""

    def __init__(self, branch: nn.Module, *, skip: float, scale: float) -> None:
        super().__init__()
        self.branch, self.skip, self.scale = branch, skip, scale

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.skip * x + self.scale * self.branch(x)
        return result


@dataclass(frozen=True)
class Layer(MappedBlock):
    """One of the layers 2, 3, … of a `RandomNetwork`; its fields that say sizes do not count.

    Attributes
    ----------
    network
        The description that holds activation, scales, law, normaliser, dropout, skip and branch.

    Examples
    --------
    >>> import firstlight
    >>> from firstlight.builders.blocks import Layer
    >>> net = firstlight.RandomNetwork(depth=2, width=64, activation="relu", sigma_w=2**0.5, skip=1.0)
    >>> round(Layer(net).second_moment(3.0), 9), round(Layer(net).gradient(3.0), 9)
    (6.0, 2.0)
    """

    network: RandomNetwork

    @property
    def layer(self) -> LayerMap:
        """The mean-field map."""
        return LayerMap.of(self.network)

    @property
    def described(self) -> RandomNetwork:
        """The network that was given."""
        return self.network

    @property
    def keeps_width(self) -> bool:
        """Whether there is an identity path."""
        return self.network.skip != 0

    def module(
        self,
        width: int,
        *,
        fan_out: int | None = None,
        q: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> nn.Module:
        """Normaliser, activation, dropout and a linear layer, beside the identity where there is one."""
        net = self.network
        if net.norm not in _NORMS:
            raise DomainError(
                f"while building a layer: expected norm None, 'batch', 'layer' or 'rms', got {net.norm!r}; torch "
                "has none of it"
            )
        linear = nn.Linear(width, fan_out or width, bias=net.sigma_b > 0)
        law = net.weight_law
        draw(linear, sigma_w=net.sigma_w, sigma_b=net.sigma_b, weight_law=law, generator=generator)
        given = net.activation if isinstance(net.activation, nn.Module) else None
        phi = activation_module(given if given is not None else _named(net))
        dropout = nn.Dropout(net.dropout) if net.dropout else None
        branch = nn.Sequential(*(m for m in (_NORMS[net.norm](width), phi, dropout, linear) if m is not None))
        if net.skip == 0 and net.branch == 1:
            return branch
        return _Kept(branch, skip=net.skip, scale=net.branch)

    @property
    def name(self) -> str:
        """The layer with its activation."""
        return f"layer({self.network.phi.name})"


def _named(net: RandomNetwork) -> Any:
    """The activation by its name where torch has a class of it, else as the object."""
    from firstlight import pairs

    pair = isinstance(net.activation, str) and pairs.is_pair_name(net.activation)
    return net.activation if isinstance(net.activation, str) and not pair else net.phi
