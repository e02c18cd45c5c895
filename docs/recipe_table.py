"""Write the table of the guide: recipes on twelve architectures, by an audit, the gradient's ends and a short training.

``python docs/recipe_table.py`` trains every start by Adam on the digits, over two seeds, and writes
``guide/recipes_table.inc``.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.short_training import last_loss

import firstlight
from firstlight import recipes
from firstlight.errors import FirstlightError

OUT = Path(__file__).parent / "guide" / "recipes_table.inc"
SEEDS, STEPS, BATCH = (0, 1), 200, 64
RATE = 0.002


class Sine(nn.Module):
    """sin(30 z)."""

    def forward(self, x: Tensor) -> Tensor:
        """The sine."""
        return torch.sin(30.0 * x)


class Block(nn.Module):
    """A residual branch of two dense layers, with layer norm in front where asked for."""

    def __init__(self, width: int, *, norm: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """The stream and the branch."""
        return x + self.b(functional.relu(self.a(self.norm(x))))


class Attends(nn.Module):
    """Eight rows of a digit as tokens, through a transformer."""

    def __init__(self, layers: int, *, first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=first)
        self.embed = nn.Linear(8, 32)
        self.layers = nn.ModuleList([layer])
        for _ in range(layers - 1):
            self.layers.append(nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True, norm_first=first))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Classes."""
        z = self.embed(x.view(len(x), 8, 8))
        for layer in self.layers:
            z = layer(z)
        return self.head(z.mean(1))


class Remembers(nn.Module):
    """Eight rows of a digit in time, through an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.memory, self.head = nn.LSTM(8, 48, batch_first=True), nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Classes."""
        return self.head(self.memory(x.view(len(x), 8, 8))[0][:, -1])


def dense(depth: int, phi: Callable[[], nn.Module], *, norm: bool = False) -> nn.Module:
    """A perceptron of width 64 on the 64 pixels."""
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(depth):
        layers += [nn.Linear(64, 64), *([nn.BatchNorm1d(64)] if norm else []), phi()]
    return nn.Sequential(*layers, nn.Linear(64, 10))


def convolutional(depth: int, *, norm: bool) -> nn.Module:
    """A plain convolutional network of 16 channels on the 8×8 images."""
    layers: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()]
    for _ in range(depth):
        layers += [nn.Conv2d(16, 16, 3, padding=1), *([nn.BatchNorm2d(16)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 10))


def residual(depth: int, *, norm: bool) -> nn.Module:
    """A residual perceptron."""
    blocks = [Block(64, norm=norm) for _ in range(depth)]
    return nn.Sequential(nn.Linear(64, 64), *blocks, nn.Linear(64, 10))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "MLP, 30 ReLU": lambda: dense(30, nn.ReLU),
    "MLP, 30 tanh": lambda: dense(30, nn.Tanh),
    "MLP, 30 GELU": lambda: dense(30, nn.GELU),
    "MLP, 6 sigmoid": lambda: dense(6, nn.Sigmoid),
    "MLP, 10 ReLU, batch norm": lambda: dense(10, nn.ReLU, norm=True),
    "CNN, 12 ReLU": lambda: convolutional(12, norm=False),
    "residual, 20 blocks": lambda: residual(20, norm=False),
    "residual, 20 blocks, layer norm": lambda: residual(20, norm=True),
    "transformer, 4 blocks, norm first": lambda: Attends(4, first=True),
    "transformer, 4 blocks, norm last": lambda: Attends(4, first=False),
    "LSTM": lambda: Remembers(),
    "SIREN, 4 sines": lambda: dense(4, Sine),
}


def starts(model: nn.Module, x: Tensor) -> list[str]:
    """The recipes that suit, torch's own start in front."""
    return ["torch-default", *recipes.suitable(recipes.blueprint(model, x))]


def trained(model: nn.Module, x: Tensor, y: Tensor, seed: int) -> float:
    """Loss on 512 digits after the training; infinite where the training diverged."""
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    held = x[-512:], y[-512:]
    return last_loss(model, optimiser, (x[:-512], y[:-512]), held, steps=STEPS, batch=BATCH, seed=seed)


def line(name: str, make: Callable[[], nn.Module], recipe: str, x: Tensor, y: Tensor) -> str:
    """One row of the table."""
    losses = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        model, g = make(), torch.Generator().manual_seed(seed)
        start = time.process_time()
        done = firstlight.initialise_(model, recipe, x[:64], targets=y[:64], generator=g)
        cost = time.process_time() - start
        if seed == SEEDS[0]:
            result = firstlight.audit(model, x[:64], y[:64])
            logs = [float(v) for v in result.profile.select("weight")["log_grad"] if math.isfinite(v)]
            spread = math.exp(min(logs[0] - logs[-1], 300)) if logs else math.nan
            verdict = ", ".join(v.code for v in result.verdicts if v.severity == "unhealthy") or "healthy"
        losses.append(trained(model, x, y, seed))
    values = " / ".join(f"{v:.3f}" for v in losses)
    print(name, recipe, verdict, values, len(done.lines), file=sys.stderr, flush=True)
    return f"| {name} | `{recipe}` | {verdict} | {spread:.2g} | {values} | {1000 * cost:.0f} ms |"


def main() -> None:
    """Write the table."""
    torch.set_num_threads(1)
    data = firstlight.data.load("digits", count=1437)
    x, y = data.inputs.flatten(1), data.targets
    rows = [
        "| architecture | recipe | audit | gradient first/last | loss after 200 steps | time to write |",
        "|---|---|---|---|---|---|",
    ]
    for name, make in MODELS.items():
        for recipe in starts(make(), x[:64]):
            try:
                rows.append(line(name, make, recipe, x, y))
            except FirstlightError as error:
                rows.append(f"| {name} | `{recipe}` | refused | – | – | – |")
                print(name, recipe, error, file=sys.stderr, flush=True)
    OUT.write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
