"""Small layers: hidden layers that start far smaller than the others, get gradients of the usual size, and grow."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from firstlight.diagnosis._loops import reached

# Share of the median σ_w under which a hidden layer counts as small.
SMALL = 0.1


def held_back(
    rows: Sequence[int],
    small: Collection[int],
    sigma: np.ndarray,
    usual: float,
    ways: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]],
) -> np.ndarray:
    r"""Ln of the factor by which small layers hold back the gradient of every weight row in front of them.

    A layer on a scale of :math:`σ` in place of :math:`σ_0` multiplies the gradients below it by
    :math:`σ/σ_0`, until it has grown. Rows that reach an output by a way around the layer are left as they are.

    Parameters
    ----------
    rows
        Numbers of the weight rows.
    small
        Those of the small layers among them.
    sigma
        σ_w of the weight rows.
    usual
        The scale that the small layers are taken to grow to.
    ways
        For every row the rows that it reads, and the rows that read it.

    Examples
    --------
    >>> links, feeds = [(), (0,), (1,)], [(1,), (2,), ()]
    >>> held_back([0, 1, 2], [1], np.array([1.0, 0.01, 1.0]), 1.0, (links, feeds)).round(3).tolist()
    [4.605, 0.0, 0.0]
    """
    links, feeds = ways
    found = np.zeros(len(rows))
    ends = [row for row, readers in enumerate(feeds) if not readers]
    for row in small:
        less = math.log(usual / sigma[list(rows).index(row)])
        without = [() if at == row else sources for at, sources in enumerate(links)]
        around = set().union(*(reached(end, without) for end in ends))
        below = reached(row, links) - around - {row}
        found += np.array([less if at in below else 0.0 for at in rows])
    return found
