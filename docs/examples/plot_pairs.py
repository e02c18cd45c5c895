"""
What a Gaussian pair is made of
===============================

Weights W of a symmetric Weibull law, the law of the size of φ(X) that makes W φ(X) Gaussian, and the activations that
have it.
"""

# %%
# The law of :math:`|\varphi(X)|` goes from an arcsine law (θ = 2) to a half-normal (θ = ∞), and φ from a bounded
# function to the identity. On the right, three activations with one law of :math:`|\varphi(X)|`, θ = 3: odd, positive,
# and split where χ₁ = 1.
import math

import matplotlib.pyplot as plt
import numpy as np

from firstlight import pairs
from firstlight.pairs.exact.check import check
from firstlight.pairs.exact.function import ExactActivation
from firstlight.pairs.exact.numbers import chi
from firstlight.pairs.exact.wright import weibull_partner

thetas = {2.0: "θ = 2", 2.2: "2.2", 3.0: "3", 5.0: "5", math.inf: "∞"}
colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(thetas)))
figure, (laws, odd, kinds) = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
y, x = np.linspace(1e-3, 3, 400), np.linspace(-4, 4, 401)
for (theta, label), colour in zip(thetas.items(), colours, strict=True):
    magnitude = weibull_partner(theta)
    laws.plot(y, np.where(y < magnitude.edge, magnitude.pdf(y), np.nan), color=colour, label=label)
    odd.plot(x, ExactActivation(magnitude, 0.5)(x), color=colour, label=label)
laws.set(title="the law of |φ(X)|", xlabel="y", ylabel="density", ylim=(0, 1.6))
odd.set(title="the odd activation", xlabel="x", ylabel="φ(x)")
for kind, style in (("odd", "-"), ("positive", "--"), ("critical", ":")):
    kinds.plot(x, pairs.weibull(3.0, kind=kind).exact(x), style, label=kind, lw=2)
kinds.set(title="three kinds, θ = 3", xlabel="x", ylabel="φ(x)")
for axis in (laws, odd, kinds):
    axis.legend()
plt.show()

# %%
# What the split does: p is the share of X on which φ is negative. χ₁ passes through 1 at one p, where the pair is
# critical; but only p = 1/2 leaves unrelated inputs unrelated.
figure, (growth, means) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
splits = np.linspace(0.02, 0.5, 13)
for theta, colour in zip((2.05, 3.0, 5.0), ("C0", "C1", "C2"), strict=True):
    pair = pairs.weibull(theta, kind="critical")
    shapes = [ExactActivation(pair.exact.magnitude, float(p)) for p in splits]
    growth.plot(
        splits, [chi(phi, pair.weights.variance) for phi in shapes], color=colour, label=f"θ = {theta:g}"
    )
    growth.plot(pair.split, 1, "o", color=colour)
    means.plot(splits, [check(pair.weights, phi).correlation_at_zero for phi in shapes], color=colour)
growth.axhline(1, color="grey", lw=1)
growth.set(xlabel="p", ylabel="χ₁", title="growth of the squared gradient a layer")
means.set(xlabel="p", ylabel="C(0)", title="correlation that unrelated inputs get")
growth.legend()
plt.show()
