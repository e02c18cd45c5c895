"""Testers for users' own weight laws and activations: they hold what an object declares against independent numbers."""

from __future__ import annotations

from firstlight.testing.activation import ActivationTester as ActivationTester
from firstlight.testing.failure import DeclarationError as DeclarationError
from firstlight.testing.law import LawTester as LawTester
