"""
Which θ should I use?
=====================

θ moves a pair between two ends. Near 2, φ saturates: the law is held firmly, gradients are further from
critical. For large θ, φ is nearly linear: gradients are kept, but a narrow network drifts.
"""

# %%
# The activation for several θ, odd and critical.

import matplotlib.pyplot as plt
import numpy as np

from firstlight import pairs

thetas = (2.05, 3.0, 5.0, 10.0)
x = np.linspace(-4, 4, 301)
figure, axes = plt.subplots(1, 2, figsize=(8, 3.5), layout="constrained", sharey=True)
for axis, kind in zip(axes, ("odd", "critical"), strict=True):
    for theta in thetas:
        axis.plot(x, pairs.weibull(theta, kind=kind).exact(x), label=f"θ = {theta:g}")
    axis.set(title=kind, xlabel="x", ylabel="φ(x)")
    axis.legend()

# %%
# What each does to gradients (χ₁) and to a second moment that has left 1 (V').

figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
for kind in ("odd", "positive"):
    checks = [pairs.weibull(theta, kind=kind).check() for theta in thetas]
    axis.plot(thetas, [c.chi for c in checks], "o-", label=f"χ₁, {kind}")
    axis.plot(thetas, [c.variance_slope for c in checks], "s--", label=f"V'(1), {kind}")
axis.axhline(1, color="grey", lw=1)
axis.set(xlabel="θ", xscale="log", ylabel="per layer")
axis.legend()

# %%
# A recommendation, with its reasons.

print(pairs.recommend(depth=30, width=100))
print()
print(pairs.recommend(depth=100, width=10))
