"""
Phase diagrams, kernels and finite-width laws
=============================================

What an infinitely deep network does for every pair of scales, what it thinks of two inputs, and what a narrow one adds.
"""

# %%
# The gradient factor χ₁ at the stationary variance; the black line is the edge of chaos, and grey is where the variance
# explodes.
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
    axis.plot(edge.sigma_w[keep], edge.sigma_b[keep], "k-" if keep.sum() > 2 else "ko", lw=2)
    axis.set_facecolor("0.8")
    axis.set(title=name, xlabel="σ_w", xlim=(0.2, 3), ylim=(0, 1))
axes[0].set_ylabel("σ_b")
figure.colorbar(image, ax=axes, label="log₁₀ χ₁")
plt.show()

# %%
# Distance of one unit's law to a Gaussian of its variance, by density propagation.
figure, axis = plt.subplots(layout="constrained")
for name, scale in (("tanh", 1.2), ("relu", 2**0.5), ("gelu", 1.4)):
    for width, style in ((5, "-"), (20, "--")):
        net = firstlight.RandomNetwork(depth=30, width=width, activation=name, sigma_w=scale, sigma_b=0.1)
        laws = propagate_density(net, q1=1.0)
        axis.plot(np.arange(1, 31), laws.ks_standardised, style, label=f"{name}, width {width}")
axis.set(xlabel="depth", ylabel="standardised Kolmogorov–Smirnov distance", yscale="log", ylim=(1e-4, 1))
axis.legend()
plt.show()

# %%
# What networks of growing depth think of two inputs: the correlation of a unit's values against that of the inputs. At
# the edge of chaos the curves flatten slowly, as a power of depth.
import math

import torch

from firstlight.theory import kernels

angles = np.linspace(0, math.pi, 181)
circle = torch.from_numpy(np.stack([np.cos(angles), np.sin(angles)], 1) * math.sqrt(2))
figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), sharey=True, layout="constrained")
for axis, (name, sigma_b) in zip(axes, (("relu", 0.0), ("tanh", 0.1), ("gelu", 0.416)), strict=True):
    edge = firstlight.edge_of_chaos(name).at(sigma_b=sigma_b)[0]
    for depth, colour in ((2, "C0"), (5, "C1"), (20, "C2"), (60, "C3")):
        net = firstlight.RandomNetwork(
            depth=depth,
            width=8,
            activation=name,
            sigma_w=edge.sigma_w,
            sigma_b=edge.sigma_b,
            parametrisation="ntk",
        )
        found = kernels(net, circle[:1], circle)
        for values, style in ((found.nngp[0], "-"), (found.ntk[0], "--")):
            axis.plot(np.cos(angles), values / values[0], style, color=colour, label=f"depth {depth}")
    axis.set(
        title=f"{name}, σ_w = {edge.sigma_w:.3f}, σ_b = {edge.sigma_b:.3f}", xlabel="cosine of the inputs"
    )
axes[0].set_ylabel("kernel over its value at equal inputs")
axes[0].legend(
    *(entries[::2] for entries in axes[0].get_legend_handles_labels()), title="solid NNGP, dashed NTK"
)
plt.show()

# %%
# Laws of finite width beside networks drawn, with five standard errors: the excess kurtosis of one unit, to leading
# order in depth over width (for ReLU, exactly), and with whole laws under independent units, which falls behind where
# units of one layer share their scale. A sample of heavy tails falls short of their kurtosis.
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
cases = (("relu", math.sqrt(2), 0.0), ("tanh", math.sqrt(1.46), math.sqrt(0.013)))
for axis, (name, sigma_w, sigma_b) in zip(axes, cases, strict=True):
    for width, colour in ((10, "C0"), (30, "C1")):
        net = firstlight.RandomNetwork(
            depth=8, width=width, activation=name, sigma_w=sigma_w, sigma_b=sigma_b, in_features=100
        )
        drawn = firstlight.simulate(net, nets=6000, seed=1)
        theory = firstlight.predict(net, q0=1.0)
        independent = firstlight.predict(net, q0=1.0, level="density")
        layers = np.arange(1, 9)
        axis.errorbar(layers, drawn["kurtosis"], 5 * drawn["kurtosis_se"], fmt=".", color=colour, capsize=2)
        axis.plot(layers, theory["kurtosis"], "-", color=colour, label=f"width {width}")
        axis.plot(layers, independent["kurtosis"], ":", color=colour)
    axis.set(
        title=name, xlabel="layer", ylabel="excess kurtosis", yscale="symlog" if name == "relu" else "linear"
    )
    axis.legend(
        title="points drawn, solid 1/width, dotted independent", fontsize="small", title_fontsize="small"
    )
plt.show()
