import math
import os

import pytest
import torch
from torch import nn


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state and default dtype."""
    torch.manual_seed(0)
    yield
    assert torch.get_default_dtype() == torch.float32, "a test changed the default dtype and left it so"


@pytest.fixture(scope="session")
def data_dir():
    """The folder of image data laid out as torchvision does, or a skip that says how to get one."""
    path = os.environ.get("FIRSTLIGHT_DATA")
    if not path:
        pytest.skip("set FIRSTLIGHT_DATA to a folder with MNIST/raw and cifar-10-batches-py")
    return path


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
