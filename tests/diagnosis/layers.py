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
