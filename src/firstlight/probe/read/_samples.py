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
    another axis stands in the place of the samples' axis. There are three cases. The first axis of the new shape has as
    many entries as there are samples, and samples stood elsewhere. The axes were exchanged: their sizes were written
    in another order. Or samples came first, and the first axis of the new shape takes a part of a sample.

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
    >>> reshaped((32, 6, 32), (6, 32, 32), 0, 32)
    (None, True)
    """
    if count < 2 or axis >= len(before) or before[axis] != count:
        return None, False
    ahead = math.prod(before[:axis])
    for place, size in enumerate(after):
        if size == count and math.prod(after[:place]) == ahead:
            return place, False
    if list(before).count(count) > 1:
        # with another axis of the same size only a cut through a sample is certain
        first = after[0] if after else 1
        return None, (axis == 0 and _torn(first, count)) or (ahead > 1 and first == count)
    exchanged = sorted(before) == sorted(after) and list(after).count(count) == 1
    return None, exchanged or (ahead > 1 and len(after) > 0 and after[0] == count)


def _torn(first: int, count: int) -> bool:
    """Whether a first axis of this size takes parts of samples: neither several of them, nor one as several."""
    return first % count != 0 and count % max(first, 1) != 0


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
    >>> samples.follow("fold", (32, 6, 8), (192, 8), 0), samples.follow("unfold", (192, 4), (6, 32, 4), 0)
    (0, None)
    >>> list(samples.mixed)
    ['head', 'unfold']
    """

    def __init__(self) -> None:
        self.count = 0
        # layers that take the axis of samples for that of time, with the shape that each read, and the axis
        self.along: dict[str, tuple[tuple[int, ...], int]] = {}
        self.mixed: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        # softmaxes over the axis of samples, with the shape
        self.weighed: dict[str, tuple[int, ...]] = {}
        # rows of a table that were added sample by sample, with the shapes of the sum's two terms
        self.placed: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        # root mean squares of constants that are the same for all samples, by the row that they are added to
        self.beside: dict[int, float] = {}
        # lengths of first axes that hold samples and steps together, with the place of the samples among the two
        self._folds: dict[int, set[int]] = {}

    def enter(self, inputs: Iterable[Tensor]) -> None:
        """Count the samples of a batch; inputs that do not agree have no axis of samples."""
        sizes = {t.shape[0] if not t.is_nested and t.dim() else 0 for t in inputs}
        self.count = sizes.pop() if len(sizes) == 1 else 0

    def read_as_time(self, place: str, shape: Sequence[int], axis: int | None, time: int = 0) -> None:
        """Remember a layer that reads an axis, the first or the second, as time, where the samples stand on this axis.

        Another axis of one entry means one sequence of all samples, as in layers over sets; another axis as long as
        this one tells nothing.
        """
        if axis != time or len(shape) != 3:
            return
        if shape[time] == self.count and shape[1 - time] not in (1, self.count):
            self.along.setdefault(place, (tuple(shape), time))

    def weigh(self, place: str, shape: Sequence[int], axis: object) -> None:
        """Remember a softmax over the first axis, where it holds the samples."""
        if (
            isinstance(axis, int)
            and axis % max(len(shape), 1) == 0
            and len(shape) > 1
            and shape[0] == self.count > 1
        ):
            self.weighed.setdefault(place, tuple(shape))

    def follow(self, place: str, before: Sequence[int], after: Sequence[int], axis: int) -> int | None:
        """The axis of samples in a new shape; what mixes samples is remembered.

        Samples and steps may share the first axis for a while, sample by sample or step by step: what takes the axis
        apart in the other order mixes samples.
        """
        two = len(before) > 1 and axis < 2 and before[axis] == self.count != before[1 - axis] > 1
        if two and len(after) > 0 and after[0] == before[0] * before[1]:
            self._folds.setdefault(after[0], set()).add(axis)
            return 0
        found, mixed = reshaped(before, after, axis, self.count)
        order = self._folds.get(before[0], set()) if axis == 0 and before else set()
        if (
            len(order) == 1
            and len(after) > 1
            and after[0] * after[1] == before[0]
            and self.count in after[:2]
        ):
            (first,) = order
            found, mixed = (first, False) if after[first] == self.count else (None, True)
        if mixed:
            self.mixed.setdefault(place, (tuple(before), tuple(after)))
        return found
