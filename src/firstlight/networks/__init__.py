"""Torch modules built from a description."""

from __future__ import annotations

from firstlight.networks.batch_norm import BatchNorm as BatchNorm
from firstlight.networks.dense import Pointwise as Pointwise
from firstlight.networks.dense import activation_module as activation_module
from firstlight.networks.dense import draw as draw
from firstlight.networks.dense import mlp as mlp
from firstlight.networks.feature_major import FeatureMajorSequential as FeatureMajorSequential
from firstlight.networks.isometric import NormOptions as NormOptions
from firstlight.networks.isometric import isometric_mlp as isometric_mlp
from firstlight.networks.isometric import make_gains_learnable_ as make_gains_learnable_
from firstlight.networks.layer_gaps import layer_gaps as layer_gaps
from firstlight.networks.linear_stack import Trace as Trace
from firstlight.networks.log_gradients import LogGradients as LogGradients
from firstlight.networks.log_gradients import log_gradients as log_gradients
from firstlight.networks.measured_gamma import measure_gamma as measure_gamma
from firstlight.networks.measured_gamma import measured_growth as measured_growth
from firstlight.networks.recalibrate import recalibrate_ as recalibrate_
from firstlight.networks.remedy import make_isometric_ as make_isometric_
from firstlight.networks.shaping import FeatureMajorLinear as FeatureMajorLinear
from firstlight.networks.shaping import ShapedActivation as ShapedActivation
from firstlight.networks.shaping import power_gains as power_gains
