"""The list of recipes, and `get`: a recipe from its name, with parameters where it takes them."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from firstlight.doors import checked
from firstlight.errors import DomainError, did_you_mean
from firstlight.recipes.coordinates.fourier import Bandlimited, FourierFeatures
from firstlight.recipes.coordinates.siren import Siren, Winner
from firstlight.recipes.laws.amplified import OutputScale, WeightScale
from firstlight.recipes.laws.critical import Critical
from firstlight.recipes.laws.defaults import FlaxDefault, KerasDefault, TorchDefault
from firstlight.recipes.laws.fans import Glorot, He, LeCun
from firstlight.recipes.laws.kumar import Kumar
from firstlight.recipes.laws.lsuv import LSUV
from firstlight.recipes.laws.matched import KurtosisMatched, PairLaw
from firstlight.recipes.laws.orthogonal import Orthogonal
from firstlight.recipes.laws.sparse import Sparse
from firstlight.recipes.laws.vi3nr import VI3NR
from firstlight.recipes.laws.width import Spectral
from firstlight.recipes.learnt.scales import GradInit, MetaInit
from firstlight.recipes.linear.chains import LooksLinear, SmallSignals
from firstlight.recipes.linear.identity import IDInit, ZerO
from firstlight.recipes.linear.shaped import DKS, TAT
from firstlight.recipes.recipe import Recipe
from firstlight.recipes.residual.branches import Fixup, ReZero, SkipInit
from firstlight.recipes.residual.normaliser_free import NormaliserFree
from firstlight.recipes.residual.transformer import DeepNorm, DepthScaled, TFixup, TransformerConstants

_ALL: tuple[type[Recipe], ...] = (
    Glorot, He, LeCun, TorchDefault, FlaxDefault, KerasDefault, Kumar, Critical, Orthogonal, PairLaw,
    KurtosisMatched, LSUV, VI3NR, Sparse, Spectral, Fixup, SkipInit, ReZero, NormaliserFree, DepthScaled, TFixup,
    DeepNorm, TransformerConstants, Siren, Winner, FourierFeatures, Bandlimited, LooksLinear, SmallSignals, ZerO,
    IDInit, DKS, TAT, GradInit, MetaInit, OutputScale, WeightScale,
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
