"""Remedy for raw inputs: fixed numbers in front of the first layers that standardise what these layers read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from firstlight.clean_room import clean
from firstlight.diagnosis import lines_of
from firstlight.fixing.remedies.measured import Forward
from firstlight.profile import Profile

_Layer = nn.Linear | _ConvNd | nn.RNN | nn.GRU | nn.LSTM


class Standardised(nn.Module):
    """(x − mean)/deviation with fixed numbers, which the state dict carries.

    Parameters
    ----------
    mean, deviation
        One number a column, in a shape that is broadcast to the inputs.

    Examples
    --------
    >>> import torch
    >>> from firstlight.fixing.remedies import Standardised
    >>> Standardised(torch.tensor([100.0]), torch.tensor([50.0]))(torch.tensor([[0.0], [250.0]]))
    tensor([[-2.],
            [ 3.]])
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Float[Tensor, " *columns"], deviation: Float[Tensor, " *columns"]) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, x: Tensor) -> Tensor:
        """The standardised inputs."""
        return (x - self.mean) / self.deviation


@clean
@torch.no_grad()
def standardised_inputs(
    model: nn.Module, profile: Profile, generator: torch.Generator, forward: Forward
) -> list[str]:
    """Put `Standardised` in front of every layer that reads the data: mean 0 in each column, deviation 1.

    The mean of each column (of each channel, for a convolution) on the batch is taken out. All columns are divided by
    one deviation, or each column by its own where the deviations are further apart than the line of ``input-scale``.
    To write the scale into the first weight instead would not do: the gradient of the weight grows with the inputs, and
    the weight would be as much smaller.

    Returns
    -------
    list of str
        What was changed; empty if no linear, convolutional or recurrent module reads the data.

    References
    ----------
    LeCun et al., Efficient BackProp, 1998, section 4.3.
    """
    del generator
    modules = dict(model.named_modules())
    seen: dict[str, Tensor] = {}
    handles = []
    for name in _first(profile):
        if name and isinstance(module := modules.get(name), _Layer):
            handles.append(module.register_forward_pre_hook(_keeper(name, seen)))
    try:
        forward(model)
    finally:
        for handle in handles:
            handle.remove()
    spread = (
        float(np.nanmax(profile["read_spread"], initial=0.0)) if "read_spread" in profile.columns else 0.0
    )
    uneven = spread > lines_of("input-scale").warning[2][0]
    changes = []
    for name, given in seen.items():
        layer = modules[name]
        mean, deviation = _moments(given, 1 if isinstance(layer, _ConvNd) else given.ndim - 1, apart=uneven)
        path, _, key = name.rpartition(".")
        setattr(model.get_submodule(path), key, nn.Sequential(Standardised(mean, deviation), layer))
        low, high = float(deviation.min()), float(deviation.max())
        said = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
        changes.append(f"{name}: reads (x − mean of each column)/{said}, fixed numbers of this batch")
    return changes


def _first(profile: Profile) -> list[str]:
    """Names of the layers whose inputs come straight from the data."""
    kinds = profile["kind"].astype(str)
    found: list[str] = []
    for row in range(1, len(profile)):
        if kinds[row] in ("weight", "recurrent") and kinds[row - 1] == "input":
            found.append(str(profile["name"][row]).split("#")[0])
    return list(dict.fromkeys(found))


def _keeper(name: str, seen: dict[str, Tensor]) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def keep(module: nn.Module, given: tuple[Any, ...]) -> None:
        if len(given) == 1 and isinstance(given[0], Tensor) and given[0].is_floating_point():
            seen.setdefault(name, given[0].detach())

    return keep


def _moments(given: Tensor, axis: int, *, apart: bool) -> tuple[Tensor, Tensor]:
    """Mean and deviation by column, in float64 and then in the inputs' dtype; a constant column has deviation 1."""
    over = [i for i in range(given.ndim) if i != axis]
    x = given.double()
    mean = x.mean(over, keepdim=True)
    square = (x - mean).square().mean(over, keepdim=True)
    if not apart:
        square = square.mean().expand_as(square)
    deviation = torch.where(square > 0, square.sqrt(), torch.ones_like(square))
    # the axis of the samples is not part of the shape
    return mean[0].to(given.dtype), deviation[0].to(given.dtype).contiguous()
