"""What tests of parameters build models from: layers of zeros, plain parameters, and one batch."""

import math

import torch
from torch import nn


def zero(layer):
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


def parameter(*shape):
    return nn.Parameter(torch.randn(*shape) / math.sqrt(shape[-1]))


def samples():
    return torch.randn(32, 16, generator=torch.Generator().manual_seed(0))


def mlp(inputs=16, outputs=4, act=nn.ReLU):
    """One hidden layer of 32 units."""
    return nn.Sequential(nn.Linear(inputs, 32), act(), nn.Linear(32, outputs))
