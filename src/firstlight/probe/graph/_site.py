"""Site: one measured place in a traced forward, and the links along which theory walks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from firstlight.files.plain_data import Record
from firstlight.probe.graph._expression import IDENTITY, Expression

# Rows, the latest ones, that a step without a row of its own is linked to: a table may have dozens of columns.
NEAREST = 64


@dataclass(eq=False, frozen=True)
class Link:
    """``target`` read ``expression(source)`` as its input, which has the row ``via`` if φ is not linear."""

    source: Site
    target: Site
    expression: Expression
    via: Site | None = None


@dataclass(eq=False)
class Weight:
    """What theory needs of the weight behind a site.

    ``square`` is E w² and ``mean`` is E w over the entries; ``coverage`` is the share of taps that padding
    leaves on the image (1 for a dense layer), and ``idle_taps`` tells whether some tap meets only padding; ``fan_in``
    counts the weights that reach one output entry.
    """

    names: tuple[str, ...]
    parameters: tuple[Tensor, ...]
    shape: tuple[int, ...]
    fan_in: float = float("nan")
    square: float = float("nan")
    mean: float = 0.0
    bias_square: float = 0.0
    coverage: float = 1.0
    idle_taps: bool = False
    values: Record = field(default_factory=dict)

    @property
    def sigma_w_squared(self) -> float:
        """σ_w² = fan-in · E w², with the taps that fall on padding left out."""
        return self.fan_in * self.square * self.coverage


@dataclass(eq=False)
class Site:
    """One row in the making.

    ``unit`` is the axis of units, counted from the end. ``inputs`` and ``consumers`` are the links whose
    law is known; ``opaque`` counts the uses that theory cannot follow (pooling, concatenation, …).
    ``reads`` tells the moments of what came in: a weight layer's input, a sum's stream and branch.
    ``learned`` names the parameters that the row's operation read. ``echo`` marks a row that is a function of
    an earlier site, to which later rows are linked directly; ``rooted`` names the parameters of a row that
    depends on nothing else; ``axis`` is the axis of a softmax.
    """

    index: int
    name: str
    kind: str
    op: str
    shape: tuple[int, ...]
    unit: int
    depth: int
    parents: tuple[Site, ...] = ()
    inputs: list[Link] = field(default_factory=list)
    consumers: list[Link] = field(default_factory=list)
    opaque: int = 0
    values: Record = field(default_factory=dict)
    weight: Weight | None = None
    retracted: bool = False
    rows: Tensor | None = None
    entries: int = 0
    log_square: float = float("nan")
    row_squares: NDArray[np.float64] | None = None
    row_means: NDArray[np.float64] | None = None
    reads: tuple[Moments, ...] = ()
    learned: tuple[str, ...] = ()
    echo: bool = False
    watched: bool = False
    rooted: tuple[str, ...] = ()
    axis: Any = None

    def join(self, source: Site, expression: Expression, via: Site | None = None) -> None:
        """Record that this site reads ``expression(source)``."""
        link = Link(source, self, expression, via)
        self.inputs.append(link)
        source.consumers.append(link)


# Second moment and mean: of a row that will have been measured by the time they are asked for, or as numbers.
Moments = Site | tuple[float, float]


def moments_of(source: Moments) -> tuple[float, float]:
    """Second moment and mean, once the pass is over."""
    if isinstance(source, Site):
        return source.values["q"], source.values["mean"]
    return source


@dataclass(eq=False, frozen=True)
class Origin:
    """Where a tensor came from: ``expression(site)``, or something opaque below ``ancestors``.

    ``arrangement`` is shared by tensors whose entries stand in the same order, so that products of
    two functions of one site are still element-wise. ``parameters`` names a tensor made of nothing else.
    ``call`` is the number of the module's call that made it. ``quiet`` marks what counts as a constant until a
    layer reads it: integer inputs (``pending`` is the input's name) and integers made of signals. ``blind``
    marks what was made without gradient. ``batch`` is the axis of samples, None where it is not known.
    """

    site: Site | None = None
    expression: Expression = IDENTITY
    ancestors: tuple[Site, ...] = ()
    unit: int = -1
    arrangement: object = None
    path: str = ""
    label: str = ""
    row: Site | None = None
    parameters: tuple[str, ...] = ()
    call: int = 0
    quiet: bool = False
    pending: str = ""
    blind: bool = False
    batch: int | None = 0

    @property
    def plain(self) -> bool:
        """Whether the tensor is the site's own, rearranged at most."""
        return self.site is not None and self.expression.linear and self.expression.gain == 1.0

    @property
    def sites(self) -> tuple[Site, ...]:
        """The nearest measured sites upstream."""
        return (self.site,) if self.site is not None else self.ancestors

    @property
    def nearest(self) -> tuple[Site, ...]:
        """The rows that the tensor itself has, else the nearest measured sites upstream."""
        return (self.row,) if self.row is not None else self.sites

    @property
    def rooted(self) -> tuple[str, ...]:
        """Parameters of a tensor that depends on nothing else, also where layers were run on them."""
        if self.parameters:
            return self.parameters
        if not self.sites or any(not site.rooted for site in self.sites):
            return ()
        return tuple(dict.fromkeys(name for site in self.sites for name in site.rooted))


def meet(first: tuple[Site, ...], second: tuple[Site, ...], limit: int = 256) -> bool:
    """Whether two sets of sites share an ancestor, looking at no more than ``limit`` sites of each."""
    return bool(_upstream(first, limit) & _upstream(second, limit))


def _upstream(start: tuple[Site, ...], limit: int) -> set[int]:
    seen: set[int] = set()
    level = {site.index: site for site in start}
    while level and len(seen) < limit:
        seen.update(level)
        level = {p.index: p for site in level.values() for p in site.parents if p.index not in seen}
    return seen
