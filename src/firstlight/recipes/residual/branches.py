"""Residual branches that begin at zero or small: Fixup, SkipInit, ReZero."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from firstlight.recipes.laws.fans import Law
from firstlight.recipes.layout.blueprint import Branch
from firstlight.recipes.layout.slots import Slot
from firstlight.recipes.recipe import Draft, Need, Recipe


def require_branches(draft: Draft) -> tuple[Branch, ...]:
    """The residual branches of a model.

    Raises
    ------
    DomainError
        The model has none.
    """
    if not draft.blueprint.branches:
        draft.refuse("residual branches", "a model without one", "use critical, orthogonal or looks-linear")
    return draft.blueprint.branches


def in_branch(draft: Draft, number: int) -> Iterator[Slot]:
    """The writable weights of one branch in the order of execution."""
    return (slot for slot in draft.blueprint.slots if slot.branch == number)


@dataclass(frozen=True)
class Fixup(Recipe):
    r"""He's weights, with the last weight of each branch zero and the m − 1 others of a branch times L^{−1/(2m−2)}.

    The readout is zero too, unless it is a table as well, and so are biases. A step of SGD then changes the output by
    an amount that does not grow with the number L of branches, without any normaliser. Learned factors of branches
    become 1; for a branch without one the recipe names the line that the code needs.

    Attributes
    ----------
    depth
        L, the number of branches; ``"auto"`` counts them.
    readout
        Whether the last weight of the network is zero.
    """

    depth: int | Literal["auto"] = "auto"
    readout: bool = True
    word: ClassVar[str] = "fixup"
    purpose: ClassVar[str] = "deep residual networks without normalisers"
    needs: ClassVar[tuple[Need, ...]] = ("graph", "batch")
    source: ClassVar[str] = "Zhang, Dauphin & Ma, ICLR 2019"

    def draft(self, draft: Draft) -> None:
        """Every weight."""
        branches = require_branches(draft)
        count = len(branches) if self.depth == "auto" else self.depth
        for slot in draft.blueprint.slots:
            if slot.kind == "embedding":
                draft.draw(slot, 1.0, "one row is read at a time")
            elif slot.ends_branch or (slot.readout and self.readout and not slot.tied):
                place = "ends a branch" if slot.ends_branch else "the readout"
                draft.put(slot, torch.zeros(slot.weight.shape), f"zeros: {place}")
                draft.shift(slot, 0.0)
            elif slot.branch >= 0:
                weights = len(branches[slot.branch].weights)
                factor = count ** (-1.0 / (2 * weights - 2)) if weights > 1 else 1.0
                draft.draw(slot, math.sqrt(2.0) * factor, f"He times {count}^(−1/{2 * weights - 2})")
            else:
                draft.draw(slot, math.sqrt(2.0), "He, on the stream")
        for branch in branches:
            if not own_factor(draft, branch, 1.0, "a factor of 1, as Fixup has") and branch.ends:
                said = "x + scale * branch(x + shift), with scalar parameters scale = 1 and shift = 0"
                draft.leave(f"the branch that ends in {branch.ends[-1]}", f"for Fixup's scalars write {said}")


@dataclass(frozen=True)
class SkipInit(Recipe):
    """Every branch times a small number at its end: a learned factor where the model has one, else the last weight.

    Attributes
    ----------
    factor
        0 as in the paper, a number, or ``"depth"`` for 1/√L with L branches, which keeps the stream within a factor e.
    law
        Law of the weights, with He's scale.
    """

    factor: float | Literal["depth"] = 0.0
    law: Law = "normal"
    word: ClassVar[str] = "skipinit"
    purpose: ClassVar[str] = "residual networks without normalisers: each block starts as the identity"
    needs: ClassVar[tuple[Need, ...]] = ("graph", "batch")
    changes: ClassVar[tuple[str, ...]] = ("weights", "biases", "gains")
    source: ClassVar[str] = "De & Smith, NeurIPS 2020"

    def draft(self, draft: Draft) -> None:
        """Every weight, and the factors at the ends of branches."""
        branches = require_branches(draft)
        factor = 1.0 / math.sqrt(len(branches)) if self.factor == "depth" else float(self.factor)
        draft.draw_each(lambda slot: (math.sqrt(2.0), "He"), law=self.law)
        for number, branch in enumerate(branches):
            end_branch(draft, number, branch, factor)


@dataclass(frozen=True)
class ReZero(Recipe):
    """Glorot's weights, and a learned factor of 0 at each branch's end, so that the network starts as the identity.

    A model without such factors gets zero gains of the normaliser at the branch's end, or zero last weights.
    """

    word: ClassVar[str] = "rezero"
    purpose: ClassVar[str] = (
        "very deep residual networks and transformers: dynamical isometry from the identity"
    )
    needs: ClassVar[tuple[Need, ...]] = ("graph", "batch")
    changes: ClassVar[tuple[str, ...]] = ("weights", "biases", "gains")
    source: ClassVar[str] = "Bachlechner et al., UAI 2021"

    def draft(self, draft: Draft) -> None:
        """Every weight, and the factors at the ends of branches."""
        branches = require_branches(draft)
        draft.draw_each(lambda s: (math.sqrt(2 * s.fan_in / (s.fan_in + s.fan_out)), "Glorot"), law="uniform")
        for number, branch in enumerate(branches):
            end_branch(draft, number, branch, 0.0)


def own_factor(draft: Draft, branch: Branch, factor: float, said: str) -> bool:
    """Draft the last factor of a branch, learned or a number of the code; False where the branch has none."""
    known = dict(draft.blueprint.model.named_parameters())
    if not branch.scalars or branch.scalars[-1] not in known:
        return factor != 0 and draft.number((branch.row, branch.end), factor, said)
    draft.set(branch.scalars[-1], torch.tensor(factor), said)
    return True


def end_branch(draft: Draft, number: int, branch: Branch, factor: float) -> None:
    """Multiply what a branch gives by a factor, where the model lets a parameter do this."""
    said = f"{factor:.4g} at the branch's end"
    if own_factor(draft, branch, factor, said):
        return
    if branch.ends_with_norm and branch.norms:
        gain = f"{branch.norms[-1]}.weight"
        if gain in dict(draft.blueprint.model.named_parameters()):
            draft.set(gain, torch.tensor(factor), said)
            return
    for slot in in_branch(draft, number):
        if slot.ends_branch and slot.name in draft.values:
            value = draft.values[slot.name]
            weight = torch.zeros(slot.weight.shape) if factor == 0 else None
            if weight is None and len(value.tensors) == 1:
                weight = value.tensors[0][1] * factor
            if weight is not None:
                draft.put(slot, weight, f"{value.why}, times {said}")
