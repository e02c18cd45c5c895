"""A model that each recipe is for, with data."""

import pytest
import torch
from torch import nn

from firstlight import builders, theory


class Sine(nn.Module):
    def forward(self, x):
        return torch.sin(30.0 * x)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(32, 32), nn.Linear(32, 32)

    def forward(self, x):
        return x + self.b(torch.relu(self.a(x)))


def _chain(phi):
    return nn.Sequential(
        nn.Linear(64, 32), phi(), nn.Linear(32, 32), phi(), nn.Linear(32, 32), phi(), nn.Linear(32, 10)
    )


@pytest.fixture
def case():
    """`case(word)` gives a model that the recipe is for, inputs and targets."""
    residual = ("fixup", "skipinit", "rezero", "depth-scaled", "t-fixup", "deepnorm", "transformer")
    sparse = theory.sparse_tuning("crelu", sparsity=0.85, slope=0.5).activation
    phis = {
        "siren": Sine,
        "winner": Sine,
        "looks-linear": nn.ReLU,
        "sparse": lambda: builders.activation_module(sparse),
    }

    def made(word):
        generator = torch.Generator().manual_seed(9)
        x = torch.randn(32, 64, generator=generator)
        y = torch.randint(0, 10, (32,), generator=generator)
        if word == "winner":
            y = torch.sin(torch.arange(320.0)).view(32, 10)
        model = _chain(phis.get(word, nn.Tanh))
        if word in residual:
            model = nn.Sequential(nn.Linear(64, 32), Block(), Block(), Block(), nn.Linear(32, 10))
        return model, x, y

    return made
