"""The list of recipes, and `get`: a recipe from its name, with parameters where it takes them."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from firstlight.doors import checked
from firstlight.errors import DomainError, did_you_mean
from firstlight.recipes.laws.critical import Critical
from firstlight.recipes.laws.defaults import FlaxDefault, KerasDefault, TorchDefault
from firstlight.recipes.laws.fans import Glorot, He, LeCun
from firstlight.recipes.laws.kumar import Kumar
from firstlight.recipes.laws.lsuv import LSUV
from firstlight.recipes.laws.matched import KurtosisMatched, PairLaw
from firstlight.recipes.laws.orthogonal import Orthogonal
from firstlight.recipes.recipe import Recipe

_ALL: tuple[type[Recipe], ...] = (
    Glorot, He, LeCun, TorchDefault, FlaxDefault, KerasDefault, Kumar, Critical, Orthogonal, PairLaw,
    KurtosisMatched, LSUV,
)  # fmt: skip
RECIPES: Mapping[str, type[Recipe]] = MappingProxyType({kind.word: kind for kind in _ALL})


@checked
def get(recipe: str | Recipe) -> Recipe:
    """The recipe that a text names, such as ``"he"`` or ``"he(law='uniform')"``; a recipe is given back.

    Raises
    ------
    DomainError
        An unknown name, or parameters that the recipe does not take.

    Examples
    --------
    >>> from firstlight import recipes
    >>> recipes.get("glorot(law='uniform')")
    Glorot(law='uniform')
    """
    if isinstance(recipe, Recipe):
        return recipe
    word, bracket, rest = recipe.strip().partition("(")
    kind = RECIPES.get(word.strip().lower().replace("_", "-"))
    if kind is None:
        raise DomainError(
            f"while looking up a recipe: expected one of {', '.join(RECIPES)}, got {recipe!r}"
            f"{did_you_mean(word, RECIPES)}"
        )
    if not bracket:
        return kind()
    known = [f.name for f in fields(kind)]
    try:
        arguments = _arguments(f"f({rest}")
    except (ValueError, SyntaxError) as error:
        raise DomainError(
            f"while reading the recipe {recipe!r}: expected {word}({', '.join(f'{k}=…' for k in known)}), got "
            f"{error}; write values as Python does"
        ) from None
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        takes = ", ".join(known) or "no parameters"
        raise DomainError(f"while reading the recipe {recipe!r}: expected {takes}, got {', '.join(unknown)}")
    return kind(**arguments)


def _arguments(text: str) -> dict[str, Any]:
    call = ast.parse(text, mode="eval").body
    if not isinstance(call, ast.Call) or call.args or any(k.arg is None for k in call.keywords):
        raise ValueError("something that is no list of names with values")
    return {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
