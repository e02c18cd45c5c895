"""Sparse networks that stay critical: thresholds with a clip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from firstlight import activations
from firstlight.recipes.layout.slots import Slot
from firstlight.recipes.recipe import Draft, Need, Recipe
from firstlight.recipes.scales import usual_moment
from firstlight.theory import sparse_tuning


@dataclass(frozen=True)
class Sparse(Recipe):
    r"""Scales at which a given share of units is zero, q = 1 is stationary and χ₁ = 1, for clipped thresholds.

    .. math:: σ_w^2 = 1/E φ'(G)^2, \qquad σ_b^2 = 1 - σ_w^2\, E φ(G)^2

    The activation is part of the model: the recipe refuses another one than CReLU or CST with the threshold and clip
    that the share asks for, and says which.

    Attributes
    ----------
    sparsity
        Share of zeros, in (0, 1).
    slope
        V'(1) that the clip gives, in (0, 1); None for no clip.
    """

    sparsity: float = 0.85
    slope: float | None = 0.5
    word: ClassVar[str] = "sparse"
    purpose: ClassVar[str] = "deep networks of CReLU or CST in which a chosen share of units is zero"
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    source: ClassVar[str] = "Price, Adam & Tanner, ICLR 2024 (catalogue 5)"

    def draft(self, draft: Draft) -> None:
        """Every weight and bias."""
        tunings = [sparse_tuning(kind, sparsity=self.sparsity, slope=self.slope) for kind in ("crelu", "cst")]
        wanted = {t.activation: (t, activations.moments(activations.get(t.activation), 1.0)) for t in tunings}

        def tuning(slot: Slot) -> tuple[float, float, str]:
            if slot.reads != "activation" or slot.phi is None:
                q = usual_moment(slot.q_in) if slot.reads == "input" else 1.0
                return 1.0 / math.sqrt(q), 0.0, f"inputs of q = {q:.3g} to q = 1"
            m = activations.moments(slot.phi, 1.0)
            near = [
                (name, found)
                for name, (found, there) in wanted.items()
                if abs(float(m.second - there.second)) + abs(float(m.slope - there.slope)) < 1e-5
            ]
            if not near:
                draft.refuse(
                    f"the activation {' or '.join(wanted)} for a share {self.sparsity:g} of zeros",
                    slot.phi.name,
                    "build the model with firstlight.builders.activation_module of that name",
                )
            name, found = near[0]
            return (
                found.sigma_w,
                found.sigma_b,
                f"{name.partition('(')[0]} with a share {self.sparsity:g} of zeros",
            )

        for slot in draft.blueprint.slots:
            if slot.kind == "embedding":
                draft.draw(slot, 1.0, "one row is read at a time")
                continue
            sigma_w, sigma_b, why = tuning(slot)
            draft.draw(slot, sigma_w, why, sigma_b=sigma_b)
