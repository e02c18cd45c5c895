"""What theory knows about a random network before it is drawn."""

from __future__ import annotations

from firstlight.theory import batchnorm
from firstlight.theory.designs.criticality import Criticality, criticality
from firstlight.theory.designs.edge import EdgeOfChaos, EdgePoint, edge_of_chaos
from firstlight.theory.designs.phase import PHASES, PhaseDiagram, phase_diagram
from firstlight.theory.designs.sparse import SparseTuning, sparse_tuning
from firstlight.theory.designs.table import ActivationDesign, activation_markdown, activation_table
from firstlight.theory.designs.unified import Gain, Stationarity, gain, unified_view
from firstlight.theory.finite.density import Laws, propagate_density
from firstlight.theory.finite.finite_width import (
    FiniteWidth,
    edgeworth_kurtosis,
    finite_width,
    matching_weight_kurtosis,
    rho4,
)
from firstlight.theory.finite.infinite_depth import (
    LogNormDrift,
    correlator_exponent,
    log_norm_drift,
    residual_growth,
)
from firstlight.theory.kernels.classifier import DeepClassifier, deep_classifier
from firstlight.theory.kernels.convolution import ConvolutionalNetwork
from firstlight.theory.kernels.convolutional import convolutional_kernels
from firstlight.theory.kernels.features import Features, deep_features
from firstlight.theory.kernels.networks import Kernels, kernels
from firstlight.theory.kernels.posterior import Posterior, posterior
from firstlight.theory.maps.attention import AttentionMap, AttentionPath
from firstlight.theory.maps.dual_map import DualMap
from firstlight.theory.maps.fixed_points import (
    CorrelationPoint,
    FixedPoint,
    correlation_fixed_points,
    is_scale_invariant,
    variance_fixed_points,
)
from firstlight.theory.maps.layer import LayerMap
from firstlight.theory.maps.piecewise_linear import PiecewiseLinear
from firstlight.theory.predict import depth_scales, predict
from firstlight.theory.transformer import Transformer, predict_transformer, transformer_like

__all__ = [
    "PHASES",
    "ActivationDesign",
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
    "Transformer",
    "activation_markdown",
    "activation_table",
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
    "predict_transformer",
    "propagate_density",
    "residual_growth",
    "rho4",
    "sparse_tuning",
    "transformer_like",
    "unified_view",
    "variance_fixed_points",
]
