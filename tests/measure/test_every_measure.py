"""Every measure passes through the tester that users have."""

from dataclasses import replace

import pytest
import torch

from firstlight import measure
from firstlight.testing import MeasureTester

MEASURES = {
    "moments": measure.moments,
    "second_moments": measure.second_moments,
    "log_rms": measure.log_rms,
    "gaussianity": measure.gaussianity,
    "ks_to_normal": measure.ks_to_normal,
    "sample_correlation": measure.sample_correlation,
    # the numerical rank depends on the dtype by definition
    "ranks": lambda x: replace(measure.ranks(x), numerical=0.0),
    "effective_rank": measure.effective_rank,
    "dead_units": measure.dead_units,
    "constant_units": measure.constant_units,
    "saturation": measure.saturation,
    "weight_summary": measure.weight_summary,
    "histogram": measure.histogram,
    "epsilon_rank": measure.epsilon_rank,
    "von_neumann_entropy": measure.von_neumann_entropy,
    "diffusion_spectral_entropy": measure.diffusion_spectral_entropy,
    "activation_patterns": measure.activation_patterns,
    "gradient_confusion": lambda x: measure.gradient_confusion(x).cosine,
    "space_folding": measure.space_folding,
    "zero_share": measure.zero_share,
    "dc_share": measure.dc_share,
    "top_over_median": measure.top_over_median,
    "mutual_information": measure.mutual_information,
    "mutual_information by a kernel": lambda x: measure.mutual_information(x, estimator="kernel"),
    "router_load": measure.router_load,
    "representation": lambda x: measure.representation(x, tuple(measure.REPRESENTATION_MEASURES)),
    "quantiles": lambda x: measure.quantiles(x, [0.0, 0.3, 1.0]),
}


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_takes_every_tensor(name):
    # float32 blocks of 960 entries round at 1e-7 each; third and fourth moments lose at most a digit to that
    MeasureTester(MEASURES[name]).all()


def test_an_accelerator_gives_the_same_numbers():
    """On whatever accelerator this machine has; the CPU again where it has none."""
    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    x = MeasureTester.matrix().float()
    assert measure.moments(x.to(device)).kurtosis == pytest.approx(measure.moments(x).kurtosis, rel=1e-5)
