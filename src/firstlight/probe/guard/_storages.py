"""Storages: the bytes behind somebody's tensors, copied before the first write into them, and put back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Storages are copied at the start, the small ones first, up to this many bytes together: kernels that do not say
# what they write, numpy views and other threads change bytes out of sight. Larger ones are copied at the first write
# that is seen, and compared by a checksum.
AT_ONCE = 8 << 20
# Words summed together for a checksum: sums of short runs also tell that runs changed places.
_RUN = 8192
# Bytes up to which making words of them costs more than comparing them one by one.
_SMALL = 1 << 13
PLAIN = (Tensor, torch.nn.Parameter)


@dataclass
class Kept:
    """One storage: its bytes as a tensor of their own, a copy if there is one, and what tells that it changed."""

    name: str
    storage: Any
    size: int
    flat: Tensor
    copied: Tensor | None = None
    sums: Tensor | None = None

    def copy(self) -> None:
        """Keep the bytes, unless something wrote them before, out of sight."""
        if self.copied is None and not self.changed():
            self.copied = self.flat.clone()

    def changed(self) -> bool:
        """Whether the bytes are others than at the start."""
        if self.storage.nbytes() != self.size:
            return True
        if self.copied is not None:
            if self.size < _SMALL:
                return not torch.equal(self.flat, self.copied)
            return not all(map(torch.equal, _words(self.flat), _words(self.copied)))
        return self.sums is not None and not torch.equal(checksum(self.flat), self.sums)

    def unchanged(self) -> bool:
        """Whether the bytes are those at the start."""
        return not self.changed()

    def put_back(self) -> None:
        """Write the old bytes over the new ones, without a word to the version counters of the tensors."""
        if not self.changed():
            return
        if self.storage.nbytes() != self.size:
            self.storage.resize_(self.size)
            self.flat = _bytes(self.storage)
        if self.copied is None:
            raise RuntimeError("the write was not seen by torch, and there is no copy of what was there")
        self.flat.copy_(self.copied)


def checksum(flat: Tensor) -> Tensor:
    """Sums of runs of 64-bit words, with wrap-around; the last bytes as they are."""
    words, rest = _words(flat)
    even = words.numel() // _RUN * _RUN
    runs = words[:even].view(-1, _RUN)
    # numpy adds as fast as memory gives the words; torch takes half as long again
    sums = torch.from_numpy(np.add.reduce(runs.numpy(), axis=1)) if runs.is_cpu else runs.sum(1)
    return torch.cat([sums, words[even:].sum()[None], rest.long()])


def _words(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Bytes as 64-bit words, which torch compares eight times as fast, and the bytes that are left."""
    even = flat.numel() // 8 * 8
    return flat[:even].view(torch.int64), flat[even:]


def is_wrapper(tensor: object) -> bool:
    """Whether a tensor is a shell around others, as distributed and quantised ones are."""
    if type(tensor) in PLAIN:
        return False
    return torch.utils._python_dispatch.is_traceable_wrapper_subclass(tensor)


def parts(tensor: Tensor) -> Iterator[Tensor]:
    """The plain tensors that hold what a tensor shows: itself, or the parts of a sparse or wrapping one."""
    if is_wrapper(tensor):
        wrapped: Any = tensor
        for name in wrapped.__tensor_flatten__()[0]:
            inner = getattr(tensor, name)
            if isinstance(inner, Tensor):  # a distributed tensor names its mesh too
                yield from parts(inner)
    elif tensor.layout == torch.sparse_coo:
        yield from (tensor._indices(), tensor._values())
    elif tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        yield from (tensor.crow_indices(), tensor.col_indices(), tensor.values())
    elif tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        yield from (tensor.ccol_indices(), tensor.row_indices(), tensor.values())
    else:
        yield tensor


def storage_of(tensor: Tensor) -> Any:
    """The storage of a plain tensor; None where the layout has none."""
    try:
        return tensor.untyped_storage()
    except (RuntimeError, NotImplementedError):
        return None


def _bytes(storage: Any) -> Tensor:
    # a tensor of its own: its version counter is nobody else's
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


class Storages:
    """All storages that are guarded, by their address; ``pending`` tells that some are not copied yet."""

    def __init__(self) -> None:
        self.kept: dict[int, Kept] = {}
        self.pending = False

    def add(self, tensor: Tensor, name: str) -> None:
        """Guard the storage behind a tensor."""
        for part in parts(tensor):
            storage = storage_of(part)
            if storage is None or storage._cdata in self.kept or storage.device.type == "meta":
                continue
            self.kept[storage._cdata] = Kept(name, storage, storage.nbytes(), _bytes(storage))

    def start(self) -> None:
        """Copy the small storages, and take the checksums of the others."""
        room = AT_ONCE
        for kept in sorted(self.kept.values(), key=lambda kept: kept.size):
            room -= kept.size
            if room >= 0:
                kept.copy()
            else:
                kept.sums = checksum(kept.flat)
                self.pending = True

    def before_write(self, tensor: Tensor) -> None:
        """Copy what a write will change, once."""
        for part in parts(tensor):
            storage = storage_of(part)
            kept = self.kept.get(storage._cdata) if storage is not None else None
            if kept is not None:
                kept.copy()
