"""False-alarm rates and power of ``measure.gaussianity``: the tables of its theory chapter.

``python -m benchmarks.calibrate_gaussianity --write docs/theory/gaussianity_tables.inc`` makes them again;
about five minutes on one core. No constant of the test was fitted to any of these cases.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from firstlight import measure

WIDTHS = (16, 64, 256, 1024)
SAMPLES = (2, 8, 64)
Draw = Callable[[int, int, torch.Generator], Tensor]


def equal(c: float) -> Callable[[int, torch.Generator], Tensor]:
    """Correlation c between any two samples."""
    return lambda samples, _: torch.full((samples, samples), c) + (1 - c) * torch.eye(samples)


def clusters(c: float) -> Callable[[int, torch.Generator], Tensor]:
    """Two halves, alike inside and opposite to each other."""

    def make(samples: int, _: torch.Generator) -> Tensor:
        sign = torch.where(torch.arange(samples) < samples // 2, 1.0, -1.0)
        return c * sign[:, None] * sign + (1 - c) * torch.eye(samples)

    return make


def decaying(c: float) -> Callable[[int, torch.Generator], Tensor]:
    """c to the power of the distance, as along a sequence."""

    def make(samples: int, _: torch.Generator) -> Tensor:
        i = torch.arange(samples)
        return c ** (i[:, None] - i).abs().float()

    return make


def low_rank(samples: int, generator: torch.Generator) -> Tensor:
    """Ten classes on a four-dimensional sphere with a common part, and some noise of each sample's own."""
    classes = torch.randn(10, 4, generator=generator) + 0.5
    rows = classes[torch.arange(samples) % 10]
    rows = rows / rows.norm(dim=1, keepdim=True)
    return 0.85 * rows @ rows.T + 0.15 * torch.eye(samples)


STRUCTURES = {
    "c = 0": equal(0.0),
    "c = 0.5": equal(0.5),
    "c = 0.9": equal(0.9),
    "c = 0.99": equal(0.99),
    "two opposite clusters, ±0.8": clusters(0.8),
    "decaying, 0.9^distance": decaying(0.9),
    "ten classes in four dimensions": low_rank,
}


def alarms(layers: list[Tensor]) -> float:
    """Share of layers above the 5 % line."""
    return sum(not measure.gaussianity(z, max_units=1024).gaussian for z in layers) / len(layers)


def synthetic(structure: Callable[[int, torch.Generator], Tensor], samples: int, units: int, n: int) -> float:
    """Gaussian units with this correlation, every sample at a scale of its own."""
    generator = torch.Generator().manual_seed(1000 * samples + units)
    values, vectors = torch.linalg.eigh(structure(samples, generator).double())
    root = (vectors * values.clamp_min(0).sqrt()).float()
    scale = torch.logspace(-1, 1, samples)[:, None]
    return alarms([scale * (root @ torch.randn(samples, units, generator=generator)) for _ in range(n)])


def digits() -> Tensor:
    """scikit-learn's digits, centred and scaled as a whole."""
    from sklearn.datasets import load_digits

    x = torch.from_numpy(load_digits().data).float()
    return (x - x.mean()) / x.std()


def _normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator)


def _uniform(*shape: int, generator: torch.Generator) -> Tensor:
    return (2 * torch.rand(*shape, generator=generator) - 1) * math.sqrt(3)


def _student(df: int) -> Callable[..., Tensor]:
    def draw(*shape: int, generator: torch.Generator) -> Tensor:
        chi = torch.randn(df, *shape, generator=generator).square().mean(dim=0)
        return torch.randn(*shape, generator=generator) / chi.sqrt() * math.sqrt((df - 2) / df)

    return draw


def _sparse(*shape: int, generator: torch.Generator) -> Tensor:
    keep = torch.rand(*shape, generator=generator) < 0.1
    return torch.randn(*shape, generator=generator) * keep / math.sqrt(0.1)


def layer(
    x: Tensor,
    depth: int,
    width: int,
    last: int,
    law: Callable[..., Tensor],
    phi: str,
    generator: torch.Generator,
) -> Tensor:
    """Pre-activations of the layer after ``depth`` hidden layers; only its own weights follow ``law``."""
    h = x
    gain = math.sqrt(2) if phi == "relu" else 1.5
    for _ in range(depth):
        w = torch.randn(h.shape[1], width, generator=generator) * gain / math.sqrt(h.shape[1])
        h = getattr(torch, phi)(h @ w)
    return h @ law(h.shape[1], last, generator=generator)


