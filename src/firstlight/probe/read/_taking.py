"""Taking: what is copied of a tensor while a model runs, and which entries of the copy are read afterwards.

A small tensor is copied once, in one call; what is read of the copy (rows, whole maps, tokens) is gathered when the
pass is over, for all tensors of one form together. Of a large tensor only what is read is copied, at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.measure.moments import work_dtype
from firstlight.probe.graph._site import Site
from firstlight.probe.read._groups import alike
from firstlight.probe.read._places import places
from firstlight.probe.read._tokens import TakenTokens, some_places, some_tokens

# Entries up to which a tensor is copied as a whole.
SMALL = 1 << 14


@dataclass(frozen=True)
class Form:
    """What decides which entries of a tensor are read.

    Attributes
    ----------
    shape, unit
        Of the tensor; the axis of units is counted from the end.
    heads
        Whether it is samples × heads × tokens × channels, to be read as the next layer does: all heads of one token
        beside each other.
    token_axis
        The axis of tokens in tensors of samples × tokens × units.
    samples, units
        Rows and columns that are read at most.
    """

    shape: tuple[int, ...]
    unit: int
    heads: bool
    token_axis: int
    samples: int
    units: int

    @property
    def mapped(self) -> bool:
        """Whether samples are maps, so that whole maps are read beside single places."""
        return self.unit < -1 and len(self.shape) == -self.unit + 1

    @property
    def placed(self) -> bool:
        """Whether places are read where other tensors have tokens."""
        return len(self.shape) > 2 and self.unit == 1 - len(self.shape)

    def turned(self, t: Tensor) -> Tensor:
        """The tensor as it is read."""
        return t.transpose(1, 2).flatten(2) if self.heads else t

    def rows(self, t: Tensor) -> Tensor:
        """At most ``samples × units`` entries of a tensor as it is read, spread over all samples and units."""
        moved = t.movedim(self.unit, -1) if t.dim() else t.reshape(1, 1)
        lead, n = tuple(moved.shape[:-1]), moved.shape[-1]
        moved = moved[..., :: -(-n // self.units)] if n > self.units else moved
        if math.prod(lead) > self.samples:
            moved = moved[places(lead, self.samples, t.device)]
        return moved.reshape(-1, moved.shape[-1])

    def images(self, t: Tensor) -> Tensor:
        """Whole maps, one row each: what tells two inputs apart is not one place of them."""
        flat = t[: self.samples].flatten(1)
        return flat[:, :: -(-flat.shape[1] // (4 * self.units))]

    def tokens(self, t: Tensor) -> Tensor | None:
        """Some tokens of each of some samples, or some places of maps; None for other tensors."""
        found = some_tokens(t, self.unit, self.token_axis)
        return found if found is not None else some_places(t, self.unit)


@dataclass(eq=False)
class Taken:
    """What was taken of one tensor.

    Attributes
    ----------
    entries
        Strided entries, or all, for the moments.
    form
        Of a small tensor, whose rows and maps are gathered later; None where they were copied at once.
    rows
        One row per sample (and position), one column per unit.
    images
        Where samples are maps: one row per whole map. None elsewhere.
    absmax, nonfinite
        Largest finite entry and share of non-finite ones of the whole tensor; NaN where ``entries`` is whole.
    """

    site: Site
    entries: Tensor
    form: Form | None = None
    rows: NDArray[np.float32] | None = None
    images: NDArray[np.float32] | None = None
    absmax: float = math.nan
    nonfinite: float = math.nan

    @property
    def size(self) -> int:
        """Bytes that are held until the statistics are made."""
        held = self.entries.numel() * self.entries.element_size()
        return held + sum(a.nbytes for a in (self.rows, self.images) if a is not None)


def copied(t: Tensor) -> Tensor:
    """All entries, in the type of moments: a copy, since the model may write into ``t``."""
    return t.to(work_dtype(t), copy=True, memory_format=torch.contiguous_format).view(-1)


def floats(t: Tensor) -> NDArray[np.float32]:
    """A copy of what is read of a tensor, in float32 on the processor."""
    return t.to("cpu", torch.float32, copy=True).numpy()


@dataclass(frozen=True)
class _Read:
    """Where in a copy the entries lie that are read; rows that are the whole copy in its order have no places."""

    shape: tuple[int, ...]
    rows: NDArray[np.int32] | None
    images: NDArray[np.int32] | None
    tokens: NDArray[np.int32] | None


@lru_cache(maxsize=128)
@clean
def _read(form: Form) -> _Read:
    index = form.turned(torch.arange(math.prod(form.shape), dtype=torch.int32).view(form.shape))
    rows, tokens = form.rows(index), form.tokens(index)
    flat = rows.reshape(-1)
    whole = bool(torch.equal(flat, torch.arange(math.prod(form.shape), dtype=torch.int32)))
    return _Read(
        tuple(rows.shape),
        None if whole else rows.contiguous().numpy(),
        form.images(index).contiguous().numpy() if form.mapped else None,
        None if tokens is None else tokens.contiguous().numpy(),
    )


def gather(taken: Iterable[Taken]) -> list[TakenTokens]:
    """Give every small tensor its rows and maps; returns what was taken of their tokens and places."""
    tokens: list[TakenTokens] = []
    small = [t for t in taken if t.form is not None]
    for group in alike(small, lambda t: (t.form, t.entries.dtype, t.entries.device)):
        form = group[0].form
        assert form is not None
        read, stack = _read(form), torch.stack([t.entries for t in group]).cpu().numpy()
        _dead([t.site for t in group], stack, form)
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, as torch makes it
            whole = stack.astype(np.float32, copy=False)
        rows = whole.reshape(len(group), *read.shape) if read.rows is None else whole[:, read.rows]
        images = None if read.images is None else whole[:, read.images]
        for i, t in enumerate(group):
            t.rows, t.images = rows[i], None if images is None else images[i]
        if read.tokens is not None:
            some = whole[:, read.tokens]
            tokens += [TakenTokens(t.site, some[i], form.placed) for i, t in enumerate(group)]
    return tokens


def _dead(sites: list[Site], stack: NDArray[np.floating], form: Form) -> None:
    """Share of the units of every activation that have one value on every sample and position."""
    if len(form.shape) < 2 or form.unit < -len(form.shape):
        return
    chosen = [i for i, site in enumerate(sites) if site.kind == "activation"]
    if chosen:
        z = stack[chosen].reshape(len(chosen), *form.shape)
        axes = tuple(axis for axis in range(1, z.ndim) if axis != z.ndim + form.unit)
        constant = (z.min(axis=axes) == z.max(axis=axes)).mean(axis=1)
        for i, share in zip(chosen, constant.tolist()):
            sites[i].values["dead"] = share
