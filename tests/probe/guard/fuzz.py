"""Audits of random models on random batches: ``python tests/probe/guard/fuzz.py 2000`` (and ``--first N``).

Each case is made from its number alone. A case fails when an audit raises what is no error of ours or blames
firstlight, when anything is not as it was, or when a second moment differs from what a plain forward hook sees.
"""

import argparse
import math
import random
import sys
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import firstlight
from firstlight.errors import FirstlightError

sys.path.insert(0, str(Path(__file__).parent))

from snapshots import differences, snapshot

ACTIVATIONS = [nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.Softplus, nn.Hardtanh, nn.PReLU, nn.Mish, nn.LogSigmoid]
FUNCTIONS = {
    "sin": torch.sin,
    "halved": lambda x: x * 0.5,
    "negated": lambda x: -x,
    "squared": torch.square,
    "clamped": lambda x: x.clamp(-1, 1),
    "where": lambda x: torch.where(x > 0, x, x * 0.1),
    "exp": torch.exp,
    "product": lambda x: x * torch.sigmoid(x),
    "detached": lambda x: x.detach(),
    "noisy": lambda x: x + torch.randn_like(x),
    "in place": lambda x: x.mul_(1.5),
    "added": lambda x: x.add_(1.0),
    "inplace relu": lambda x: F.relu(x, inplace=True),
    "softmax": lambda x: x.softmax(-1),
    "cumsum": lambda x: x.cumsum(-1),
    "sorted": lambda x: x.sort(-1)[0],
    "normalised": lambda x: F.normalize(x, dim=-1),
    "centred": lambda x: x - x.mean(0),
    "zero": lambda x: x * 0,
    "nan": lambda x: x * math.nan,
    "infinite": lambda x: x / 0.0,
    "cubed": lambda x: x**3,
}


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, name):
        super().__init__()
        self.name = name

    def forward(self, x):
        return FUNCTIONS[self.name](x)


class Around(nn.Module):
    """Something with a memory: it counts, keeps an average in a buffer, and its last output."""

    def __init__(self, inner, width):
        super().__init__()
        self.inner, self.calls, self.last = inner, 0, []
        self.register_buffer("mean", torch.zeros(width))

    def forward(self, x):
        self.calls += 1
        y = x + self.inner(x)
        self.mean.mul_(0.9).add_(y.detach().mean(tuple(range(y.dim() - 1))).to(self.mean), alpha=0.1)
        self.last.append(y.detach())
        return y


def layer(draw, width, depth):
    """One random layer of a width, and the width it gives."""
    kind = draw.random()
    if kind < 0.3:
        new = draw.choice([1, 2, 4, 8])
        return nn.Linear(width, new, bias=draw.random() < 0.8), new
    if kind < 0.5:
        return draw.choice(ACTIVATIONS)(), width
    if kind < 0.65:
        norm = draw.choice([nn.BatchNorm1d, nn.LayerNorm, nn.RMSNorm, lambda w: nn.GroupNorm(1, w)])
        return norm(width), width
    if kind < 0.7:
        return nn.Dropout(draw.choice([0.0, 0.1, 0.5, 1.0])), width
    if kind < 0.85 or depth > 1:
        return Function(draw.choice(list(FUNCTIONS))), width
    inner, new = stack(draw, width, depth + 1)
    return Around(nn.Sequential(inner, nn.Linear(new, width)), width), width


def stack(draw, width, depth=0):
    layers = []
    for _ in range(draw.randint(1, 6 - 2 * depth)):
        module, width = layer(draw, width, depth)
        layers.append(module)
    return nn.Sequential(*layers), width


def case(number):
    """A model and a batch."""
    draw = random.Random(number)
    torch.manual_seed(number)
    samples, width = draw.choice([1, 2, 8, 16]), draw.choice([1, 2, 4, 8])
    model, _ = stack(draw, width)
    dtype = draw.choice([torch.float32] * 6 + [torch.float64, torch.bfloat16])
    x = torch.randn(samples, width).to(dtype) * draw.choice([1.0, 1.0, 1.0, 100.0, 1e-6, 1e18])
    if draw.random() < 0.1:
        for parameter in model.parameters():
            parameter.requires_grad_(False)
    return model.to(dtype), x, draw.random() < 0.7


def hooked(model, x, training):
    """Second moments of the linear layers by plain hooks on a copy; None where the model does not run."""
    import copy

    copied, found, calls = copy.deepcopy(model), {}, defaultdict(int)
    for name, module in copied.named_modules():
        if isinstance(module, nn.Linear):

            def record(module, given, out, name=name):
                calls[name] += 1
                label = name if calls[name] == 1 else f"{name}#{calls[name]}"
                found[label] = out.detach().double().square().mean().item()

            module.register_forward_hook(record)
    torch.manual_seed(0)
    try:
        copied.train(training)(x.clone())
    except (RuntimeError, ValueError):
        return None
    return found


def fault(number):
    """What is wrong with one case; an empty text where nothing is."""
    model, x, training = case(number)
    wanted = hooked(model, x, training)
    torch.manual_seed(7)
    before, profile = snapshot(model, x, versions=True), None
    try:
        profile = firstlight.audit(model, x, training=training).profile
    except FirstlightError as error:
        if wanted is not None or "fault of firstlight" in str(error):
            return f"refused: {error}"
    except Exception as error:  # any other error is what is looked for
        return f"raw {type(error).__name__}: {error}"
    left = differences(before, snapshot(model, x, versions=True))
    if left:
        return f"left {left[:4]}"
    if profile is None or wanted is None:
        return ""
    rows = dict(zip(map(str, profile["name"]), map(float, profile["q"])))
    # sums of float32 or bfloat16 squares in another order
    tolerance = 2e-2 if x.dtype == torch.bfloat16 else 1e-4
    for name, q in wanted.items():
        got = rows.get(name, math.nan)
        if math.isfinite(q) and q != got and not abs(got - q) <= tolerance * abs(q) + 1e-300:
            return f"q of {name} is {got}, a hook sees {q}"
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", type=int)
    parser.add_argument("--first", type=int, default=0)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found = {n: text for n in range(asked.first, asked.first + asked.cases) if (text := fault(n))}
    for number, text in list(found.items())[:20]:
        print(number, text[:300])
    print(
        f"{asked.cases} audits, {len(found)} with a fault",
        dict(Counter(t.split()[0] for t in found.values())),
    )
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
