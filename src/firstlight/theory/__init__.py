"""What theory knows about a random network before it is drawn."""

from __future__ import annotations

from firstlight.theory import batchnorm
from firstlight.theory.attention import AttentionMap, AttentionPath
from firstlight.theory.classifier import DeepClassifier, deep_classifier
from firstlight.theory.convolution import ConvolutionalNetwork
from firstlight.theory.convolution_kernels import convolutional_kernels
from firstlight.theory.criticality import Criticality, criticality
from firstlight.theory.density import Laws, propagate_density
from firstlight.theory.dual_map import DualMap
from firstlight.theory.edge import EdgeOfChaos, EdgePoint, edge_of_chaos
from firstlight.theory.features import Features, deep_features
from firstlight.theory.finite_width import (
    FiniteWidth,
    edgeworth_kurtosis,
    finite_width,
    matching_weight_kurtosis,
    rho4,
)
from firstlight.theory.fixed_points import (
    CorrelationPoint,
    FixedPoint,
    correlation_fixed_points,
    is_scale_invariant,
    variance_fixed_points,
)
from firstlight.theory.gp import Posterior, posterior
from firstlight.theory.infinite_depth import (
    LogNormDrift,
    correlator_exponent,
    log_norm_drift,
    residual_growth,
)
from firstlight.theory.kernels import Kernels, kernels
from firstlight.theory.layer import LayerMap
from firstlight.theory.phase import PHASES, PhaseDiagram, phase_diagram
from firstlight.theory.piecewise_linear import PiecewiseLinear
from firstlight.theory.predict import depth_scales, predict
from firstlight.theory.sparse import SparseTuning, sparse_tuning
from firstlight.theory.unified import Gain, Stationarity, gain, unified_view

__all__ = [
    "PHASES",
    "AttentionMap",
    "AttentionPath",
    "ConvolutionalNetwork",
    "CorrelationPoint",
    "Criticality",
    "DeepClassifier",
    "DualMap",
    "EdgeOfChaos",
    "EdgePoint",
    "Features",
    "FiniteWidth",
    "FixedPoint",
    "Gain",
    "Kernels",
    "Laws",
    "LayerMap",
    "LogNormDrift",
    "PhaseDiagram",
    "PiecewiseLinear",
    "Posterior",
    "SparseTuning",
    "Stationarity",
    "batchnorm",
    "convolutional_kernels",
    "correlation_fixed_points",
    "correlator_exponent",
    "criticality",
    "deep_classifier",
    "deep_features",
    "depth_scales",
    "edge_of_chaos",
    "edgeworth_kurtosis",
    "finite_width",
    "gain",
    "is_scale_invariant",
    "kernels",
    "log_norm_drift",
    "matching_weight_kurtosis",
    "phase_diagram",
    "posterior",
    "predict",
    "propagate_density",
    "residual_growth",
    "rho4",
    "sparse_tuning",
    "unified_view",
    "variance_fixed_points",
]
