"""Samples: whether they are copies, where their axis is after a rearrangement, and whether a new shape mixes them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

# Distance of two entries over the larger, below which they are the same.
ALIKE = 1e-3
# Steps that give the same entries another shape, in the order in which they lie.
RESHAPES = frozenset("view reshape flatten unflatten view_as reshape_as".split())


def reshaped(before: Sequence[int], after: Sequence[int], axis: int, count: int) -> tuple[int | None, bool]:
    """The axis of samples in a new shape, None where there is none of its own, and whether samples were mixed.

    Entries keep their order, so an axis stays the same axis if as many entries lie before it. Samples are mixed if
    another axis stands in the place of the samples' axis. There are two cases. The first axis of the new shape has as
    many entries as there are samples, and samples stood elsewhere. Or the axes were exchanged: their sizes were written
    in another order.

    Parameters
    ----------
    before, after
        The shapes.
    axis, count
        The axis of samples in the old shape, and how many samples there are.

    Examples
    --------
    >>> reshaped((32, 3, 4), (32, 12), 0, 32), reshaped((8, 32, 5), (256, 5), 1, 32)
    ((0, False), (None, False))
    >>> reshaped((8, 32, 5), (32, 40), 1, 32), reshaped((32, 8, 5), (8, 32, 5), 0, 32)
    ((None, True), (None, True))
    """
    if count < 2 or axis >= len(before) or before[axis] != count or list(before).count(count) > 1:
        return None, False  # which axis holds the samples is not certain
    ahead = math.prod(before[:axis])
    for place, size in enumerate(after):
        if size == count and math.prod(after[:place]) == ahead:
            return place, False
    exchanged = sorted(before) == sorted(after) and list(after).count(count) == 1
    return None, exchanged or (ahead > 1 and len(after) > 0 and after[0] == count)


def copies(rows: Tensor) -> bool:
    """Whether every row is the first row times a number; of rows of one entry, whether all are equal.

    Every column counts, however small its entries are beside those of another column.

    Examples
    --------
    >>> row, stamp = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([[1.7e9, 0.1], [1.7e9, 0.2]])
    >>> copies(torch.stack([row, 2 * row])), copies(stamp), copies(torch.tensor([[3.0], [4.0]]))
    (True, False, False)
    """
    if len(rows) < 2 or rows.shape[1] < 2:
        return len(rows) > 1 and bool((rows == rows[:1]).all())
    first = rows[:1].double()
    scale = (rows.double() * first).sum(dim=1, keepdim=True) / first.square().sum().clamp_min(1e-300)
    apart = (rows.double() - scale * first).abs()
    return bool((apart <= ALIKE * torch.maximum(rows.double().abs(), (scale * first).abs())).all())


class Samples:
    """How many samples a batch holds, and the shapes and layers that mix them, by the place in the model.

    Examples
    --------
    >>> samples = Samples()
    >>> samples.enter([torch.zeros(32, 4), torch.zeros(32)])
    >>> samples.count, samples.follow("head", (8, 32, 5), (32, 40), 1), list(samples.mixed)
    (32, None, ['head'])
    """

    def __init__(self) -> None:
        self.count = 0
        # layers that take the axis of samples for that of time, with the shape that each read
        self.along: dict[str, tuple[int, ...]] = {}
        self.mixed: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}

    def enter(self, inputs: Iterable[Tensor]) -> None:
        """Count the samples of a batch; inputs that do not agree have no axis of samples."""
        sizes = {t.shape[0] if not t.is_nested and t.dim() else 0 for t in inputs}
        self.count = sizes.pop() if len(sizes) == 1 else 0

    def read_as_time(self, place: str, shape: Sequence[int], axis: int | None) -> None:
        """Remember a layer that reads its first axis as time, where the samples stand on this axis.

        A second axis of one entry means one sequence of all samples, as in layers over sets; a second axis as long as
        the first tells nothing.
        """
        if axis == 0 and len(shape) == 3 and shape[0] == self.count and shape[1] not in (1, self.count):
            self.along.setdefault(place, tuple(shape))

    def follow(self, place: str, before: Sequence[int], after: Sequence[int], axis: int) -> int | None:
        """The axis of samples in a new shape; what mixes samples is remembered."""
        found, mixed = reshaped(before, after, axis, self.count)
        if mixed:
            self.mixed.setdefault(place, (tuple(before), tuple(after)))
        return found