def networks(x: Tensor, n: int) -> list[tuple[str, ...]]:
    """Real layers with Gaussian weights: the null, whatever came before."""
    rows = []
    cases = [("digits → layer 1", 0, 0, "tanh")]
    for phi in ("tanh", "relu"):
        cases += [(f"{phi}, width {w}, after {d} layers", d, w, phi) for d, w in ((3, 8), (10, 64))]
    for name, depth, width, phi in cases:
        cells = []
        for units in WIDTHS:
            generator = torch.Generator().manual_seed(units)
            layers = [
                layer(_pick(x, generator), depth, width, units, _normal, phi, generator) for _ in range(n)
            ]
            cells.append(f"{alarms(layers):.3f}")
        rows.append((name, *cells))
    return rows


def power(x: Tensor, n: int) -> list[tuple[str, ...]]:
    """Layers whose weights are not Gaussian, or which are activations rather than pre-activations."""
    cases: list[tuple[str, Callable[[int, torch.Generator], Tensor]]] = []
    for fan_in in (1, 2, 4, 16, 64):
        for label, law in (("uniform", _uniform), ("Student t₃", _student(3)), ("90 % zeros", _sparse)):
            cases.append(
                (
                    f"{label} weights on {fan_in} tanh units",
                    lambda units, g, f=fan_in, w=law: layer(_pick(x, g), 1, f, units, w, "tanh", g),
                )
            )

    def gaussian(units: int, g: torch.Generator) -> Tensor:
        z = layer(_pick(x, g), 1, 64, units, _normal, "tanh", g)
        return z / z.square().mean().sqrt()

    cases += [
        (
            "uniform weights on 16 ReLU units",
            lambda u, g: layer(_pick(x, g), 1, 16, u, _uniform, "relu", g),
        ),
        ("tanh(1.2 z)", lambda u, g: torch.tanh(1.2 * gaussian(u, g))),
        ("ReLU(z)", lambda u, g: torch.relu(gaussian(u, g))),
        (
            "a tenth of the units three times as wide",
            lambda u, g: gaussian(u, g) * (1 + 2.0 * (torch.arange(u) % 10 == 0)),
        ),
    ]
    rows = []
    for name, draw in cases:
        cells = []
        for units in WIDTHS:
            generator = torch.Generator().manual_seed(units + 1)
            cells.append(f"{alarms([draw(units, generator) for _ in range(n)]):.2f}")
        rows.append((name, *cells))
    return rows


def _pick(x: Tensor, generator: torch.Generator) -> Tensor:
    return x[torch.randint(len(x), (32,), generator=generator)]


def markdown(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="write the tables here as Markdown")
    parser.add_argument("--repeats", type=int, default=1000, help="layers per cell of the first table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    n, few = arguments.repeats, max(arguments.repeats // 2, 1)
    first = [
        (name, *(f"{synthetic(structure, samples, units, n):.3f}" for samples in SAMPLES for units in WIDTHS))
        for name, structure in STRUCTURES.items()
    ]
    rates = [float(cell) for row in first for cell in row[1:]]
    x = digits()
    heads = tuple(f"{samples}×{units}" for samples in SAMPLES for units in WIDTHS)
    widths = tuple(f"{units} units" for units in WIDTHS)
    error, few_error = (math.sqrt(0.05 * 0.95 / count) for count in (n, few))
    text = "\n\n".join(
        [
            f"False alarms at the 5 % line, Gaussian units, samples × units; {n} layers a cell, standard error "
            f"{error:.3f}; over all cells {min(rates):.3f} to {max(rates):.3f}:",
            markdown(("correlation between samples", *heads), first),
            "False alarms, layers of real networks with Gaussian weights on 32 digits; "
            f"{few} networks a cell, standard error {few_error:.3f}:",
            markdown(("network", *widths), networks(x, few)),
            f"Power, 32 digits; {few // 2} networks a cell:",
            markdown(("layer", *widths), power(x, few // 2)),
        ]
    )
    print(text)
    if arguments.write:
        arguments.write.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
