"""Activations as objects: value, slope, kinks, parity; by name, from modules, from any callable."""

from __future__ import annotations

from firstlight.activations.activation import Activation, from_callable
from firstlight.activations.registry import get, names, register

__all__ = ["Activation", "from_callable", "get", "names", "register"]
