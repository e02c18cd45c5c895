"""Remedies by name: those of the catalogue, and every recipe as a remedy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from firstlight.errors import DomainError, did_you_mean
from firstlight.fixing.remedies import REMEDIES, Remedy
from firstlight.fixing.remedies.catalogue import FAULTS, SIGNALS
from firstlight.fixing.remedies.measured import Forward
from firstlight.probe import Protocol
from firstlight.profile import Profile
from firstlight.recipes import RECIPES, Recipe, get, initialise_


def chosen_remedies(names: str | Sequence[str]) -> list[Remedy | Recipe]:
    """The remedies and recipes of these names, a remedy where both have one.

    Raises
    ------
    DomainError
        A name that neither has, or none at all.
    """
    listed = _split(names) if isinstance(names, str) else list(names)
    remedies = {remedy.name: remedy for remedy in REMEDIES}
    found: list[Remedy | Recipe] = []
    for name in listed:
        word = name.partition("(")[0].strip()
        if name in remedies:
            found.append(remedies[name])
        elif word in RECIPES:
            found.append(get(name))
        else:
            known = [*remedies, *RECIPES]
            raise DomainError(
                f"while choosing remedies: expected names of remedies ({', '.join(remedies)}) or of recipes "
                f"(`firstlight recipes` lists them), got {name!r}{did_you_mean(name, known)}"
            )
    if not found:
        raise DomainError(
            "while choosing remedies: expected at least one name, got none; leave remedies out for all"
        )
    return found


def _split(text: str) -> list[str]:
    """Names with commas between; a comma inside brackets parts parameters."""
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [part.strip() for part in (*parts, text[start:]) if part.strip()]


def as_remedy(one: Remedy | Recipe, batch: object, protocol: Protocol) -> Remedy:
    """A recipe as a remedy on this batch; a remedy is given back."""
    if isinstance(one, Remedy):
        return one

    def apply(model: nn.Module, profile: Profile, generator: torch.Generator, forward: Forward) -> list[str]:
        del profile, forward
        try:
            done = initialise_(
                model, one, batch, targets=protocol.targets, loss=protocol.loss, generator=generator
            )
        except DomainError:
            return []
        return [f"{line.name}: {line.why}" for line in done.lines]

    return Remedy(one.spelling, one.purpose, SIGNALS | FAULTS, apply, one.source)
