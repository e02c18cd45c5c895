"""plan: which recipes suit a model, tried on copies and ranked by what an audit says of each."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch
from torch import nn

from firstlight.clean_room import clean
from firstlight.diagnosis import diagnose
from firstlight.errors import FirstlightError, in_one_line
from firstlight.files import plain
from firstlight.files.plain_data import Record
from firstlight.probe import Loss, Measurement, Protocol, measure
from firstlight.probe.given import first_batch
from firstlight.probe.trace.calling import unwrap
from firstlight.recipes.initialise import drafted
from firstlight.recipes.layout.blueprint import Blueprint, blueprint
from firstlight.recipes.layout.copies import copy_of
from firstlight.recipes.recipe import Recipe
from firstlight.recipes.registry import get
from firstlight.recipes.written import commit
from firstlight.render import Document

LARGEST = 6  # audits of one plan, that of the model as it is among them


@dataclass(frozen=True)
class Choice:
    """One start, and what an audit of a copy says of it.

    Attributes
    ----------
    recipe
        The recipe as text; empty for the model as it is.
    purpose
        What the recipe is for.
    unhealthy, warnings
        Codes of the verdicts.
    first, last
        Natural log of the gradient's root mean square at the first and the last weight.
    q
        Second moment of the last weight's output.
    seconds
        Time of drawing and writing, without the audit.
    note
        Why the recipe could not be tried; empty where it was.
    """

    recipe: str
    purpose: str = ""
    unhealthy: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    first: float = math.nan
    last: float = math.nan
    q: float = math.nan
    seconds: float = math.nan
    note: str = ""

    @property
    def rank(self) -> tuple[bool, int, int, bool, float]:
        """Fewer unhealthy verdicts, fewer warnings, then a gradient that differs less from end to end."""
        spread = abs(self.first - self.last)
        return bool(self.note), len(self.unhealthy), len(self.warnings), math.isnan(spread), spread


@dataclass(frozen=True)
class Plan(Document):
    """Starts for one model, the best first; nothing was written into the model.

    Attributes
    ----------
    model
        Class of the model.
    choices
        Every start that was tried, ranked, the model as it is among them.
    """

    model: str
    choices: tuple[Choice, ...]

    @property
    def best(self) -> Choice:
        """The first of the ranks."""
        return self.choices[0]

    def to_dict(self) -> Record:
        """A plain dict."""
        choices = [asdict(choice) for choice in self.choices]
        return dict(plain({"format": "firstlight-plan/1", "model": self.model, "choices": choices}))

    def _page(self) -> str:
        from firstlight.recipes._page import plan_page

        return plan_page(self)

    def to_text(self) -> str:
        """One line for each start."""
        width = max(len(c.recipe or "as it is") for c in self.choices)
        lines = [f"{'start':<{width}}  log gradient first … last     q last  verdict"]
        for c in self.choices:
            found = ", ".join((*c.unhealthy, *(f"{w} (warning)" for w in c.warnings))) or "healthy"
            name = c.recipe or "as it is"
            lines.append(
                f"{name:<{width}}  {c.first:>12.2f} … {c.last:<8.2f} {c.q:>10.3g}  {c.note or found}"
            )
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        from firstlight.render.brief import one_line

        return one_line(
            "Plan", model=self.model, starts=len(self.choices), best=self.best.recipe or "as it is"
        )

    def _repr_html_(self) -> str:
        from firstlight.recipes._page import plan_table

        return plan_table(self)


@clean
def plan(
    model: nn.Module,
    batch: object,
    targets: object = None,
    *,
    recipes: Iterable[str | Recipe] | None = None,
    loss: Loss | str | None = None,
    seed: int = 0,
) -> Plan:
    """Try the recipes that a model's structure calls for on copies, and rank them by their audits.

    Parameters
    ----------
    model, batch, targets, loss, seed
        As for `firstlight.audit`; the model is never changed. At most six audits are made, one of the model as it is.
    recipes
        The recipes to try, at most five; those that suit the structure if not given (`suitable`).

    Returns
    -------
    Plan
        ``.best``, ``.choices``, ``.to_text()``, ``.to_json()``.

    Raises
    ------
    AuditError
        If the model cannot run on the batch, or cannot be copied.

    Examples
    --------
    >>> import torch, firstlight
    >>> layers = [m for _ in range(20) for m in (torch.nn.Linear(64, 64), torch.nn.ReLU())]
    >>> found = firstlight.recipes.plan(torch.nn.Sequential(*layers), torch.randn(32, 64))
    >>> found.choices[-1].recipe == "" and bool(found.choices[-1].unhealthy)  # as it is
    True
    """
    net = unwrap(model)
    batch, protocol = first_batch(batch, Protocol(targets, loss, seed=seed))
    names = list(recipes) if recipes is not None else suitable(blueprint(net, batch))
    choices = [_choice(net, "", "the model as it is", batch, protocol, math.nan)]
    for recipe in names[: LARGEST - 1]:
        choices.append(_tried(net, get(recipe), batch, protocol))
    return Plan(type(net).__name__, tuple(sorted(choices, key=lambda c: c.rank)))


def suitable(sheet: Blueprint) -> list[str]:
    """Names of at most five recipes for the structure of a model, the most special first.

    Examples
    --------
    >>> from torch import nn
    >>> from firstlight.recipes import blueprint, suitable
    >>> suitable(blueprint(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))))
    ['looks-linear', 'critical', 'orthogonal', 'he']
    """
    phis = {slot.phi.name for slot in sheet.slots if slot.phi is not None}
    kinked = any(slot.phi is not None and slot.phi.kinks for slot in sheet.slots)
    if sheet.branches:
        own = (
            ["depth-scaled", "deepnorm"]
            if "attention" in sheet.kinds
            else ["fixup", "skipinit(factor='depth')"]
        )
        if "attention" not in sheet.kinds and "norm" in sheet.kinds:
            own = ["rezero"]
        return [*own, "critical", "orthogonal", "glorot" if "attention" in sheet.kinds else "he"][:5]
    if any(name.lower().startswith("sin") for name in phis):
        return ["siren", "vi3nr", "critical", "orthogonal"]
    if not sheet.chain:
        return ["critical", "orthogonal", "lsuv", "he" if kinked else "glorot"]
    if phis == {"relu"}:
        return ["looks-linear", "critical", "orthogonal", "he"]
    if kinked:
        return ["critical", "orthogonal", "lsuv", "he"]
    return ["small-signals", "dks", "orthogonal", "critical", "glorot"]


def _tried(net: nn.Module, recipe: Recipe, batch: object, protocol: Protocol) -> Choice:
    copied = copy_of(net)
    generator = torch.Generator().manual_seed(protocol.seed)
    start = time.perf_counter()
    try:
        commit(drafted(copied, recipe, batch, protocol, generator=generator), recipe.spelling)
        seconds = time.perf_counter() - start
        return _choice(copied, recipe.spelling, recipe.purpose, batch, protocol, seconds)
    except FirstlightError as error:
        return Choice(recipe.spelling, recipe.purpose, note=in_one_line(error).partition(": ")[2])


def _choice(
    net: nn.Module, name: str, purpose: str, batch: object, protocol: Protocol, seconds: float
) -> Choice:
    found: Measurement = measure(net, batch, protocol)
    verdicts = diagnose(found)
    rows = found.profile.select("weight")
    logs = [float(x) for x in rows["log_grad"] if math.isfinite(x)]
    q = [float(x) for x in rows["q"]]
    return Choice(
        name,
        purpose,
        tuple(v.code for v in verdicts if v.severity in ("unhealthy", "not judged")),
        tuple(v.code for v in verdicts if v.severity == "warning"),
        logs[0] if logs else math.nan,
        logs[-1] if logs else math.nan,
        q[-1] if q else math.nan,
        seconds,
    )
