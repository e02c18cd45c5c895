"""initialise_: any recipe on any model, everything computed first and then copied, with a way back."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.probe import Loss, Protocol
from firstlight.probe.given import first_batch
from firstlight.probe.trace.calling import unwrap
from firstlight.recipes.layout.blueprint import Blueprint, blueprint
from firstlight.recipes.layout.slots import NORMS, Left, Slot
from firstlight.recipes.layout.trained import (
    bias_beyond,
    default_bound,
    learnt_direction,
    left_default,
    moved_shifts,
    smeared,
)
from firstlight.recipes.recipe import Draft, Recipe
from firstlight.recipes.registry import get
from firstlight.recipes.written import Written, commit


@checked
@clean
def initialise_(
    model: nn.Module,
    recipe: str | Recipe,
    batch: object = None,
    *,
    targets: object = None,
    loss: Loss | str | None = None,
    generator: torch.Generator | None = None,
    force: bool = False,
) -> Written:
    """Give a model the start that a recipe names; everything is computed before the first weight is copied.

    Parameters
    ----------
    model
        Changed in place. Wrappers of ``torch.compile`` and data parallelism are opened.
    recipe
        A name, with parameters where it takes them (``"fixup"``, ``"critical"``, ``"he(law='uniform')"``), or a recipe.
    batch
        What the model takes; a DataLoader gives its first batch. Recipes that ask what follows a weight need a batch
        for every model that is no plain ``nn.Sequential``: one forward pass shows what follows. No trace of the pass is
        left.
    targets, loss
        For recipes that differentiate a loss, as for `firstlight.audit`.
    generator
        Source of randomness; torch's own if absent. The same state gives the same numbers.
    force
        Whether weights that look trained are written too.

    Returns
    -------
    Written
        What was written and why, what was left and why, ``.revert_()``, ``.to_html()``, ``.to_json()``.

    Raises
    ------
    DomainError
        An unknown recipe, a model that looks trained, a recipe that is not for this model, a batch that is missing and
        that the recipe needs, or nothing to write. The model is then as it was.
    AuditError
        If the model cannot run on the batch. The model is then as it was.

    Examples
    --------
    >>> import torch, firstlight
    >>> net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 10))
    >>> g = torch.Generator().manual_seed(0)
    >>> done = firstlight.initialise_(net, "lecun", generator=g)
    >>> [line.name for line in done.lines]
    ['0.weight', '0.bias', '2.weight', '2.bias']
    >>> done.revert_()
    """
    draft = drafted(
        model, get(recipe), batch, Protocol(targets, loss, None), generator=generator, force=force
    )
    return commit(draft, get(recipe).spelling)


def drafted(
    model: nn.Module,
    recipe: Recipe,
    batch: object,
    protocol: Protocol,
    *,
    generator: torch.Generator | None = None,
    force: bool = False,
) -> Draft:
    """The values that a recipe would write; the model is not touched.

    Raises
    ------
    DomainError
        As `initialise_` does.
    """
    net = unwrap(model)
    if batch is not None:
        batch, protocol = first_batch(batch, protocol)
    _require("batch" not in recipe.needs or batch is not None, recipe, "a batch to run on", "pass batch=…")
    differentiable = protocol.targets is not None or protocol.loss is not None
    _require(
        "loss" not in recipe.needs or differentiable, recipe, "targets or a loss", "pass targets=… or loss=…"
    )
    sheet = blueprint(net, batch)
    follows, todo = (
        f"to know what follows each weight of {type(net).__name__}",
        "pass batch=…: one forward pass shows it",
    )
    _require("graph" not in recipe.needs or sheet.known, recipe, follows, todo)
    if not force:
        sheet = fresh_part(sheet)
    draft = Draft(sheet, generator, batch, protocol)
    recipe.draft(draft)
    return draft


def fresh_part(sheet: Blueprint) -> Blueprint:
    """The blueprint without weights that look trained, which are left with the reason.

    Raises
    ------
    DomainError
        At least half of the weights, or of the normalisers' shifts, look trained. Where one weight holds a learnt
        direction or is torch's own draw moved by steps, weights that follow none of the laws that starts draw from
        count as well.
    """
    judged = [slot for slot in sheet.slots if slot.weight.numel() >= 128]
    ratios = {slot.name: learnt_direction(slot.weight) for slot in judged}
    learnt = {name: ratio for name, ratio in ratios.items() if ratio > 1.0}
    steps = [slot.name for slot in judged if slot.name not in learnt and _stepped(slot)]
    shifts = moved_shifts(sheet.model)
    norms = sum(isinstance(m, NORMS) and m._parameters.get("bias") is not None for m in sheet.model.modules())
    seen = {*learnt, *steps}
    moved = [slot.name for slot in judged if seen and slot.name not in seen and smeared(slot.weight)]
    many = bool(seen) and 2 * (len(seen) + len(moved)) >= len(judged)
    if many or (shifts and 2 * len(shifts) >= norms):
        told = {
            "hold a direction that no fresh draw has": len(learnt),
            "are torch's own draw moved by steps": len(steps),
            "follow no law that starts draw from": len(moved),
        }
        what = f"of {len(judged)} weights " + ", ".join(
            f"{count} {how}" for how, count in told.items() if count
        )
        if not many:
            what = f"the shifts of {len(shifts)} normalisers differ from unit to unit"
        raise DomainError(
            f"while initialising {type(sheet.model).__name__}: expected a model at its start, got one that looks "
            f"trained ({what}); pass force=True to overwrite its weights"
        )
    reason = "looks trained (a singular value {:.3g} times that of shuffled entries); force=True writes it"
    left = [Left(name, reason.format(ratio)) for name, ratio in learnt.items()]
    left += [
        Left(name, "looks trained (torch's own draw, moved by steps); force=True writes it") for name in steps
    ]
    kept = tuple(slot for slot in sheet.slots if slot.name not in seen)
    return replace(sheet, slots=kept, left=(*sheet.left, *left)) if seen else sheet


def _stepped(slot: Slot) -> bool:
    """Whether steps have moved torch's own draw: of the weight, or of the bias beside a weight of no usual law."""
    bound = default_bound(slot.module, slot.weight)
    return left_default(slot.weight, bound) or (
        bias_beyond(slot.module, slot.weight) and smeared(slot.weight)
    )


def _require(met: bool, recipe: Recipe, expected: str, todo: str) -> None:
    if not met:
        raise DomainError(f"while initialising with {recipe.word}: expected {expected}, got none; {todo}")
