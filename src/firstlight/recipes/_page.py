"""The page of what a recipe wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firstlight.render.markup import Markup, join
from firstlight.render.page import fragment, page, section
from firstlight.render.table import Head, table

if TYPE_CHECKING:
    from firstlight.recipes.plan import Plan
    from firstlight.recipes.written import Written


def _blocks(done: Written) -> Markup:
    heads = [
        Head("parameter", text=True),
        Head("what was written", "law and scale, and what the scale comes from", text=True),
        Head("rms before", "root mean square of the entries before"),
        Head("rms after", "root mean square of the entries now"),
        Head("learning rate", "factor on the optimiser's learning rate"),
    ]
    rows = [[n.name, n.why, n.before, n.after, done.rates.get(n.name, 1.0)] for n in done.lines]
    parts = [section("Written", table(heads, rows))]
    if done.left:
        names = [Head("parameter or module", text=True), Head("reason", text=True)]
        parts.append(section("Left as they were", table(names, [[n.name, n.reason] for n in done.left])))
    return join(parts)


def written_page(done: Written) -> str:
    """The whole document."""
    facts = {"recipe": done.recipe, "model": done.model, "written": len(done.lines), "left": len(done.left)}
    return page(f"How {done.model} starts", _blocks(done), facts=facts)


def written_fragment(done: Written) -> str:
    """The same without scripts, for a notebook."""
    return str(fragment(_blocks(done)))


def _ranked(found: Plan) -> Markup:
    heads: list[Head | str] = [
        Head("start", text=True),
        "log gradient first",
        "log gradient last",
        "q last",
        Head("verdict", text=True),
    ]
    rows = [
        [
            c.recipe or "as it is",
            c.first,
            c.last,
            c.q,
            c.note or ", ".join((*c.unhealthy, *c.warnings)) or "healthy",
        ]
        for c in found.choices
    ]
    return table(heads, rows)


def plan_page(found: Plan) -> str:
    """The whole document of a plan."""
    facts = {"model": found.model, "starts": len(found.choices), "best": found.best.recipe or "as it is"}
    return page(f"Starts for {found.model}", section("Ranked by their audits", _ranked(found)), facts=facts)


def plan_table(found: Plan) -> str:
    """The ranked starts, for a notebook."""
    return str(fragment(_ranked(found)))
