"""Activations as objects: value, slope, kinks, moments; by name, from modules, from any callable."""

from __future__ import annotations

from firstlight.activations.activation import Activation, from_callable
from firstlight.activations.closed_forms import ClosedForm, closed_form, closed_form_names
from firstlight.activations.families._series import of_dual
from firstlight.activations.gates import GATES, Gate, GateModule, GateMoments, gate
from firstlight.activations.modules.learnable import FixedActivation, LearnableActivation
from firstlight.activations.moments import (
    GaussianMoments,
    covariance_slope,
    dual,
    dual_slope,
    fourth,
    moments,
    second,
)
from firstlight.activations.quantiser import UniformQuantiser, uniform_quantiser
from firstlight.activations.registry import get, names, register
from firstlight.activations.scale import gain
from firstlight.activations.table import ActivationRow, table, zero_mass
from firstlight.moved import old_names as _old_names

__all__ = [
    "GATES",
    "Activation",
    "ActivationRow",
    "ClosedForm",
    "FixedActivation",
    "Gate",
    "GateModule",
    "GateMoments",
    "GaussianMoments",
    "LearnableActivation",
    "UniformQuantiser",
    "closed_form",
    "closed_form_names",
    "covariance_slope",
    "dual",
    "dual_slope",
    "fourth",
    "from_callable",
    "gain",
    "gate",
    "get",
    "moments",
    "names",
    "of_dual",
    "register",
    "second",
    "table",
    "uniform_quantiser",
    "zero_mass",
]

__getattr__ = _old_names("activations", Moments="activations:GaussianMoments")
