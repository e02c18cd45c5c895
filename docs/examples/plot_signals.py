"""
Phase diagrams and finite-width laws
====================================

What an infinitely deep network does for every pair of scales, and what a narrow one adds.
"""

# %%
# The gradient factor χ₁ at the stationary variance; the white line is the edge of chaos.
import matplotlib.pyplot as plt
import numpy as np

import firstlight
from firstlight.theory import phase_diagram, propagate_density

names = ("tanh", "relu", "gelu", "sin", "log_periodic(0.99, 6)")
figure, axes = plt.subplots(1, len(names), figsize=(15, 3.2), sharey=True, layout="constrained")
w, b = np.linspace(0.2, 3, 57), np.linspace(0, 1, 31)
for axis, name in zip(axes, names, strict=True):
    diagram = phase_diagram(name, sigma_w=w, sigma_b=b, depth=300)
    shown = np.where(np.isfinite(diagram.q), np.clip(diagram.chi, 0.01, 10), np.nan)
    image = axis.pcolormesh(w, b, np.log10(shown), cmap="RdBu_r", vmin=-0.6, vmax=0.6, shading="nearest")
    edge = firstlight.edge_of_chaos(name)
    keep = (edge.sigma_w <= 3) & (edge.sigma_b <= 1)
    axis.plot(edge.sigma_w[keep], edge.sigma_b[keep], "w-" if keep.sum() > 2 else "wo", lw=2)
    axis.set(title=name, xlabel="σ_w", xlim=(0.2, 3), ylim=(0, 1))
axes[0].set_ylabel("σ_b")
figure.colorbar(image, ax=axes, label="log₁₀ χ₁")
plt.show()

# %%
# Distance of one unit's law to a Gaussian of its variance, by density propagation.
figure, axis = plt.subplots(layout="constrained")
for name, scale in (("tanh", 1.2), ("relu", 2**0.5), ("gelu", 1.5)):
    for width, style in ((5, "-"), (20, "--")):
        net = firstlight.RandomNetwork(depth=30, width=width, activation=name, sigma_w=scale, sigma_b=0.1)
        laws = propagate_density(net, q1=1.0)
        axis.plot(np.arange(1, 31), laws.ks_standardised, style, label=f"{name}, width {width}")
axis.set(xlabel="depth", ylabel="standardised Kolmogorov–Smirnov distance", yscale="log", ylim=(1e-4, 1))
axis.legend()
plt.show()
