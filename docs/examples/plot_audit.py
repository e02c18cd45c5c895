"""
Audit a deep network
====================

Fifty tanh layers with slightly too large weights, and the same network at the edge of chaos.
"""

# %%
# A random network is described by its depth, width, activation and two scales. With :math:`\sigma_w = 1.89` each
# layer multiplies the squared gradient by about 1.3: nobody would notice in five layers.
import torch

import firstlight
from firstlight.networks import mlp

generator = torch.Generator().manual_seed(0)
inputs = torch.randn(128, 64, generator=generator)
chaotic = mlp(64, 10, depth=50, width=128, activation="tanh", sigma_w=1.89, sigma_b=0.0, generator=generator)
firstlight.audit(chaotic, inputs)

# %%
# Everything the page shows is also data. Here is the gradient at the first and the last layer.
weights = firstlight.audit(chaotic, inputs).profile.select("weight")
print(
    f"rms gradient, first over last layer: {torch.tensor(weights['log_grad'][0] - weights['log_grad'][-1]).exp():.0f}"
)

# %%
# The remedy scales the weights to the edge of chaos, where :math:`\chi_1 = 1`.
critical = mlp(64, 10, depth=50, width=128, activation="tanh", sigma_w=1.0, sigma_b=0.0, generator=generator)
firstlight.audit(critical, inputs)
