"""What both learnt starts share: a copy, its weights as functions of a few numbers, and its loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from firstlight.clean_room import outside
from firstlight.errors import user_code
from firstlight.probe.guard import fresh
from firstlight.recipes.layout.copies import copy_of
from firstlight.recipes.layout.slots import Slot
from firstlight.recipes.recipe import Draft


class Course:
    """A copy of a model whose loss is a function of its parameters."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.model: nn.Module = copy_of(draft.blueprint.model)
        self.slots: dict[str, Slot] = {
            slot.name: slot
            for slot in draft.blueprint.slots
            if slot.name in dict(self.model.named_parameters())
        }
        if not self.slots:
            draft.refuse("a weight whose scale can be learnt", "none", "unfreeze the weights")
        self.start = {n: p.detach().clone() for n, p in self.model.named_parameters() if p.requires_grad}

    def loss(self, parameters: dict[str, Tensor]) -> Tensor:
        """The loss on the batch at these parameters.

        Raises
        ------
        AuditError
            If the model or the loss raises.
        """
        batch: object = fresh(self.draft.batch)
        args = batch if isinstance(batch, tuple | list) else ()
        named = dict(batch) if isinstance(batch, dict) else {}
        if not args and not named:
            args = (batch,)
        what = f"running the forward of a copy of {type(self.model).__name__}"
        # fused attention has no second derivative
        with (
            outside(),
            sdpa_kernel(SDPBackend.MATH),
            user_code(what, "call the model on the batch alone to see where"),
        ):
            output = functional_call(self.model, parameters, tuple(args), named)
        return self.draft.protocol.objective(output)[0]

    def finish(self, factors: dict[str, float], said: str) -> None:
        """Draft each weight times its factor."""
        for name, slot in self.slots.items():
            if name in factors:
                self.draft.put(
                    slot, self.start[name] * factors[name], f"as it was, times {factors[name]:.4g}: {said}"
                )


def gradients(loss: Tensor, parameters: list[Tensor], *, graph: bool) -> list[Tensor]:
    """The gradient by each parameter, zeros where none comes."""
    found = torch.autograd.grad(loss, parameters, create_graph=graph, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]
