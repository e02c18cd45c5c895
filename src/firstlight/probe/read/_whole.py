"""Tensors of every make as dense real numbers: complex, nested, sparse and distributed ones, and those inside vmap."""

from __future__ import annotations

import torch
from torch import Tensor

# A sparse tensor of more entries is read by its stored values alone.
DENSE = 1 << 24


def plain(tensor: Tensor) -> Tensor:
    """The tensor behind the wrappers of ``torch.func`` transforms, with their axis of samples in front.

    Examples
    --------
    >>> import torch
    >>> x, seen = torch.zeros(5, 3), []
    >>> _ = torch.vmap(lambda row: seen.append(plain(row)) or row)(x)
    >>> seen[0] is x
    True
    """
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        axis = functorch.maybe_get_bdim(tensor) if functorch.is_batchedtensor(tensor) else -1
        tensor = functorch.get_unwrapped(tensor)
        if axis > 0:
            tensor = tensor.movedim(axis, 0)
    return tensor


def carries(tensor: Tensor) -> bool:
    """Whether a tensor holds numbers that gradients flow through."""
    return tensor.is_floating_point() or tensor.is_complex()


def shape_of(tensor: Tensor) -> tuple[int, ...]:
    """The shape of a tensor; that of its parts laid end to end for a nested one."""
    return tuple(whole(tensor.detach()).shape if tensor.is_nested else tensor.shape)


def form(tensor: Tensor) -> tuple[object, ...]:
    """The shape, to compare; of a nested tensor of strided layout, which has none, the shapes of its parts."""
    if tensor.is_nested and tensor.layout is torch.strided:
        return tuple(tuple(part.shape) for part in tensor.unbind())
    return tuple(tensor.shape)


def whole(tensor: Tensor, unit: int = -1) -> Tensor:
    """The entries as one dense real tensor.

    Complex entries become real ones: the imaginary parts stand behind the real parts on the axis of units.
    Nested tensors are laid end to end; distributed ones are gathered.

    Parameters
    ----------
    tensor
        Of any layout, without gradient.
    unit
        The axis of units, counted from the end.

    Examples
    --------
    >>> import torch
    >>> whole(torch.complex(torch.ones(2, 3), torch.zeros(2, 3))).shape
    torch.Size([2, 6])
    >>> whole(torch.eye(3).to_sparse()).sum()
    tensor(3.)
    """
    tensor = plain(tensor)
    if type(tensor) is not Tensor and hasattr(tensor, "full_tensor"):
        tensor = tensor.full_tensor()
    if tensor.is_nested:
        parts = [part.reshape(-1, part.shape[-1]) for part in tensor.unbind()]
        tensor = torch.cat(parts) if parts else torch.zeros(0)
    elif tensor.layout is not torch.strided:
        if tensor.numel() <= DENSE:
            tensor = tensor.to_dense()
        else:
            stored = tensor.coalesce() if tensor.layout is torch.sparse_coo else tensor
            tensor = stored.values()
    if tensor.is_complex():
        axis = max(unit, -tensor.dim()) if tensor.dim() else 0
        pairs = torch.view_as_real(tensor.resolve_conj())
        tensor = torch.cat(pairs.unbind(-1), axis) if tensor.dim() else pairs
    return tensor
