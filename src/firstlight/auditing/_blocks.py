"""Whole blocks of a transformer beside theory: one table for the page and the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from firstlight import render as blocks
from firstlight.probe.measurement import Measurement
from firstlight.profile import Profile
from firstlight.render.markup import Markup, clean, element, join
from firstlight.render.numbers import number
from firstlight.render.table import Head, table

if TYPE_CHECKING:
    from rich.table import Table

# measured column, and what a reader calls it
QUANTITIES = (("q", "q"), ("token_correlation", "tokens' cosine"), ("token_rank", "tokens' rank"))
EXPLAINED = (
    "Theory follows the tokens that enter the first block through all blocks, with independent normal weights of "
    "the measured scales. Here are the means over networks of this width that were drawn so, and z: how many "
    "deviations between such networks the measured value is away. Trained weights, and copies of one layer, "
    "follow no such law."
)


def rows_of_blocks(profile: Profile) -> list[int]:
    """The sums that have theory of whole blocks beside them."""
    if "q_blocks" not in profile.columns:
        return []
    return np.flatnonzero(np.isfinite(profile["q_blocks"])).tolist()


def largest(profile: Profile) -> str:
    """The largest |z| of each quantity, in one line.

    Examples
    --------
    >>> from firstlight.auditing._blocks import largest
    >>> largest(Profile({"q_blocks": [1.0], "q_blocks_z": [-2.0]}, "audit"))
    'largest |z|: 2 of q'
    """
    found = []
    for column, name in QUANTITIES:
        z = np.abs(profile[f"{column}_blocks_z"])
        if np.isfinite(z).any():
            found.append(f"{number(float(np.nanmax(z)), digits=2)} of {name}")
    return "largest |z|: " + ", ".join(found)


def _cells(profile: Profile, row: int) -> list[float]:
    names = (f"{column}{end}" for column, _ in QUANTITIES for end in ("", "_blocks", "_blocks_z"))
    return [float(profile[name][row]) for name in names]


def blocks_section(measurement: Measurement) -> Markup:
    """The section of the page; nothing for a model without such blocks."""
    profile, facts = measurement.profile, measurement.meta.get("blocks") or {}
    rows = rows_of_blocks(profile)
    if not rows:
        return Markup("")
    left = [join((element("code", name), ": ", reason)) for name, reason in facts.get("left", {}).items()]
    heads = [Head("row", text=True)]
    for _, name in QUANTITIES:
        heads += [Head(name), Head("theory", "mean over drawn networks of this width"), Head("z")]
    cells: list[list[object]] = [[clean(profile["name"][row]), *_cells(profile, row)] for row in rows]
    return blocks.section(
        "Whole blocks beside theory",
        blocks.paragraph(f"{largest(profile)}; {facts.get('networks', 0)} networks were drawn."),
        table(heads, cells),
        blocks.items(*left) if left else "",
        intro=EXPLAINED,
        identifier="blocks",
    )


def blocks_table(profile: Profile) -> Table | None:
    """The table for a terminal; None for a model without such blocks."""
    from rich import box
    from rich.table import Table

    rows = rows_of_blocks(profile)
    if not rows:
        return None
    found = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    found.add_column("sum", overflow="ellipsis", no_wrap=True, max_width=28)
    for head in ("q", "theory", "z", "tokens", "theory", "z", "rank", "theory", "z"):
        found.add_column(head, justify="right", no_wrap=True, style="cyan" if head == "theory" else "")
    most = 12
    for row in rows if len(rows) <= 2 * most else [*rows[:most], *rows[-most:]]:
        found.add_row(clean(profile["name"][row])[-28:], *(number(v, digits=3) for v in _cells(profile, row)))
    found.caption = f"Whole blocks beside theory at this width;\n{largest(profile)}"
    return found
