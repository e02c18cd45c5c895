"""The edge of chaos of the activation that each weight really reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from firstlight import activations
from firstlight.recipes.laws.fans import Law
from firstlight.recipes.layout.blueprint import Blueprint
from firstlight.recipes.layout.slots import Slot
from firstlight.recipes.recipe import Draft, Need, Recipe
from firstlight.recipes.scales import critical_scales, usual_moment


@dataclass(frozen=True)
class Critical(Recipe):
    r"""Every weight on the edge of chaos, χ₁ = 1, of the activation that it reads; any callable.

    .. math:: σ_w^2\, E φ'(\sqrt q G)^2 = 1, \qquad σ_b^2 = q - σ_w^2\, E φ(\sqrt q G)^2

    The first weight brings its inputs to the q at which the next one is critical. A weight that reads a product with an
    activation (a gate) keeps the second moment. The last weight of each of L residual branches without a normaliser of
    its own is multiplied by 1/√L, so that the stream grows by (1 + 1/L)^L ≤ e over the whole depth.

    Attributes
    ----------
    law
        ``"normal"``, ``"uniform"`` or ``"orthogonal"``.
    """

    law: Law = "normal"
    word: ClassVar[str] = "critical"
    purpose: ClassVar[str] = "deep networks of any activation: gradients neither vanish nor explode"
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    source: ClassVar[str] = (
        "Poole et al., NeurIPS 2016; Schoenholz et al., ICLR 2017; Hayou et al., ICML 2019"
    )

    def draft(self, draft: Draft) -> None:
        """Every weight; the bias gets σ_b of the same point of the edge."""
        for slot in draft.blueprint.slots:
            if slot.kind == "embedding":
                draft.draw(slot, 1.0, "one row is read at a time")
                continue
            sigma_w, sigma_b, why = critical_point(slot, draft.blueprint)
            draft.draw(slot, sigma_w, why, law=self.law, sigma_b=sigma_b)


def critical_point(slot: Slot, sheet: Blueprint) -> tuple[float, float, str]:
    """σ_w, σ_b and the reason, on the edge of chaos of what a slot reads."""
    sigma_w, sigma_b, why = _point(slot, sheet)
    if slot.ends_branch and not sheet.branches[slot.branch].ends_with_norm:
        count = len(sheet.branches)
        return (
            sigma_w / math.sqrt(count),
            sigma_b / math.sqrt(count),
            f"{why}, times 1/√{count} at a branch's end",
        )
    return sigma_w, sigma_b, why


def _point(slot: Slot, sheet: Blueprint) -> tuple[float, float, str]:
    depth = sheet.depth
    if slot.reads == "activation" and slot.phi is not None:
        sigma_w, sigma_b, q = critical_scales(slot.phi, depth)
        return sigma_w, sigma_b, f"edge of chaos of {slot.phi.name} at q = {q:.3g}"
    if slot.reads == "gate":
        second = 1.0 if slot.phi is None else float(activations.second(slot.phi, 1.0))
        name = "a gate" if slot.phi is None else f"a gate of {slot.phi.name}"
        return 1.0 / math.sqrt(max(second, 1e-12)), 0.0, f"keeps the second moment of {name}"
    if slot.reads == "input" and slot.kind != "memory":
        later = next((s for s in sheet.slots if s.row > slot.row and s.phi is not None), slot)
        if not sheet.kinds or slot.row < 0:
            later = next((s for s in sheet.slots if s.phi is not None), slot)
        q, q_in = critical_scales(later.phi, depth)[2], usual_moment(slot.q_in)
        return math.sqrt(q / q_in), 0.0, f"inputs of q = {q_in:.3g} to q = {q:.3g}"
    return 1.0, 0.0, f"reads {_SPOKEN.get(slot.reads, 'what is not known')}"


_SPOKEN = {
    "norm": "a normaliser",
    "residual": "the stream",
    "attention": "attention",
    "embedding": "a table",
    "weight": "another weight",
    "recurrent": "a recurrent layer",
    "activation": "an activation that is not known",
    "input": "its own state",
}
