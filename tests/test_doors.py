"""Arguments of another kind are refused at the public door, in one sentence that says what was expected and got."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn

from firstlight import (
    activations,
    builders,
    data,
    ensemble,
    gauss,
    measure,
    pairs,
    theory,
    training,
    weights,
)  # fmt: skip
from firstlight.doors import checked
from firstlight.errors import ArgumentError, DomainError, FirstlightError, did_you_mean
from firstlight.profile import Profile
from firstlight.theory import batchnorm


@checked
def door(
    whole: int = 1,
    number: float = 1.0,
    text: str = "",
    choice: Literal["a", "b"] = "a",
    tensor: torch.Tensor | None = None,
    path: str | Path = "",
    several: Sequence[int] = (),
    function: Callable[[int], int] | None = None,
    anything: Any = None,
    unknown: "NoSuchName" = None,
) -> int:
    return whole


@pytest.mark.parametrize(
    "fits",
    [
        {"whole": np.int64(3)}, {"number": 3}, {"number": np.float32(1)}, {"choice": "b"}, {"tensor": torch.ones(2)},
        {"path": Path()}, {"several": [1]}, {"several": (1,)}, {"function": abs}, {"anything": object()},
        {"unknown": object()}, {"tensor": None},
    ],
)  # fmt: skip
def test_what_fits_passes(fits):
    assert door(**fits) == fits.get("whole", 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"whole": 3.0}, "expected whole to be a whole number, got 3.0"),
        ({"whole": True}, "expected whole to be a whole number, got True"),
        ({"whole": None}, "expected whole to be a whole number, got None"),
        ({"number": "1"}, "expected number to be a number, got '1'"),
        ({"number": True}, "expected number to be a number, got True"),
        ({"choice": "c"}, "expected choice to be 'a' or 'b', got 'c'"),
        ({"tensor": [1.0]}, "expected tensor to be a Tensor or None, got a list"),
        ({"path": 3}, "expected path to be a text or a Path, got 3"),
        ({"several": "123"}, "expected several to be a sequence, got '123'"),
        ({"function": 3}, "expected function to be a function or None, got 3"),
        ({"other": 3}, "while calling door: expected whole, number"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, message):
    with pytest.raises(ArgumentError, match=message) as caught:
        door(**wrong)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


DOORS = [
    theory.convolutional_kernels, theory.correlation_fixed_points, theory.finite_width, theory.posterior,
    theory.propagate_density, theory.residual_growth, theory.variance_fixed_points, batchnorm.check_batch,
    batchnorm.gap_chain, batchnorm.predict_batchnorm, batchnorm.weingarten, batchnorm.theorem_1, weights.chi,
    weights.get, weights.weibull, weights.orthogonal_, weights.sphere_marginal, pairs.partner, pairs.weibull,
    data.fetch, data.locate, data.read_arrays, data.read_idx, data.read_pickle, ensemble.correlated_inputs,
    ensemble.run_sweep, builders.mlp, builders.isometric_mlp, builders.log_gradients, training.train,
    training.load_checkpoint, training.save_checkpoint,
]  # fmt: skip


@pytest.mark.parametrize("function", DOORS, ids=lambda function: function.__name__)
def test_a_wrong_kind_in_every_place_is_our_error(function):
    with pytest.raises(FirstlightError, match="expected"):
        function()
    with pytest.raises(FirstlightError, match="expected"):
        function(object(), nn.Linear(2, 2), no_such_argument=1)
    with pytest.raises(FirstlightError, match="expected"):
        function({1: 2})


HOOKED = hasattr(did_you_mean, "__wrapped__")
ALSO = [
    measure.constant_units, measure.dead_units, measure.effective_rank, measure.histogram, measure.isometry,
    measure.isometry_gap, measure.ks_to_normal, measure.log_rms, measure.moments, measure.moments_of_each,
    measure.orthogonality_gap, measure.quantiles, measure.ranks, measure.sample_correlation, measure.gaussianity,
    measure.sample_correlations, measure.gaussianities, measure.saturation, measure.second_moments,
    measure.stack_layers, measure.stackable, measure.standardise, measure.weight_summaries, measure.weight_summary,
    gauss.expect, gauss.expect2, gauss.find_kinks, gauss.hermite_coefficients, gauss.integrate, gauss.integrate2,
    activations.closed_form, activations.covariance_slope, activations.dual, activations.dual_slope,
    activations.fourth, activations.second, activations.moments, theory.sparse_tuning, theory.kernels,
    theory.DualMap.of, builders.BatchNorm, builders.ShapedActivation, builders.make_gains_learnable_,
    pairs.WrightMagnitude, pairs.by_name, weights.Discrete, weights.ScaledLaw, weights.sphere_marginal,
    weights.from_icdf, ensemble.ks_of_values, ensemble.class_means, Profile,
]  # fmt: skip


@pytest.mark.parametrize("function", ALSO, ids=lambda function: function.__qualname__)
def test_objects_in_the_place_of_numbers_and_tensors_are_our_error(function):
    """Measures, integrals and classes say what they take, where an attribute error of Python came out."""
    taken = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    for thing in (object(), {1: 2}, [object()]):
        arguments = {p.name: thing for p in taken if p.name != "self"}
        # integrals stand below the doors, and the suite's typing hook, where it is on, answers before them
        hooked = function.__module__.startswith("firstlight.gauss") and HOOKED
        with pytest.raises(TypeCheckError if hooked else FirstlightError, match=r"[Ee]xpected"):
            function(**arguments)


def test_what_the_callers_own_function_raises_is_one_sentence():
    with pytest.raises(DomainError, match=r"while calling the quantile function .* got RuntimeError: mat1"):
        weights.from_icdf(nn.Linear(2, 2))


def test_a_door_remembers_types_and_still_looks_at_choices_counts_and_names():
    assert door(1, 2.0, choice="b") == 1
    for _ in range(2):
        with pytest.raises(ArgumentError, match="expected choice to be 'a' or 'b', got 'c'"):
            door(1, 2.0, choice="c")
        with pytest.raises(ArgumentError, match="multiple values"):
            door(1, whole=2)
        with pytest.raises(ArgumentError, match="expected whole to be a whole number, got True"):
            door(True, 2.0)
