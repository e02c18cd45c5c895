"""Draws: weights of one slot with a law and a scale, in the layout that the slot has."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from firstlight.recipes.layout.slots import Slot
from firstlight.weights import WeightLaw, delta_orthogonal_, get, haar

# standard deviation of N(0,1) cut at ±2, by which JAX and Keras divide
TRUNCATED_STD = 0.87962566103423978


def normal(
    shape: Sequence[int], generator: torch.Generator | None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Independent N(0,1) numbers; in float64 where that is asked for."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return torch.randn(tuple(shape), generator=generator, dtype=wide, device=_device(generator))


def uniform(
    shape: Sequence[int], generator: torch.Generator | None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Independent uniform numbers with variance 1."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    found = torch.empty(tuple(shape), dtype=wide, device=_device(generator))
    return found.uniform_(-math.sqrt(3.0), math.sqrt(3.0), generator=generator)


def truncated(shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
    """Independent N(0,1) numbers cut at ±2 and brought back to variance 1, as JAX and Keras draw them."""
    found = torch.empty(tuple(shape), device=_device(generator))
    return nn.init.trunc_normal_(found, a=-2.0, b=2.0, generator=generator) / TRUNCATED_STD


def _device(generator: torch.Generator | None) -> torch.device:
    return generator.device if generator is not None else torch.device("cpu")


def weights(
    slot: Slot, sigma_w: float, generator: torch.Generator | None, law: str | WeightLaw = "normal"
) -> Tensor:
    """Weights of this law with entries of variance σ_w²/fan-in.

    A Haar matrix (``"orthogonal"``) is drawn for each group and each stacked block, in the middle tap of a kernel; a
    rectangle's entries keep the variance σ_w²/fan-in. A bare parameter, whose layout is not known, is drawn normal.
    """
    if law == "orthogonal" and slot.kind not in ("bare", "bilinear", "embedding"):
        return orthogonal(slot, sigma_w, generator)
    scale = sigma_w / math.sqrt(slot.fan_in)
    shape, dtype = slot.weight.shape, slot.weight.dtype
    if law in ("normal", "orthogonal"):
        return normal(shape, generator, dtype).mul_(scale)
    if law == "uniform":
        return uniform(shape, generator, dtype).mul_(scale)
    found = get(law).standardised()
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return found.sample(tuple(shape), generator=generator, sigma_w=scale, dtype=wide, device="cpu")


def orthogonal(slot: Slot, sigma_w: float, generator: torch.Generator | None) -> Tensor:
    """Haar-orthogonal weights; σ_w = 1 is an isometry of the inputs where the outputs are as many."""
    shape = slot.weight.shape
    if slot.kind in ("conv", "conv-transposed"):
        return _kernel(slot, sigma_w, generator)
    rows, columns = (shape[1], shape[0]) if slot.inputs_first else (shape[0], shape[1])
    blocks = [haar_block(rows // slot.blocks, columns, sigma_w, generator) for _ in range(slot.blocks)]
    matrix = torch.cat(blocks)
    return matrix.T.contiguous() if slot.inputs_first else matrix


def haar_block(rows: int, columns: int, sigma_w: float, generator: torch.Generator | None) -> Tensor:
    """A Haar matrix times σ_w; a rectangle's entries have variance σ_w²/columns too."""
    matrix = haar(rows, columns, generator=generator, dtype=torch.float64)
    return matrix * (sigma_w * math.sqrt(max(rows, columns) / columns))


def middle_tap(shape: Sequence[int], matrix: Tensor) -> Tensor:
    """A weight with this matrix in the middle tap of its kernel, and zeros elsewhere."""
    whole = matrix.new_zeros(tuple(shape))
    target = whole
    for size in shape[2:]:
        target = target.select(2, (size - 1) // 2)
    target.copy_(matrix)
    return whole


def _kernel(slot: Slot, sigma_w: float, generator: torch.Generator | None) -> Tensor:
    module = slot.module
    strides = zip(module.kernel_size, module.stride, module.dilation, strict=True)  # type: ignore[arg-type]
    taps = tuple(min(int(k), int(s)) if d == 1 else 1 for k, s, d in strides)
    weight = torch.empty(slot.weight.shape, dtype=torch.float64)
    delta_orthogonal_(weight, groups=slot.groups, taps=taps, generator=generator)
    inside = weight.shape[0] // slot.groups if slot.inputs_first else weight.shape[1]
    outside = weight.shape[1] if slot.inputs_first else weight.shape[0] // slot.groups
    if slot.inputs_first:  # one tap in s reaches an output; rows of the transposed map are its outputs
        return weight * (sigma_w * math.sqrt(max(inside, outside * math.prod(taps)) / inside))
    columns = inside * math.prod(taps)
    return weight * (sigma_w * math.sqrt(max(outside, columns) / columns))
