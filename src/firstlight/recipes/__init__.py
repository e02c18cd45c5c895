"""Recipes: named starts for any model, what they write, for which activation, and from which paper."""

from __future__ import annotations

from firstlight.recipes.blueprint import Blueprint as Blueprint
from firstlight.recipes.blueprint import Branch as Branch
from firstlight.recipes.blueprint import blueprint as blueprint
from firstlight.recipes.initialise import initialise_ as initialise_
from firstlight.recipes.laws.critical import Critical as Critical
from firstlight.recipes.laws.defaults import FlaxDefault as FlaxDefault
from firstlight.recipes.laws.defaults import KerasDefault as KerasDefault
from firstlight.recipes.laws.defaults import TorchDefault as TorchDefault
from firstlight.recipes.laws.fans import Glorot as Glorot
from firstlight.recipes.laws.fans import He as He
from firstlight.recipes.laws.fans import LeCun as LeCun
from firstlight.recipes.laws.kumar import Kumar as Kumar
from firstlight.recipes.laws.kumar import kumar_variance as kumar_variance
from firstlight.recipes.laws.lsuv import LSUV as LSUV
from firstlight.recipes.laws.matched import KurtosisMatched as KurtosisMatched
from firstlight.recipes.laws.matched import PairLaw as PairLaw
from firstlight.recipes.laws.orthogonal import Orthogonal as Orthogonal
from firstlight.recipes.recipe import Draft as Draft
from firstlight.recipes.recipe import Recipe as Recipe
from firstlight.recipes.recipe import Value as Value
from firstlight.recipes.registry import RECIPES as RECIPES
from firstlight.recipes.registry import get as get
from firstlight.recipes.scales import critical_scales as critical_scales
from firstlight.recipes.slots import Left as Left
from firstlight.recipes.slots import Slot as Slot
from firstlight.recipes.trained import learnt_direction as learnt_direction
from firstlight.recipes.trained import moved_shifts as moved_shifts
from firstlight.recipes.written import Line as Line
from firstlight.recipes.written import Written as Written
