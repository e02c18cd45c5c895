"""
SIREN: healthy signals are not the same as a start that trains
==============================================================

Four starts of one network of sines. Two of them keep every signal at variance one, and do not train.
"""

# %%
# A network of four sines sin(30 z) learns a signal on a line.
import math

import matplotlib.pyplot as plt
import torch
from torch import nn

import firstlight


class Sine(nn.Module):
    def forward(self, x):
        return torch.sin(30.0 * x)


def network():
    layers = [nn.Linear(1, 128)]
    for _ in range(3):
        layers += [Sine(), nn.Linear(128, 128)]
    return nn.Sequential(*layers, Sine(), nn.Linear(128, 1))


x = torch.linspace(-1, 1, 512).unsqueeze(1)
y = torch.sin(2 * math.pi * 4 * x) + 0.5 * torch.sin(2 * math.pi * 9 * x)
y = y / y.std()

# %%
# Layer-sequential scaling (``lsuv``) gives every layer second moment 1, and ``vi3nr`` aims at the same. Yet sin(30 z)
# at z of size 1 has a slope of about 21: each layer multiplies the gradient. ``siren`` and ``critical`` keep the
# arguments of the sines near 1.
starts = ("lsuv", "vi3nr", "critical", "siren")
curves, ratios = {}, {}
for start in starts:
    torch.manual_seed(0)
    model = network()
    firstlight.initialise_(model, start, x, targets=y, generator=torch.Generator().manual_seed(0))
    result = firstlight.audit(model, x, y)
    rows = result.profile.select("weight")
    ratios[start] = math.exp(float(rows["log_grad"][0] - rows["log_grad"][-1]))
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    curve = []
    for _ in range(200):
        optimiser.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimiser.step()
        curve.append(float(loss.detach()))
    curves[start] = curve
    unhealthy = [v.code for v in result.verdicts if v.severity == "unhealthy"]
    print(
        f"{start:8}  gradient first/last {ratios[start]:9.3g}  loss {curve[-1]:8.2g}  {unhealthy or 'healthy'}"
    )

# %%
# The audit tells the starts apart before the first step: it looks at the gradient as well.
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2))
left.bar(starts, [ratios[s] for s in starts], color="tab:blue")
left.set(yscale="log", ylabel="gradient, first over last weight")
for start in starts:
    right.plot(curves[start], label=start)
right.set(yscale="log", xlabel="step", ylabel="squared error")
right.legend()
figure.tight_layout()
