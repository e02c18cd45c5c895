"""
Gaussian processes of convolutional networks
============================================

Handwritten digits by the posterior of an infinitely wide network: dense, convolutional with its positions flattened,
and convolutional with pooling.
"""

# %%
# The priors share depth, activation and scales; only what the weights are shared over differs. Targets are one-hot
# codes less their mean, and nothing is trained: the posterior is a linear solve.
import math

import matplotlib.pyplot as plt
import torch

import firstlight
from firstlight.data import load
from firstlight.theory import ConvolutionalNetwork, posterior

digits = load("digits", count=500, seed=0)
images, labels = digits.inputs.double().reshape(-1, 1, 8, 8), digits.targets
codes = torch.nn.functional.one_hot(labels).double() - 0.1
layers = firstlight.RandomNetwork(depth=4, width=8, activation="relu", sigma_w=math.sqrt(2), sigma_b=0.1)
flat = ConvolutionalNetwork(layers=layers, padding="zero")
priors = {"dense": (layers, images.flatten(1)), "convolutional, flattened": (flat, images)}

figure, axis = plt.subplots(layout="constrained")
sizes = (25, 50, 100, 200)
for name, (network, inputs) in priors.items():
    errors = []
    for size in sizes:
        found = posterior(network, inputs[:size], codes[:size], inputs[200:], noise=1e-2)
        errors.append(float((found.labels != labels[200:]).double().mean()))
    axis.plot(sizes, errors, "o-", label=name)
    print(f"{name}: {1 - errors[-1]:.1%} of {len(labels) - 200} test digits right after {sizes[-1]}")
axis.set(xlabel="training digits", ylabel="share of test digits wrong", xscale="log", yscale="log")
axis.legend()
plt.show()

# %%
# Pooling averages the kernel over all pairs of positions. With circular padding the process does not see where a digit
# stands; on centred digits that is a loss, on shifted ones a gain.
small = torch.nn.functional.avg_pool2d(images, 2)
pool = ConvolutionalNetwork(layers=layers.with_(depth=3), readout="pool")
for name, network, inputs in (
    ("pooled", pool, small),
    ("flattened", ConvolutionalNetwork(layers=pool.layers), small),
):
    shares = []
    for shift in (0, 2):
        moved = inputs[250:].roll(shift, -1)
        found = posterior(network, inputs[:100], codes[:100], moved, noise=1e-2)
        shares.append(float((found.labels == labels[250:]).double().mean()))
    print(f"{name}: {shares[0]:.1%} right as they are, {shares[1]:.1%} moved by half of the image")
