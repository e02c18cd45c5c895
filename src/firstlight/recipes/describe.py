"""A recipe as fields of a `RandomNetwork`: the scales and laws that it would write, without a model to write into."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from firstlight.activations import Activation
from firstlight.errors import DomainError
from firstlight.recipes.layout.blueprint import Blueprint, Branch
from firstlight.recipes.layout.slots import Slot
from firstlight.recipes.recipe import Draft, Recipe
from firstlight.recipes.registry import get
from firstlight.weights import WeightLaw
from firstlight.weights import get as law_of


class _Recorded(Draft):
    """A draft that keeps laws and scales, and draws nothing."""

    def __init__(self, sheet: Blueprint) -> None:
        super().__init__(sheet, None)
        self.laws: dict[str, tuple[float, float, str | WeightLaw]] = {}

    def draw(
        self,
        slot: Slot,
        sigma_w: float,
        why: str = "",
        *,
        law: str | WeightLaw = "normal",
        sigma_b: float | None = 0.0,
    ) -> None:
        del why
        self.laws[slot.name] = (sigma_w, sigma_b or 0.0, law)

    def rate(self, names: object, factor: float) -> None:
        """A description has no learning rates."""


def described(
    recipe: str | Recipe,
    phi: Activation,
    widths: Sequence[int],
    *,
    in_features: int | None = None,
    taps: int = 1,
    residual: bool = False,
) -> dict[str, Any]:
    """``sigma_w``, ``sigma_b``, ``weight_law`` and ``first_layer`` of a network that starts by a recipe.

    The first layer's law holds the scale that the recipe gives the first weight. The first bias has σ_b as all others
    have, and the first weight is made smaller by that much, so that pre-activations have the second moment that the
    recipe asks for.

    Parameters
    ----------
    recipe
        A name or a recipe that gives each weight a law and a scale.
    phi, widths, in_features
        Of the network; the widths stand for the number of inputs where that is not known.
    taps
        Entries of a kernel; 1 for dense layers.
    residual
        Whether a skip path stands beside each layer after the first.

    Raises
    ------
    DomainError
        A recipe that writes more than a law and a scale, or other scales from layer to layer.

    Examples
    --------
    >>> from firstlight import activations
    >>> from firstlight.recipes import described
    >>> described("he", activations.get("relu"), (100, 100))["sigma_w"] ** 2
    2.0000000000000004
    """
    chosen = get(recipe)
    sizes = [in_features or widths[0], *widths]
    slots = tuple(
        _slot(layer, sizes[layer] * taps, sizes[layer + 1] * taps, phi, residual=residual)
        for layer in range(len(widths))
    )
    branches = tuple(Branch((s.name,), (s.name,)) for s in slots[1:]) if residual else ()
    kinds = frozenset({"input", "weight", "activation"})
    sheet = Blueprint(nn.Identity(), slots, (), branches, len(widths), known=True, kinds=kinds)
    record = _Recorded(sheet)
    if not {"batch", "loss"} & set(chosen.needs):
        try:
            chosen.draft(record)
        except (AttributeError, KeyError):  # it asks for tensors, and a description has no tensors
            record.laws.clear()
    if set(record.laws) != {slot.name for slot in slots}:
        raise DomainError(
            f"while describing a network by the recipe {chosen.word}: expected a recipe that gives each weight a law "
            "and a scale, got one that writes more; use critical, he or orthogonal, or give the scales yourself"
        )
    return _fields(chosen, [record.laws[slot.name] for slot in slots])


def _slot(layer: int, fan_in: int, fan_out: int, phi: Activation, *, residual: bool) -> Slot:
    inside = residual and layer > 0
    return Slot(
        f"{layer + 1}.weight", nn.Identity(), "weight", "linear", fan_in, fan_out, row=layer + 1,
        reads="activation" if layer else "input", phi=phi if layer else None, branch=layer - 1 if inside else -1,
        ends_branch=inside,
    )  # fmt: skip


def _fields(recipe: Recipe, laws: Sequence[tuple[float, float, str | WeightLaw]]) -> dict[str, Any]:
    first, later = laws[0], list(laws[1:]) or [laws[0]]
    sigma_w, sigma_b, law = later[0]
    # widths may differ from layer to layer, and with them a scale that follows fan-out
    if any(abs(w - sigma_w) > 1e-9 * sigma_w or abs(b - sigma_b) > 1e-9 for w, b, _ in later):
        raise DomainError(
            f"while describing a network by the recipe {recipe.word}: expected one scale for all layers, got σ_w from "
            f"{min(w for w, _, _ in later):.4g} to {max(w for w, _, _ in later):.4g}; give layers of one width"
        )
    unit = math.sqrt(law_of(law).variance)
    opening = law_of(first[2])
    share = math.sqrt(max(first[0] ** 2 - sigma_b**2 + first[1] ** 2, 0.0) / opening.variance) / (
        sigma_w / unit
    )
    word = opening.spelling
    scaled: object = opening.scaled(share) if word is None else f"{share!r} * {word}"
    return {
        "sigma_w": sigma_w / unit,
        "sigma_b": sigma_b,
        "weight_law": law,
        "first_layer": word if word is not None and abs(share - 1.0) < 1e-12 else scaled,
    }
