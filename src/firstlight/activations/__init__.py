"""Activations as objects: value, slope, kinks, moments; by name, from modules, from any callable."""

from __future__ import annotations

from firstlight.activations.activation import Activation, from_callable
from firstlight.activations.closed_forms import ClosedForm, closed_form, closed_form_names
from firstlight.activations.moments import (
    GaussianMoments,
    covariance_slope,
    dual,
    dual_slope,
    fourth,
    gain,
    moments,
    second,
)
from firstlight.activations.registry import get, names, register
from firstlight.moved import old_names

__all__ = [
    "Activation",
    "ClosedForm",
    "GaussianMoments",
    "closed_form",
    "closed_form_names",
    "covariance_slope",
    "dual",
    "dual_slope",
    "fourth",
    "from_callable",
    "gain",
    "get",
    "moments",
    "names",
    "register",
    "second",
]

__getattr__ = old_names("activations", Moments="activations:GaussianMoments")
