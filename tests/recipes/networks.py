"""Networks, and what is kept of one, that tests of recipes share."""

import torch
from torch import nn


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def chain(phi, inputs=64, width=256, depth=4, outputs=10):
    layers = [nn.Linear(inputs, width)]
    for _ in range(depth - 2):
        layers += [phi(), nn.Linear(width, width)]
    return nn.Sequential(*layers, phi(), nn.Linear(width, outputs))


def tanh_chain(width=64):
    return nn.Sequential(
        nn.Linear(64, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 10)
    )


def bits(model):
    return {
        name: value.clone() for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)
    }
