"""Torch modules built from a description."""

from __future__ import annotations

from firstlight.builders import blocks as blocks
from firstlight.builders.batch_norm import BatchNorm as BatchNorm
from firstlight.builders.dense import Pointwise as Pointwise
from firstlight.builders.dense import activation_module as activation_module
from firstlight.builders.dense import draw as draw
from firstlight.builders.dense import mlp as mlp
from firstlight.builders.feature_major import FeatureMajorSequential as FeatureMajorSequential
from firstlight.builders.isometric import NormOptions as NormOptions
from firstlight.builders.isometric import isometric_mlp as isometric_mlp
from firstlight.builders.isometric import make_gains_learnable_ as make_gains_learnable_
from firstlight.builders.layer_gaps import layer_gaps as layer_gaps
from firstlight.builders.linear_stack import Trace as Trace
from firstlight.builders.log_gradients import LogGradients as LogGradients
from firstlight.builders.log_gradients import log_gradients as log_gradients
from firstlight.builders.measured_gamma import measure_gamma as measure_gamma
from firstlight.builders.measured_gamma import measured_growth as measured_growth
from firstlight.builders.recalibrate import recalibrate_ as recalibrate_
from firstlight.builders.shaping import FeatureMajorLinear as FeatureMajorLinear
from firstlight.builders.shaping import ShapedActivation as ShapedActivation
from firstlight.builders.shaping import power_gains as power_gains
