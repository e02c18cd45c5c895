"""Constants of the code that a recipe may set: plain numbers of modules, found by what they do to the traced graph."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from firstlight.errors import FirstlightError
from firstlight.probe import Structure, structure
from firstlight.recipes.layout.blueprint import Blueprint

Place = tuple[
    int, int
]  # the row that reads a multiple, and the row that is multiplied; −1 inside an activation
_AGREE = 1e-6


@dataclass(frozen=True)
class Constant:
    """A plain number of a module that multiplies, or divides, a signal.

    Attributes
    ----------
    path, name
        Path of the module, and the name of its attribute.
    power
        1 where the signal is multiplied by the number, −1 where it is divided.
    """

    path: str
    name: str
    power: int

    @property
    def spelling(self) -> str:
        """How the number is called from the model."""
        return f"{self.path}.{self.name}".lstrip(".")

    def number(self, factor: float) -> float:
        """The number that makes this factor."""
        return factor if self.power == 1 else 1.0 / factor


def factors_of(seen: Structure) -> dict[Place, float]:
    """Every constant by which a row is multiplied where another row reads it, and those inside activations."""
    found = {(row, source): f for row, own in seen.factors.items() for source, f in own.items()}
    return found | {(row, -1): scale for row, scale in seen.scales.items()}


def constants_of(sheet: Blueprint, batch: object) -> Mapping[Place, Constant]:
    """The numbers of modules behind the factors of a traced graph.

    An attribute of the module that computes a row, or of one around it, is a candidate where it is a float with the
    factor's value. Each candidate is then changed in a copy of the model, by an amount of its own: the one that the
    factor follows in a second trace is the one. Nothing is said where the copy cannot run.
    """
    if sheet.structure is None or batch is None:
        return {}
    factors = factors_of(sheet.structure)
    names = [str(name) for name in sheet.structure.profile["name"]]
    modules = dict(sheet.model.named_modules())
    candidates = {place: list(_candidates(names[place[0]], f, modules)) for place, f in factors.items()}
    numbers = sorted({(c.path, c.name) for found in candidates.values() for c in found})
    if not numbers:
        return {}
    try:
        trial = copy.deepcopy(sheet.model)
        parts = dict(trial.named_modules())
        moved = {}
        for index, (path, name) in enumerate(numbers):
            moved[path, name] = getattr(parts[path], name) * (1.05 + 0.37 * (index + 1) / (len(numbers) + 1))
            setattr(parts[path], name, moved[path, name])
        after = structure(trial, batch)
    except (FirstlightError, TypeError, ValueError, RuntimeError, AttributeError):
        return {}
    if list(after.profile["name"]) != list(sheet.structure.profile["name"]):
        return {}
    changed = factors_of(after)
    found = {}
    for place, some in candidates.items():
        fits = [c for c in some if _close(changed.get(place, math.nan), moved[c.path, c.name] ** c.power)]
        if len(fits) == 1:
            found[place] = fits[0]
    return found


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= _AGREE * abs(b)


def _candidates(row: str, factor: float, modules: Mapping[str, nn.Module]) -> Iterator[Constant]:
    """Floats with this value, or one over it, of the modules on the path of a row."""
    parts = row.split("#")[0].split(".")
    for length in range(len(parts), -1, -1):
        path = ".".join(parts[:length])
        for name, value in vars(modules[path]).items() if path in modules else ():
            if name.startswith("_") or type(value) is not float or not math.isfinite(value) or value == 0:
                continue
            if _close(value, factor):
                yield Constant(path, name, 1)
            if _close(1.0 / value, factor):
                yield Constant(path, name, -1)
