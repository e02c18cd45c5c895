"""Starts that are larger than usual on purpose: the output's scale, and the scale of all weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from firstlight.errors import DomainError
from firstlight.recipes.laws.defaults import TorchDefault
from firstlight.recipes.laws.fans import Glorot, He, LeCun
from firstlight.recipes.recipe import Draft, Need, Recipe

Start = Literal["torch-default", "glorot", "he", "lecun"]
_STARTS: dict[Start, type[Recipe]] = {
    "torch-default": TorchDefault,
    "glorot": Glorot,
    "he": He,
    "lecun": LeCun,
}


def _times(draft: Draft, names: set[str], alpha: float, what: str) -> None:
    """Multiply drafted values, without drawing new ones."""
    for name, value in draft.values.items():
        if name in names:
            tensors = tuple((key, tensor * alpha) for key, tensor in value.tensors)
            draft.values[name] = replace(value, tensors=tensors, why=f"{value.why}, times {alpha:g}: {what}")


@dataclass(frozen=True)
class Amplified(Recipe):
    """A start times a factor.

    Attributes
    ----------
    alpha
        The factor α, above 0.
    start
        What is drawn before.

    Raises
    ------
    DomainError
        A factor that is not above 0.
    """

    alpha: float = 4.0
    start: Start = "torch-default"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise DomainError(
                f"while making the recipe {self.word}: expected a finite factor α > 0, got {self.alpha}"
            )


@dataclass(frozen=True)
class OutputScale(Amplified):
    r"""The output times α and learning rates times 1/α²: large α trains lazily, small α learns features.

    .. math:: f \mapsto α f, \qquad η \mapsto η/α^2, \qquad \frac{‖W(t) - W(0)‖}{‖W(0)‖} = O(1/α)

    The readouts' weights and biases carry the factor. The theory holds for an output that is 0 at the start: subtract
    the first output, or train a mirrored pair of networks.
    """

    alpha: float = 1.0
    word: ClassVar[str] = "output-scale"
    purpose: ClassVar[str] = "a choice between lazy training (α > 1) and rich features (α < 1)"
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    changes: ClassVar[tuple[str, ...]] = ("weights", "biases", "learning rates")
    source: ClassVar[str] = (
        "Chizat, Oyallon & Bach, On lazy training in differentiable programming, 2019 (catalogue 53)"
    )

    def draft(self, draft: Draft) -> None:
        """The start, its readouts multiplied."""
        _STARTS[self.start]().draft(draft)
        heads = [slot for slot in draft.blueprint.slots if slot.readout]
        if not heads:
            draft.refuse(
                "a layer that no other weight reads", "none", "give a batch, so that the readout is seen"
            )
        _times(
            draft,
            {name for slot in heads for name in (slot.name, slot.bias)},
            self.alpha,
            "the output's scale",
        )
        names = [key for value in draft.values.values() for key, _ in value.tensors]
        draft.rate(names, self.alpha**-2)


@dataclass(frozen=True)
class WeightScale(Amplified):
    """Every weight of a start times α: with large α a network fits its data first and generalises late (grokking)."""

    word: ClassVar[str] = "weight-scale"
    purpose: ClassVar[str] = "experiments on late generalisation: the norm of the start decides"
    source: ClassVar[str] = "Liu, Michaud & Tegmark, Omnigrok, 2023 (catalogue 83)"

    def draft(self, draft: Draft) -> None:
        """The start, its weights multiplied."""
        _STARTS[self.start]().draft(draft)
        _times(draft, {slot.name for slot in draft.blueprint.slots}, self.alpha, "the scale of all weights")
