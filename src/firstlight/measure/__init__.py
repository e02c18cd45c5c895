"""Numbers from samples and matrices: pure functions of tensors."""

from firstlight.measure.correlation import SampleCorrelation, sample_correlation
from firstlight.measure.gaussianity import Gaussianity, gaussianity
from firstlight.measure.histogram import Histogram, histogram, quantiles
from firstlight.measure.isometry import isometry, isometry_gap, orthogonality_gap
from firstlight.measure.ks import ks_to_normal
from firstlight.measure.moments import Moments, SecondMoments, log_rms, moments, second_moments
from firstlight.measure.rank import Ranks, effective_rank, ranks
from firstlight.measure.subset import StandardRows, standardise
from firstlight.measure.units import constant_units, dead_units, saturation
from firstlight.measure.weight import WeightSummary, weight_summary

__all__ = [
    "Gaussianity",
    "Histogram",
    "Moments",
    "Ranks",
    "SampleCorrelation",
    "SecondMoments",
    "StandardRows",
    "WeightSummary",
    "constant_units",
    "dead_units",
    "effective_rank",
    "gaussianity",
    "histogram",
    "isometry",
    "isometry_gap",
    "ks_to_normal",
    "log_rms",
    "moments",
    "orthogonality_gap",
    "quantiles",
    "ranks",
    "sample_correlation",
    "saturation",
    "second_moments",
    "standardise",
    "weight_summary",
]
