"""Every activation of the registry in one table: moments, edge of chaos, universality class."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from firstlight import activations
from firstlight.activations import Activation, ActivationRow
from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.theory.designs.criticality import criticality


@dataclass(frozen=True)
class ActivationDesign:
    """One activation at variance 1, and where it is critical.

    Attributes
    ----------
    row
        Its moments, and the edge of chaos with the stationary variance 1.
    universality
        As ``theory.criticality`` names it; ``"jump"`` where φ jumps and nothing is critical.
    q_star, sigma_w2, sigma_b2
        The critical tuning: K*, C_W and C_b; NaN where there is none.
    """

    row: ActivationRow
    universality: str
    q_star: float
    sigma_w2: float
    sigma_b2: float


@clean
def activation_table(which: Iterable[str | Activation] | None = None) -> tuple[ActivationDesign, ...]:
    """``activations.table`` with the universality class and the critical tuning of every activation.

    Parameters
    ----------
    which
        Names or activations; the library's own, without those that a user has registered, if not given.

    Examples
    --------
    >>> from firstlight.theory import activation_table
    >>> [(r.row.name, r.universality) for r in activation_table(["relu", "tanh", "gelu", "step"])]
    [('relu', 'scale-invariant'), ('tanh', 'K*=0'), ('gelu', 'half-stable'), ('step', 'jump')]
    """
    return tuple(_design(row) for row in activations.table(which))


def _design(row: ActivationRow) -> ActivationDesign:
    try:
        found = criticality(row.name)
    except DomainError:
        return ActivationDesign(row, "jump", math.nan, math.nan, math.nan)
    return ActivationDesign(row, found.universality, found.q, found.sigma_w2, found.sigma_b2)


_HEADS = (
    "name",
    "E φ",
    "E φ²",
    "E φ'²",
    "ρ₄",
    "DC share",
    "zeros",
    "σ_w² at q = 1",
    "σ_b² at q = 1",
    "class",
    "K*",
)


def activation_markdown(designs: Iterable[ActivationDesign]) -> str:
    """The table as Markdown, as the documentation shows it.

    Examples
    --------
    >>> from firstlight.theory import activation_markdown, activation_table
    >>> print(activation_markdown(activation_table(["relu"])).splitlines()[2])
    | `relu` | 0.3989 | 0.5 | 0.5 | 6 | 0.3183 | 0.5 | 2 | 0 | scale-invariant | – |
    """
    lines = [f"| {' | '.join(_HEADS)} |", f"|{'---|' * len(_HEADS)}"]
    for design in designs:
        r = design.row
        edge = (r.sigma_w2, r.sigma_b2) if r.sigma_b2 >= 0 else (math.nan, math.nan)
        numbers = (r.mean, r.second, r.slope, r.fourth, r.dc_share, r.zeros, *edge)
        cells = [f"`{r.name}`", *map(_cell, numbers), design.universality, _cell(design.q_star)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: float) -> str:
    if math.isnan(value):
        return "–"
    # what rounding leaves of a zero is a zero
    return "0" if abs(value) < 1e-12 else f"{value:.4g}"
