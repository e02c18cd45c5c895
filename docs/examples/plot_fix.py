"""
Fix a network that will not train
==================================

Fifty ReLU layers with torch's own initialisation, from the audit to a network that learns.
"""

# %%
# ``nn.Linear`` draws weights of variance 1/(3 fan-in): through a ReLU every layer keeps a sixth of the second
# moment, and as little of the squared gradient.
import matplotlib.pyplot as plt
import torch
from torch import nn

import firstlight
from firstlight.data import load

digits = load("digits")
inputs, targets = digits.inputs.flatten(1), digits.targets
torch.manual_seed(0)
layers = [m for _ in range(50) for m in (nn.Linear(64, 64), nn.ReLU())]
model = nn.Sequential(*layers, nn.Linear(64, 10))

firstlight.fix(model, inputs[:256], targets=targets[:256])

# %%
# Every remedy that was tried, with what the audit then said. He's initialisation, the edge of chaos of ReLU,
# keeps the gradient too, but fifty layers of it make all samples look alike.
result = firstlight.fix(model, inputs[:256], targets=targets[:256])
print(result)


# %%
# Does it matter? The same data and the same optimiser, before and after.
def learn(net, epochs=4):
    torch.manual_seed(0)
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    accuracy = []
    for _ in range(epochs):
        for rows in torch.randperm(1400).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(inputs[rows]), targets[rows]).backward()
            optimiser.step()
        with torch.no_grad():
            accuracy.append(float((net(inputs[1400:]).argmax(1) == targets[1400:]).float().mean()))
    return accuracy


fixed = learn(result.model)
as_it_came = learn(model)
figure, axes = plt.subplots(figsize=(5, 3.2))
for label, curve in (("as it came", as_it_came), ("fixed", fixed)):
    axes.plot(range(1, 5), curve, marker="o", label=label)
axes.set(xlabel="epoch", ylabel="test accuracy", ylim=(0, 1), xticks=range(1, 5))
axes.legend()
figure.tight_layout()
