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
from firstlight.measure.representation.confusion import GradientConfusion, gradient_confusion
from firstlight.measure.representation.diffusion import diffusion_spectral_entropy
from firstlight.measure.representation.entries import dc_share, top_over_median, zero_share
from firstlight.measure.representation.information import Information, mutual_information
from firstlight.measure.representation.massive import MassiveFit, fit_massive
from firstlight.measure.representation.patterns import ActivationPatterns, activation_patterns, space_folding
from firstlight.measure.representation.record import (
    REPRESENTATION_MEASURES,
    RepresentationMeasure,
    chosen_measures,
    representation,
)
from firstlight.measure.representation.router import RouterLoad, router_load
from firstlight.measure.representation.spectrum import epsilon_rank, von_neumann_entropy
from firstlight.measure.subset import LayerStack, StandardRows, stack_layers, stackable, standardise
from firstlight.measure.units import constant_units, dead_units, saturation
from firstlight.measure.weight import WeightSummary, weight_summaries, weight_summary

__all__ = [
    "REPRESENTATION_MEASURES",
    "ActivationPatterns",
    "Gaussianity",
    "GradientConfusion",
    "Histogram",
    "Information",
    "LayerStack",
    "MassiveFit",
    "Moments",
    "Ranks",
    "RepresentationMeasure",
    "RouterLoad",
    "SampleCorrelation",
    "SecondMoments",
    "StandardRows",
    "WeightSummary",
    "activation_patterns",
    "chosen_measures",
    "constant_units",
    "dc_share",
    "dead_units",
    "diffusion_spectral_entropy",
    "effective_rank",
    "epsilon_rank",
    "fit_massive",
    "gaussianities",
    "gaussianity",
    "gradient_confusion",
    "histogram",
    "isometry",
    "isometry_gap",
    "ks_to_normal",
    "log_rms",
    "moments",
    "moments_of_each",
    "mutual_information",
    "orthogonality_gap",
    "quantiles",
    "ranks",
    "representation",
    "router_load",
    "sample_correlation",
    "sample_correlations",
    "saturation",
    "second_moments",
    "space_folding",
    "stack_layers",
    "stackable",
    "standardise",
    "top_over_median",
    "von_neumann_entropy",
    "weight_summaries",
    "weight_summary",
    "zero_share",
]
