"""Testers for users' own weight laws, activations and measures: what an object declares against independent numbers."""

from __future__ import annotations

from firstlight.testing.activation import ActivationTester as ActivationTester
from firstlight.testing.failure import DeclarationError as DeclarationError
from firstlight.testing.law import LawTester as LawTester
from firstlight.testing.measure import MeasureTester as MeasureTester
