"""
Audit a deep network
====================

Fifty tanh layers with slightly too large weights, and the same network at the edge of chaos.
"""

# %%
# A random network is described by its depth, width, activation and two scales. With :math:`\sigma_w = 1.89`
# each layer multiplies the squared gradient by about 1.3: nobody would notice in five layers.
import math

import torch

import firstlight
from firstlight.builders import mlp

inputs = torch.randn(128, 64, generator=torch.Generator().manual_seed(0))


def network(sigma_w):
    sizes = {"depth": 50, "width": 128}
    generator = torch.Generator().manual_seed(1)
    scales = {"sigma_w": sigma_w, "sigma_b": 0.0}
    return mlp(64, 10, **sizes, **scales, activation="tanh", generator=generator)


firstlight.audit(network(sigma_w=1.89), inputs)

# %%
# Everything the page shows is also data. Here is the gradient at the first of the fifty layers over that
# at the last, before the readout.
weights = firstlight.audit(network(sigma_w=1.89), inputs).profile.select("weight")
ratio = math.exp(weights["log_grad"][0] - weights["log_grad"][49])
print(f"rms gradient, first over last layer: {ratio:.0f}")

# %%
# The remedy scales the weights to the edge of chaos, where :math:`\chi_1 = 1`.
firstlight.audit(network(sigma_w=1.0), inputs)
