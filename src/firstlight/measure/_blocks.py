"""Walk the entries of any tensor in blocks that stay in cache, without copying the tensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from firstlight.errors import ArgumentError, DomainError

# 64k float32 entries are 256 kB: a block and two buffers fit in a second-level cache of 1 MB.
CPU_BLOCK = 65_536
# An accelerator pays per kernel, not per byte.
DEVICE_BLOCK = 1 << 23


def floating(x: Tensor, doing: str) -> Tensor:
    """``x`` without its gradient history, after a check that it holds real floating-point data.

    Raises
    ------
    DomainError
        For integer, boolean, complex, sparse or meta tensors, which hold no such entries.
    ArgumentError
        For what is no tensor.
    """
    if not isinstance(x, Tensor):
        raise ArgumentError(
            f"while {doing}: expected a real floating-point tensor, got {type(x).__name__}; make one with "
            "torch.as_tensor(x, dtype=torch.float32)"
        )
    if not x.is_floating_point():
        raise DomainError(
            f"while {doing}: expected a real floating-point tensor, got dtype {x.dtype} of shape "
            f"{tuple(x.shape)}; convert it with .float() first"
        )
    if x.device.type == "meta":
        raise DomainError(
            f"while {doing}: expected a tensor with data, got a meta tensor of shape {tuple(x.shape)}; "
            "materialise the module first, for example with .to_empty() and an initialiser"
        )
    if x.layout != torch.strided:
        raise DomainError(
            f"while {doing}: expected a dense tensor, got layout {x.layout}; call .to_dense() first"
        )
    return x.detach()


def flat_view(x: Tensor) -> Tensor | None:
    """All entries in storage order as a one-dimensional view, or None where they are not one dense run.

    The order of the entries differs from ``x.reshape(-1)`` for transposed or channels-last tensors.
    """
    if x.is_contiguous():
        return x.view(-1)
    expected = 1
    for stride, size in sorted(zip(x.stride(), x.shape)):
        if size > 1:
            if stride != expected:
                return None
            expected *= size
    return x.as_strided((x.numel(),), (1,), x.storage_offset())


def _pieces(x: Tensor, size: int) -> Iterator[Tensor]:
    if x.numel() <= size:
        yield x.reshape(-1)
        return
    rows = size // max(x.numel() // x.shape[0], 1)
    for piece in x.split(max(rows, 1)):
        if rows:
            yield piece.reshape(-1)
        else:
            yield from _pieces(piece[0], size)


def blocks(x: Tensor, size: int | None = None) -> Iterator[Tensor]:
    """Every entry of ``x`` once, in one-dimensional blocks of at most ``size`` entries.

    A view where the memory layout allows it; otherwise one block at a time is copied.

    Examples
    --------
    >>> import torch
    >>> from firstlight.measure._blocks import blocks
    >>> [tuple(block.shape) for block in blocks(torch.zeros(3, 4).T, size=5)]
    [(5,), (5,), (2,)]
    """
    size = size or (CPU_BLOCK if x.device.type == "cpu" else DEVICE_BLOCK)
    if x.numel() == 0:
        return
    flat = flat_view(x)
    if flat is None:
        yield from _pieces(x, size)
    elif flat.numel() <= size:
        yield flat
    else:
        yield from flat.split(size)


def strided_sample(x: Tensor, size: int) -> Tensor:
    """About ``size`` entries of ``x`` at a fixed odd stride, so that no single unit or sample dominates.

    All entries where ``x`` has at most ``size``. The same tensor always gives the same sample.
    """
    count = x.numel()
    flat = flat_view(x)
    if flat is None:
        if count > size and x.shape[0] > 1:
            rows = min(x.shape[0], max(size // max(count // x.shape[0], 1), 1))
            step = x.shape[0] // rows
            return strided_sample(x[::step][:rows].reshape(-1), size)
        return strided_sample(x.reshape(-1), size) if count > size else x.reshape(-1)
    if count <= size:
        return flat
    # An odd stride shares no factor with the usual powers of two in shapes.
    return flat[:: (count // size) | 1]


def to_floats(values: Sequence[Tensor]) -> list[float]:
    """Zero-dimensional tensors as Python floats, with one transfer where they live on an accelerator."""
    if not values or values[0].device.type == "cpu":
        return [value.item() for value in values]
    result: list[float] = torch.stack(list(values)).cpu().tolist()
    return result


def short_sums(
    rows: Tensor,
) -> tuple[list[float], list[float], list[float], list[tuple[float, float, float, float]]]:
    """Least and largest entry and mean of each row of a matrix on the CPU, and sums of four powers about the mean.

    Examples
    --------
    >>> import torch
    >>> from firstlight.measure._blocks import short_sums
    >>> short_sums(torch.tensor([[1.0, 2.0, 3.0]]))
    ([1.0], [3.0], [2.0], [(0.0, 2.0, 0.0, 2.0)])
    """
    x = rows.numpy().astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        lows, highs = x.min(axis=1), x.max(axis=1)
        means = x.mean(axis=1)
        x -= means[:, None]
        squares = x * x
        sums = [x.sum(axis=1), squares.sum(axis=1)]
        x *= squares
        squares *= squares
        sums += [x.sum(axis=1), squares.sum(axis=1)]
    return lows.tolist(), highs.tolist(), means.tolist(), list(zip(*(each.tolist() for each in sums)))
