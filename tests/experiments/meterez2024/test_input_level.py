"""What the number of inputs adds to the gradient of the first weights, beside networks that are built."""

import pytest
import torch

from firstlight.builders import NormOptions
from firstlight.experiments.meterez2024.gradients import gradients_at_start
from firstlight.experiments.meterez2024.studies._batch import input_level


def level(x, weights):
    """log ‖∇W₁‖, a mean of eight networks."""
    found = [
        gradients_at_start(x, depth=3, width=16, seed=seed, weights=weights, norm=NormOptions(eps=0.0))
        for seed in range(8)
    ]
    return sum(float(one.log_norms[0]) for one in found) / len(found)


@pytest.mark.parametrize("weights", ["orthogonal", "normal"])
def test_inputs_add_the_level_and_their_scale_and_mean_add_nothing(weights):
    g = torch.Generator().manual_seed(0)
    few, many = (torch.randn(40, n, generator=g, dtype=torch.float64) for n in (16, 256))
    gain = level(many, weights) - level(few, weights)
    # means of eight networks scatter by .03 to .05; 16 inputs have a wider spectrum than 256 for 40 samples
    assert gain == pytest.approx(input_level(256, 16, weights=weights), abs=0.25)
    assert level(7 * many + 3, weights) == pytest.approx(level(many, weights), abs=1e-6)
