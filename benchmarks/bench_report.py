"""The HTML report of a hundred layers: how long it takes to write and how large it is."""

from __future__ import annotations

import torch

import firstlight
from benchmarks.harness import Row, interleaved
from firstlight.builders import mlp


def run() -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    sizes = {"depth": 100, "width": 64}
    model = mlp(
        64, 10, **sizes, activation="relu", sigma_w=2**0.5, sigma_b=0.0, norm="batch", generator=generator
    )
    result = firstlight.audit(model, torch.randn(64, 64, generator=generator))
    seconds = interleaved({"html": result.to_html}, repeats=5)["html"]
    size = len(result.to_html().encode()) / 1000
    rows = f"{len(result.profile)} rows"
    return [
        Row("HTML of 100 layers, seconds over 1 s", seconds, 1.0, detail=f"{rows}, {seconds:.2f} s"),
        Row("HTML of 100 layers, size over 300 kB", size / 300, 1.0, detail=f"{rows}, {size:.0f} kB"),
    ]
