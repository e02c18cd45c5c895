"""A figure of Meterez et al. (ICLR 2024): tidy rows, and how they are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from firstlight.files.plain_data import Plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CITATION = (
    "Meterez, Joudaki, Orabona, Immer, Rätsch, Daneshmand: Towards Training Without Depth Limits: Batch "
    "Normalization Without Gradient Explosion. ICLR 2024, arXiv 2310.02012."
)
Row = Mapping[str, Plain]


@dataclass(frozen=True)
class Figure:
    """The data of a figure and how to read it.

    Attributes
    ----------
    name, caption
        Which figure, and what it shows.
    rows
        One mapping per observation.
    x, y, hue
        Which columns are drawn: across, up, and one line for each value of ``hue``.
    scales
        Scale of the two axes, ``"linear"`` or ``"log"``.
    facts
        Sizes it was made with.
    """

    name: str
    caption: str
    rows: tuple[Row, ...]
    x: str
    y: str
    hue: str
    scales: tuple[str, str] = ("linear", "linear")
    facts: Mapping[str, object] = field(default_factory=dict)

    def lines(self) -> dict[str, tuple[list[float], list[float]]]:
        """Mean of y at every x, one line for each value of ``hue``."""
        grouped: dict[str, dict[float, list[float]]] = {}
        for row in self.rows:
            grouped.setdefault(str(row[self.hue]), {}).setdefault(float(row[self.x]), []).append(row[self.y])
        return {
            label: (sorted(at), [sum(at[x]) / len(at[x]) for x in sorted(at)])
            for label, at in grouped.items()
        }

    def draw(self, axes: Axes | None = None) -> Axes:
        """Draw with matplotlib, on these axes or new ones; returns the axes."""
        from matplotlib import pyplot

        if axes is None:
            _, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
        styles = ("-", "--", ":", "-.")
        for index, (label, (x, y)) in enumerate(self.lines().items()):
            axes.plot(x, y, styles[index % 4], label=label)
        axes.set(xlabel=self.x, ylabel=self.y, xscale=self.scales[0], yscale=self.scales[1], title=self.name)
        axes.legend(title=self.hue)
        return axes
