"""The spectral condition: weights and learning rates whose effect does not depend on the width."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from firstlight.recipes.recipe import Draft, Need, Recipe


@dataclass(frozen=True)
class Spectral(Recipe):
    r"""Maximal-update parametrisation: ‖W‖ and ‖ΔW‖ of the order √(n_out/n_in) in every layer.

    .. math:: σ = n_{in}^{-1/2} \min\big(1, \sqrt{n_{out}/n_{in}}\big), \qquad
        η ∝ n_{out}/n_{in} \text{ (SGD)}, \quad η ∝ 1/n_{in} \text{ (Adam)}

    The learning rates are factors: `Written.parameter_groups` makes groups for an optimiser of them. A bias is a layer
    with one input.

    Attributes
    ----------
    optimiser
        ``"sgd"`` or ``"adam"``.
    base
        Width at which Adam's rate is as it is given.
    """

    optimiser: Literal["sgd", "adam"] = "sgd"
    base: int = 64
    word: ClassVar[str] = "spectral"
    purpose: ClassVar[str] = "models of several widths that share one learning rate (µP)"
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    changes: ClassVar[tuple[str, ...]] = ("weights", "biases", "learning rates")
    source: ClassVar[str] = (
        "Yang, Simon & Bernstein, A spectral condition for feature learning, 2023 (catalogue 43)"
    )

    def draft(self, draft: Draft) -> None:
        """Every weight, with a factor on its learning rate."""
        for slot in draft.blueprint.slots:
            if slot.kind == "embedding":
                draft.draw(slot, 1.0, "one row is read at a time")
                draft.rate(slot.name, float(slot.fan_out) if self.optimiser == "sgd" else 1.0)
                continue
            ratio = slot.fan_out / slot.fan_in
            draft.draw(slot, min(1.0, math.sqrt(ratio)), f"spectral norm of the order √{ratio:.4g}")
            names = [name for name, _ in draft.values[slot.name].tensors] if slot.name in draft.values else []
            first = slot.reads == "input"
            draft.rate(names, ratio if self.optimiser == "sgd" else 1.0 if first else self.base / slot.fan_in)
            if slot.bias in draft.values and self.optimiser == "sgd":
                draft.rate(slot.bias, float(slot.fan_out))
