"""Which start the weights of an audited model seem to follow."""

from itertools import pairwise

import pytest
import torch
from torch import nn

import firstlight


def net(widths=(64, 96, 128, 80, 96, 10)):
    layers = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize(
    "word",
    ["torch-default", "he", "he(law='uniform')", "glorot", "glorot(law='normal')", "lecun", "flax-default"],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_start_is_known_again(word, seed):
    model = net()
    firstlight.initialise_(model, word, generator=torch.Generator().manual_seed(seed))
    assert firstlight.audit(model, torch.randn(8, 64)).start == f"{word} (5 of 5 weights)"


def test_one_standard_deviation_and_none():
    model = net()
    for layer in model[::2]:
        nn.init.normal_(layer.weight, 0.0, 0.02, generator=torch.Generator().manual_seed(0))
    assert firstlight.audit(model, torch.randn(8, 64)).start == "one standard deviation 0.02 (5 of 5 weights)"
    firstlight.initialise_(model, "orthogonal(gain=1.7)", generator=torch.Generator().manual_seed(0))
    assert firstlight.audit(model, torch.randn(8, 64)).start == ""


def test_the_page_says_it():
    model = net()
    firstlight.initialise_(model, "he", generator=torch.Generator().manual_seed(0))
    assert "he (5 of 5 weights)" in firstlight.audit(model, torch.randn(8, 64)).to_html()
