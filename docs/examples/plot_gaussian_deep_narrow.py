"""
Make a 100-layer network of width 10 whose pre-activations stay Gaussian
========================================================================

A tanh network of width 10 leaves the Gaussian within a few layers. With an exact pair, weights from a
symmetric Weibull law and the activation that belongs to it, pre-activations stay N(0, 1) at any depth.
"""

# %%
# Build the network: the activation goes between the layers, the weights come from ``initialise_``, which
# says what it wrote.

import matplotlib.pyplot as plt
import torch
from torch import nn

from firstlight import pairs

pair = pairs.weibull(2.05, kind="positive")
generator = torch.Generator().manual_seed(0)


def network(phi: nn.Module, depth: int = 100, width: int = 10) -> nn.Sequential:
    layers = [nn.Linear(width, width)]
    for _ in range(depth - 1):
        layers += [phi, nn.Linear(width, width)]
    return nn.Sequential(*layers)


net = network(pair.activation)
written = pair.initialise_(net, generator=generator)
print(len(written.written), "layers written;", len(written.left), "left")

# %%
# One neuron of the last layer, over 80 networks, against a tanh network at the edge of chaos.


def last_unit(phi: nn.Module, fill) -> torch.Tensor:
    values = []
    for _ in range(80):
        net = network(phi)
        fill(net)
        with torch.no_grad():
            values.append(net(torch.ones(10))[0])
    return torch.stack(values)


def edge_of_chaos(net: nn.Module) -> None:
    for layer in net:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=(1.46 / 10) ** 0.5, generator=generator)
            nn.init.normal_(layer.bias, std=0.013**0.5, generator=generator)


ours = last_unit(pair.activation, lambda net: pair.initialise_(net, generator=generator))
tanh = last_unit(nn.Tanh(), edge_of_chaos)

figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
grid = torch.linspace(-3, 3, 200)
for values, label in ((ours, "pair, θ = 2.05, positive"), (tanh, "tanh")):
    axis.plot(torch.sort(values).values, torch.arange(1, 81) / 80, drawstyle="steps-post", label=label)
axis.plot(grid, torch.special.ndtr(grid), "k--", label="N(0, 1)")
axis.set(xlabel="pre-activation of layer 100", ylabel="cumulative probability", xlim=(-3, 3))
axis.legend()

# %%
# The check says what this costs: the positive pair is Gaussian, and its gradients vanish.

print(pair.check())
