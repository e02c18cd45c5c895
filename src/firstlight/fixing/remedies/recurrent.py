"""Recurrent layers that remember: orthogonal steps through time, and forget gates that begin open."""

from __future__ import annotations

import math

import torch
from torch import nn

from firstlight.profile import Profile
from firstlight.recipes.layout.trained import learnt_direction
from firstlight.weights import haar


@torch.no_grad()
def remember(model: nn.Module, profile: Profile, generator: torch.Generator) -> list[str]:
    """Give torch's recurrent layers orthogonal recurrent weights, inputs of σ_w = 1, and LSTM a forget bias of 1.

    An orthogonal step alone does not make the state's gradient vanish or explode. Layers that look trained or are
    frozen are left.

    References
    ----------
    Saxe et al., ICLR 2014; Le, Jaitly & Hinton, 2015 (ReLU); Jozefowicz et al., ICML 2015 (forget bias).
    """
    del profile
    changes: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.RNN | nn.GRU | nn.LSTM):
            continue
        if module.proj_size or not all(p.requires_grad for p in module.parameters()):
            continue
        steps = {n: p for n, p in module.named_parameters() if n.startswith("weight_hh")}
        if any(learnt_direction(p) > 1.0 for p in steps.values()):
            continue
        size = module.hidden_size
        for key, parameter in module.named_parameters():
            if key in steps:
                for block in parameter.split(size):
                    block.copy_(haar(size, size, generator=generator, dtype=torch.float64))
            elif key.startswith("weight_ih"):
                drawn = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(drawn / math.sqrt(parameter.shape[1]))
            elif key.startswith("bias"):
                parameter.zero_()
                if isinstance(module, nn.LSTM) and key.startswith("bias_ih"):
                    parameter[size : 2 * size] = 1.0
        forget = ", forget bias 1" if isinstance(module, nn.LSTM) else ""
        changes.append(f"{name}: orthogonal through time, σ_w = 1 at the input{forget}")
    return changes
