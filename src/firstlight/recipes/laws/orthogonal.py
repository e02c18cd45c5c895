"""Haar-orthogonal matrices and delta-orthogonal kernels at a scale that suits what follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from firstlight.recipes.laws.critical import critical_point
from firstlight.recipes.recipe import Draft, Need, Recipe


@dataclass(frozen=True)
class Orthogonal(Recipe):
    r"""Haar-orthogonal weights: :math:`W^T W = σ_w^2 I`, delta-orthogonal kernels for convolutions.

    A kernel holds its matrix in the middle tap; with a stride s over the middle s taps, which do not overlap; with
    groups one matrix a group; a layer that has fewer outputs than inputs keeps the span of its rows. Stacked queries,
    keys and values and the gates of recurrent layers are matrices of their own. A bare parameter is drawn normal.

    Attributes
    ----------
    gain
        σ_w of every weight; None for the edge of chaos of the activation that it reads.
    """

    gain: float | None = None
    word: ClassVar[str] = "orthogonal"
    purpose: ClassVar[str] = (
        "deep networks: all singular values of a layer equal; with smooth activations isometry"
    )
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    source: ClassVar[str] = "Saxe et al., ICLR 2014; Xiao et al., ICML 2018 (catalogue 30)"

    def draft(self, draft: Draft) -> None:
        """Every weight but tables of embeddings."""
        for slot in draft.blueprint.slots:
            if slot.kind == "embedding":
                draft.draw(slot, 1.0, "one row is read at a time")
                continue
            sigma_w, sigma_b, why = critical_point(slot, draft.blueprint)
            if self.gain is not None:
                sigma_w, sigma_b, why = self.gain, 0.0, "as asked for"
            draft.draw(slot, sigma_w, why, law="orthogonal", sigma_b=sigma_b)
