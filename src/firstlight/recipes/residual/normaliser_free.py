"""Scaled weight standardisation of normaliser-free networks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from firstlight import activations
from firstlight.recipes.draws import weights
from firstlight.recipes.layout.blueprint import Branch
from firstlight.recipes.layout.slots import Slot
from firstlight.recipes.recipe import Draft, Need, Recipe
from firstlight.recipes.residual.branches import own_factor


@dataclass(frozen=True)
class NormaliserFree(Recipe):
    r"""Every unit's weights centred and brought to one norm, with the gain of the activation that they read.

    .. math:: \hat W_{ij} = γ\,\frac{W_{ij} - μ_i}{σ_i \sqrt N}, \qquad γ = 1/\sqrt{\operatorname{Var} φ(G)}

    γ is 1.71286 for ReLU, 1.7872 for SiLU, 1.7009 for GELU, 1.5925 for tanh, 1.5920 for Mish. Weights without a mean
    remove the activation's mean, so a branch keeps variance 1 where its input is divided by its deviation β. The
    recipe writes α where a branch has a learned factor, and sets α and β where the code holds them as numbers of its
    modules. Otherwise the recipe names the line that the code needs for each branch: β_k = √(1 + k α²) in front of
    branch k.

    Attributes
    ----------
    alpha
        α.
    """

    alpha: float = 0.2

    word: ClassVar[str] = "normaliser-free"
    purpose: ClassVar[str] = "residual convolutional networks without batch norm"
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    source: ClassVar[str] = "Brock, De & Smith, ICLR 2021 (catalogue 33)"

    def draft(self, draft: Draft) -> None:
        """Every weight; biases are zero."""
        for slot in draft.blueprint.slots:
            if slot.kind in ("embedding", "bare"):
                draft.draw(slot, 1.0, "no units to standardise")
                continue
            gain, why = 1.0, "reads no activation"
            if slot.reads == "activation" and slot.phi is not None:
                phi = at_unit_variance(slot)
                gain, why = activations.gain(phi, centred=True), f"gain of {phi.name}"
            value = standardised(slot, weights(slot, 1.0, draft.generator)) * (gain / math.sqrt(slot.fan_in))
            if draft.put(slot, value, f"standardised unit by unit, γ = {gain:.6g}: {why}"):
                draft.shift(slot, 0.0)
        self._factors(draft)

    def _factors(self, draft: Draft) -> None:
        """α and β of every branch: written, found in the code, or named."""
        slots = {slot.name: slot for slot in draft.blueprint.slots}
        branches = draft.blueprint.branches
        said = f"α = {self.alpha:g} at the branch's end"
        scaled = [
            _has_factor(draft, b, self.alpha) or own_factor(draft, b, self.alpha, said) for b in branches
        ]
        for k, (branch, written) in enumerate(zip(branches, scaled, strict=True)):
            beta = math.sqrt(1 + k * self.alpha**2)
            divided = k == 0 or any(slots[n].phi_scale != 1.0 for n in branch.weights if n in slots)
            # β belongs to the α of every branch in front: where the code keeps another α, its β stays too
            divided = (all(scaled) and _divided(draft, branch, beta)) or divided
            needed = "branch(x)" if divided else f"branch(x / {beta:.6g})"
            if not (written and divided) and branch.ends:
                line = f"x + {needed}" if written else f"x + {self.alpha:g} * {needed}"
                draft.leave(f"the branch that ends in {branch.ends[-1]}", f"write {line} in its code")


def _has_factor(draft: Draft, branch: Branch, alpha: float) -> bool:
    """Whether the code multiplies what a branch gives by α by now, without a factor that a parameter holds."""
    seen = draft.blueprint.structure
    if seen is None or branch.row < 0 or branch.scalars:
        return False
    return abs(seen.factors.get(branch.row, {}).get(branch.end, 1.0) - alpha) <= 1e-6 * abs(alpha)


def _divided(draft: Draft, branch: Branch, beta: float) -> bool:
    """Set the number by which the code divides what a branch reads."""
    inside = set(branch.inside)
    entries = [place for place in draft.constants if place[0] in inside and place[1] not in inside]
    said = f"β = {beta:.6g} in front of the branch"
    return sum(draft.number(place, 1.0 / beta, said, among=entries) for place in entries) > 0


def at_unit_variance(slot: Slot) -> activations.Activation:
    """φ on the argument that the model gives it: where the model computes φ(z/β), φ itself."""
    known = slot.phi
    assert known is not None
    if slot.phi_scale == 1.0:
        return known
    return activations.from_callable(
        lambda u: known(u / slot.phi_scale), name=f"{known.name} of a scaled signal"
    )


def standardised(slot: Slot, weight: Tensor) -> Tensor:
    """Each output unit's weights with mean 0 and mean square 1."""
    rows = weight.transpose(0, 1) if slot.inputs_first and slot.groups == 1 else weight
    flat = rows.flatten(1).double()
    flat = flat - flat.mean(1, keepdim=True)
    flat = flat / flat.square().mean(1, keepdim=True).sqrt().clamp_min(1e-30)
    shaped = flat.view(rows.shape)
    return shaped.transpose(0, 1) if slot.inputs_first and slot.groups == 1 else shaped
