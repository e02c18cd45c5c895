import math

import pytest
import torch
from torch import nn


@pytest.fixture
def deep_mlp():
    """A factory of plain deep networks with weights N(0, σ_w²/fan-in)."""

    def make(depth, width, activation, sigma_w, *, inputs=64, sigma_b=0.0, norm=None, outputs=10, seed=0):
        generator = torch.Generator().manual_seed(seed)
        layers, fan_in = [], inputs
        for _ in range(depth):
            layer = nn.Linear(fan_in, width)
            nn.init.normal_(layer.weight, 0.0, sigma_w / math.sqrt(fan_in), generator=generator)
            nn.init.normal_(layer.bias, 0.0, sigma_b, generator=generator) if sigma_b else nn.init.zeros_(
                layer.bias
            )
            layers += [layer, *([norm(width)] if norm else []), activation()]
            fan_in = width
        head = nn.Linear(fan_in, outputs)
        nn.init.normal_(head.weight, 0.0, sigma_w / math.sqrt(fan_in), generator=generator)
        nn.init.zeros_(head.bias)
        return nn.Sequential(*layers, head)

    return make


@pytest.fixture(scope="session")
def digits():
    """256 handwritten digits, 8×8, flattened; raw pixels are 0…16, so the mean makes inputs alike (c ≈ .8)."""
    from sklearn.datasets import load_digits

    x = torch.tensor(load_digits().data[:256], dtype=torch.float32)
    return x / x.square().mean().sqrt()


@pytest.fixture
def codes():
    """The verdict codes of a result."""

    def of(result):
        return [v.code for v in result.verdicts]

    return of
