"""
Which start for my activation?
==============================

Four activations, four starts each, 30 layers deep: what the audit says before the first step, and the loss after 200.
"""

# %%
# Theory says where each activation can be critical: at which scales second moments and gradients are kept together.
import matplotlib.pyplot as plt
import torch
from torch import nn

import firstlight
from firstlight import theory
from firstlight.builders import activation_module
from firstlight.data import load

for name in ("tanh", "relu", "gelu", "silu", "sigmoid", "sin"):
    view = {one.name: one for one in theory.unified_view(name)}
    edge = view.get("edge of chaos")
    said = f"σ_w {edge.sigma_w:.3f}, σ_b {edge.sigma_b:.3f} at q = {edge.q:.3g}" if edge else "no edge"
    print(f"{name:8} {said}")

# %%
# The same question asked of a model: each recipe writes a start, the audit judges it, and 200 steps of Adam show
# whether the start trains.
digits = load("digits", count=256)
x, y = digits.inputs.flatten(1), digits.targets


def network(name):
    torch.manual_seed(0)
    layers = [nn.Linear(64, 64)]
    for _ in range(28):
        layers += [activation_module(name), nn.Linear(64, 64)]
    return nn.Sequential(*layers, activation_module(name), nn.Linear(64, 10))


starts = ("torch-default", "he", "critical", "looks-linear")
losses = {start: [] for start in starts}
names = ("tanh", "relu", "gelu", "sigmoid")
for name in names:
    for start in starts:
        model = network(name)
        try:
            firstlight.initialise_(model, start, x, generator=torch.Generator().manual_seed(0))
        except firstlight.errors.DomainError as error:
            print(f"{name:8} {start:14} refused: {str(error)[:90]}")
            losses[start].append(float("nan"))
            continue
        verdicts = [
            v.code
            for v in firstlight.audit(model, x, y, optimiser="adam").verdicts
            if v.severity == "unhealthy"
        ]
        optimiser = torch.optim.Adam(model.parameters(), 1e-3)
        for _ in range(200):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimiser.step()
        losses[start].append(float(loss.detach()))
        print(f"{name:8} {start:14} loss {losses[start][-1]:7.3g}  {', '.join(verdicts) or 'healthy'}")

# %%
# A guess has a loss of 2.30. Starts that the audit calls unhealthy for Adam stay near it, with one exception:
# sigmoids on their edge of chaos saturate, and are slow.
figure, axis = plt.subplots(figsize=(7, 3.2))
for i, start in enumerate(starts):
    axis.bar([j + 0.2 * i for j in range(len(names))], losses[start], width=0.18, label=start)
axis.set(xticks=[j + 0.3 for j in range(len(names))], ylabel="loss after 200 steps")
axis.set_xticklabels(names)
axis.axhline(2.3026, color="grey", linestyle=":")
axis.legend(fontsize=8)
figure.tight_layout()
