"""Starts by fan-in and fan-out alone: Glorot, He, LeCun."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from firstlight.recipes.layout.slots import Slot
from firstlight.recipes.recipe import Draft, Recipe

Law = Literal["normal", "uniform", "orthogonal"]


@dataclass(frozen=True)
class Glorot(Recipe):
    r"""Variance 2/(fan-in + fan-out): signals forward and gradients backward keep their size together, if linear.

    .. math:: σ_w^2 = \frac{2\,n_{in}}{n_{in} + n_{out}}

    Attributes
    ----------
    law
        ``"uniform"`` as in the paper, ``"normal"`` or ``"orthogonal"``.
    """

    law: Law = "uniform"
    word: ClassVar[str] = "glorot"
    purpose: ClassVar[str] = "linear, tanh and attention layers: forward and backward variance in balance"
    source: ClassVar[str] = "Glorot & Bengio, AISTATS 2010"

    def draft(self, draft: Draft) -> None:
        """Every weight."""
        draft.draw_each(
            lambda s: (math.sqrt(2 * s.fan_in / (s.fan_in + s.fan_out)), f"fans {s.fan_in} and {s.fan_out}"),
            law=self.law,
        )


@dataclass(frozen=True)
class He(Recipe):
    r"""Variance 2/fan: a ReLU layer keeps the second moment of its input (or of its gradient).

    Attributes
    ----------
    law
        ``"normal"`` as in the paper, ``"uniform"`` or ``"orthogonal"``.
    mode
        ``"fan-in"`` keeps signals, ``"fan-out"`` gradients.
    """

    law: Law = "normal"
    mode: Literal["fan-in", "fan-out"] = "fan-in"
    word: ClassVar[str] = "he"
    purpose: ClassVar[str] = "ReLU networks: the second moment is kept from layer to layer"
    source: ClassVar[str] = "He, Zhang, Ren & Sun, ICCV 2015"

    def draft(self, draft: Draft) -> None:
        """Every weight."""

        def scale(slot: Slot) -> tuple[float, str]:
            fan = slot.fan_in if self.mode == "fan-in" else slot.fan_out
            return math.sqrt(2 * slot.fan_in / fan), f"variance 2/{fan}"

        draft.draw_each(scale, law=self.law)


@dataclass(frozen=True)
class LeCun(Recipe):
    """Variance 1/fan-in: pre-activations have the second moment of what the layer reads.

    Attributes
    ----------
    law
        ``"normal"``, ``"uniform"`` or ``"orthogonal"``.
    """

    law: Law = "normal"
    word: ClassVar[str] = "lecun"
    purpose: ClassVar[str] = "SELU and linear layers, layers behind a normaliser"
    source: ClassVar[str] = "LeCun, Bottou, Orr & Müller, Efficient BackProp, 1998"

    def draft(self, draft: Draft) -> None:
        """Every weight."""
        draft.draw_each(lambda slot: (1.0, f"variance 1/{slot.fan_in}"), law=self.law)
