"""Numbers from samples and matrices: pure functions of tensors."""

from firstlight.measure.correlation import SampleCorrelation, sample_correlation, sample_correlations
from firstlight.measure.gaussianity import Gaussianity, gaussianities, gaussianity
from firstlight.measure.histogram import Histogram, histogram, quantiles
from firstlight.measure.isometry import isometry, isometry_gap, orthogonality_gap
from firstlight.measure.ks import ks_to_normal
from firstlight.measure.moments import (
    Moments,
    SecondMoments,
    log_rms,
    moments,
    moments_of_each,
    second_moments,
)
from firstlight.measure.rank import Ranks, effective_rank, ranks
from firstlight.measure.subset import LayerStack, StandardRows, stack_layers, stackable, standardise
from firstlight.measure.units import constant_units, dead_units, saturation
from firstlight.measure.weight import WeightSummary, weight_summaries, weight_summary

__all__ = [
    "Gaussianity",
    "Histogram",
    "LayerStack",
    "Moments",
    "Ranks",
    "SampleCorrelation",
    "SecondMoments",
    "StandardRows",
    "WeightSummary",
    "constant_units",
    "dead_units",
    "effective_rank",
    "gaussianities",
    "gaussianity",
    "histogram",
    "isometry",
    "isometry_gap",
    "ks_to_normal",
    "log_rms",
    "moments",
    "moments_of_each",
    "orthogonality_gap",
    "quantiles",
    "ranks",
    "sample_correlation",
    "sample_correlations",
    "saturation",
    "second_moments",
    "stack_layers",
    "stackable",
    "standardise",
    "weight_summaries",
    "weight_summary",
]
