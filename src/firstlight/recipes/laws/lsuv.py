"""Layer-sequential unit variance: every layer's output brought to one second moment on a batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from firstlight.recipes.draws import weights
from firstlight.recipes.layout.copies import copy_of, run_forward
from firstlight.recipes.layout.slots import Slot
from firstlight.recipes.recipe import Draft, Need, Recipe


@dataclass(frozen=True)
class LSUV(Recipe):
    """Orthogonal weights, then each divided by the deviation of what the layer gives on the batch, in one forward pass.

    For activations and connections that no formula knows. Weights of modules without an output of their own
    (attention's projections, bare parameters, recurrent layers) keep the scale of the draw.

    Attributes
    ----------
    orthogonal
        Whether weights are drawn anew; if not, the weights that are there are scaled.
    """

    orthogonal: bool = True
    word: ClassVar[str] = "lsuv"
    purpose: ClassVar[str] = "any network, by measurement: every layer gives second moment 1 on the batch"
    needs: ClassVar[tuple[Need, ...]] = ("graph", "batch")
    source: ClassVar[str] = "Mishkin & Matas, ICLR 2016"

    def draft(self, draft: Draft) -> None:
        """Every weight; the scales come from one forward pass of a copy."""
        slots = [slot for slot in draft.blueprint.slots if slot.kind != "embedding"]
        drawn = {
            s.name: weights(s, 1.0, draft.generator, "orthogonal") if self.orthogonal else s.weight
            for s in slots
        }
        factors = _measured(draft, slots, drawn)
        for slot in slots:
            factor = factors.get(slot.name)
            if factor is None and not self.orthogonal:
                draft.leave(slot.name, "its module has no output of its own, or no batch came there")
                continue
            law = "Haar-orthogonal" if self.orthogonal else "as it was"
            why = f"{law}, times {factor:.4g} for q = 1 on the batch" if factor else law
            if draft.put(slot, drawn[slot.name] * (factor or 1.0), why):
                draft.shift(slot, 0.0)


def _measured(draft: Draft, slots: list[Slot], drawn: dict[str, Tensor]) -> dict[str, float]:
    """The factor of each weight, from one forward pass of a copy that is scaled as the signal passes."""
    model = copy_of(draft.blueprint.model)
    factors: dict[str, float] = {}
    modules = dict(model.named_modules())
    with torch.no_grad():
        for slot in slots:
            raw = slot.raw(drawn[slot.name])
            if isinstance(raw, str):
                continue
            for name, value in raw:
                model.get_parameter(name).copy_(value)
            if slot.bias:
                model.get_parameter(slot.bias).zero_()
    alone = [s for s in slots if s.key == "weight" and s.kind not in ("bare", "attention")]
    handles = [modules[s.layer].register_forward_hook(_scaler(s.name, factors)) for s in alone]
    try:
        run_forward(model, draft.batch)
    finally:
        for handle in handles:
            handle.remove()
    return factors


def _scaler(name: str, factors: dict[str, float]) -> Callable[[nn.Module, object, object], Tensor | None]:
    def scale(module: nn.Module, args: object, output: object) -> Tensor | None:
        if not isinstance(output, Tensor):
            return None
        if name not in factors:
            q = float(output.detach().double().square().mean())
            if not (math.isfinite(q) and q > 0):
                return None
            factors[name] = 1.0 / math.sqrt(q)
        return output * factors[name]

    return scale
