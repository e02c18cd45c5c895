"""Torch modules built from a description."""

from __future__ import annotations

from firstlight.networks.dense import Pointwise as Pointwise
from firstlight.networks.dense import activation_module as activation_module
from firstlight.networks.dense import draw as draw
from firstlight.networks.dense import mlp as mlp
