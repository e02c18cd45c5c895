"""Memory: which weights share a part of their entries, though neither is the other."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Memory:
    """The weights that were seen, by the piece of memory that they lie in."""

    seen: dict[int, list[tuple[str, Tensor]]] = field(default_factory=dict)

    def met(self, name: str, weight: Tensor | None) -> str | None:
        """The name of an earlier weight with an entry of this one, or None; then this one counts as seen.

        Examples
        --------
        >>> import torch
        >>> whole, memory = torch.zeros(4, 4), Memory()
        >>> memory.met("whole", whole), memory.met("top", whole[:2])
        (None, 'whole')
        >>> columns = Memory()
        >>> columns.met("left", whole[:, :2]), columns.met("right", whole[:, 2:])
        (None, None)
        """
        if weight is None or weight.is_meta or weight.layout is not torch.strided or not weight.numel():
            return None
        held = self.seen.setdefault(weight.untyped_storage().data_ptr(), [])
        for other, earlier in held:
            if _meet(earlier, weight):
                return other
        held.append((name, weight))
        return None


def _span(t: Tensor) -> tuple[int, int]:
    """First and last byte."""
    last = sum((size - 1) * step for size, step in zip(t.shape, t.stride()))
    return t.data_ptr(), t.data_ptr() + (last + 1) * t.element_size() - 1


def _meet(a: Tensor, b: Tensor) -> bool:
    (first, end), (second, stop) = _span(a), _span(b)
    if end < second or stop < first:
        return False
    if a.dtype != b.dtype:
        return True
    return bool(torch.isin(_places(a), _places(b)).any())


def _places(t: Tensor) -> Tensor:
    """The address of every entry, in entries."""
    found = torch.full((1,), t.data_ptr() // t.element_size())
    for size, step in zip(t.shape, t.stride()):
        found = (found[:, None] + step * torch.arange(size)).flatten()
    return found
