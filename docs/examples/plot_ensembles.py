"""
Ten thousand random networks
============================

How far are the pre-activations of a deep, narrow network from Gaussian, and how correlated do two inputs become?
Infinite width says "not at all" and gives one curve; sampling the networks exactly says what happens at width 10.
"""

# %%
# A hundred layers of width 10
# ----------------------------
# ReLU with He's scale and tanh at the edge of chaos, one input, 10 000 networks each. No weight is drawn: given
# a layer, the next one is Gaussian, and its variance is all that is followed.

import matplotlib.pyplot as plt
import numpy as np

import firstlight
from firstlight.ensemble.runs.sweep import correlated_inputs

layers = [1, 2, 3, 5, 10, 20, 30, 50, 70, 100]
scales = {"relu": (2**0.5, 0.0), "tanh": (1.46**0.5, 0.013**0.5)}
figure, axis = plt.subplots()
for name, (sigma_w, sigma_b) in scales.items():
    net = firstlight.RandomNetwork(depth=100, width=10, activation=name, sigma_w=sigma_w, sigma_b=sigma_b)
    profile = firstlight.simulate(net, nets=10_000, layers=layers)
    axis.errorbar(
        profile["depth"],
        profile["ks_standardised"],
        yerr=profile["ks_standardised_se"],
        marker="o",
        label=name,
    )
axis.axhline(profile["ks_critical"][0], color="grey", linestyle="--", label="5 % line of 10 000 values")
axis.set(xlabel="layer", ylabel="KS distance to a Gaussian, scale taken out", yscale="log", title="Width 10")
axis.legend()

# %%
# Correlations of two inputs
# --------------------------
# Two inputs with cosine 0.2. The mean cosine in a network and the correlation pooled over networks are different
# numbers for narrow ReLU networks, where few networks carry most of the second moment; theory beside is the limit of
# infinite width.

figure, axis = plt.subplots()
x = correlated_inputs(20, count=2, correlation=0.2)
for width, colour in ((10, "C0"), (100, "C1")):
    net = firstlight.RandomNetwork(depth=50, width=width, activation="relu", sigma_w=2**0.5)
    p = firstlight.simulate(net, x, nets=500, layers=[1, 2, 5, 10, 20, 30, 40, 50])
    for column, style in (("correlation_network", "o"), ("correlation", "s")):
        label = f"width {width}, {'per network' if column.endswith('network') else 'pooled'}"
        error = np.nan_to_num(p[f"{column}_se"])
        axis.errorbar(
            p["depth"], p[column], yerr=error, fmt=style, color=colour, label=label, fillstyle="none"
        )
axis.plot(p["depth"], p["correlation_theory"], "k--", label="infinite width")
axis.set(xlabel="layer", ylabel="correlation", title="ReLU")
axis.legend()
