"""Ensembles: exact conditional samplers against drawing the weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from benchmarks.harness import Row, interleaved
from firstlight.ensemble._propagate import Propagator
from firstlight.ensemble.plan import CHUNK, Plan
from firstlight.ensemble.samplers import (
    InvertedWeights,
    NormalWeights,
    OrthogonalWeights,
    StreamedWeights,
    cheapest,
)
from firstlight.ensemble.samplers._homogeneous import squared_ratio
from firstlight.network import RandomNetwork
from firstlight.weights import weibull


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _linear_loop(width: int, inputs: int, layers: int) -> Callable[[], object]:
    """What people write: a fresh nn.Linear with normal weights per layer, applied to the inputs."""

    def run() -> None:
        h = torch.randn(inputs, width)
        with torch.no_grad():
            for _ in range(layers):
                linear = nn.Linear(width, width, bias=False)
                nn.init.normal_(linear.weight, std=width**-0.5)
                h = torch.tanh(linear(h))

    return run


def _engine(width: int, inputs: int, layers: int) -> tuple[Callable[[], object], int]:
    """One chunk of ``simulate``, of as many networks as it takes; and their number."""
    net = RandomNetwork(depth=layers, width=width, sigma_w=1.2, sigma_b=0.1)
    generator = _generator()
    engine = Propagator.of(net, torch.randn(width, inputs, generator=generator))
    nets = Plan(net=net, nets=1).chunk((width, inputs))
    return lambda: list(engine.forward(nets, generator, layers=[layers])), nets


def _drawn(width: int, layers: int, nets: int) -> Callable[[], object]:
    """Only as many normals as there are units."""
    generator, buffer = _generator(), torch.empty(nets * width)

    def run() -> None:
        for _ in range(layers):
            buffer.normal_(generator=generator)

    return run


def _gaussian() -> list[Row]:
    rows = []
    targets = {(10, 1): 1000, (100, 1): 300, (1000, 1): 1000, (100, 10): 10, (1000, 10): 80}
    for (width, inputs), target in targets.items():
        layers = 50
        ours, nets = _engine(width, inputs, layers)
        few = 4 if width == 1000 else 100
        seconds = interleaved(
            {
                "loop": _linear_loop(width, inputs, few),
                "ours": ours,
                "normals": _drawn(width * inputs, layers, nets),
            },
            repeats=12,
        )
        loop, each = seconds["loop"] / few, seconds["ours"] / layers / nets
        floor = loop * layers * nets / seconds["normals"]
        detail = f"{loop * 1e6:.0f} µs against {each * 1e6:.2f} µs per net-layer; normals alone: {floor:.0f}×"
        claim = f"loop of nn.Linear / exact sampler, width {width}, inputs {inputs}"
        rows.append(Row(claim, loop / each, target, lower_is_better=False, detail=detail))
        if inputs == 1 and width == 1000:
            claim = "exact sampler with tanh, width 1000 / drawing as many normals"
            rows.append(Row(claim, seconds["ours"] / seconds["normals"], 1.5))
    return rows


def _routes() -> list[Row]:
    """The chosen route against the better of the two, for shapes on both sides of the border."""
    worst, where = 0.0, ""
    for width, inputs in ((10, 2), (10, 10), (30, 3), (30, 30), (100, 10), (100, 60), (300, 10), (300, 200)):
        nets = max(1, CHUNK // (width * max(width, inputs)))
        h, g = torch.randn(nets, width, inputs), _generator()
        seconds = interleaved(
            {
                route: lambda r=route: NormalWeights(1.0, 0.0, r).forward(h, width, g)  # noqa: B023
                for route in ("qr", "direct")
            },
            repeats=20,
        )
        ratio = seconds[cheapest(width, width, inputs)] / min(seconds.values())
        if ratio > worst:
            worst, where = ratio, f"worst at width {width}, inputs {inputs}"
    return [Row("chosen route / best route, eight shapes", worst, 1.2, detail=where)]


def _orthogonal() -> list[Row]:
    width, rows = 1000, []

    def matrix() -> None:
        q, r = torch.linalg.qr(torch.randn(width, width))
        q *= torch.diagonal(r).sign()

    for inputs, target in ((1, 2000), (10, 300)):
        nets, g = max(1, CHUNK // (width * inputs)), _generator()
        h = torch.randn(nets, inputs, width).mT  # as layers hand them on
        h[..., -1] = h[..., 0]  # rank-deficient
        sampler = OrthogonalWeights()
        seconds = interleaved(
            {
                "matrix": matrix,
                "ours": lambda: sampler.forward(h, width, g),  # noqa: B023
                "normals": _drawn(width * inputs, 1, nets),
            },
            repeats=9,
        )
        ours = seconds["ours"] / nets
        claim = f"drawing a Haar matrix / exact sampler, width {width}, inputs {inputs}"
        floor = seconds["matrix"] * nets / seconds["normals"]
        detail = f"{seconds['matrix'] * 1e3:.0f} ms against {ours * 1e6:.0f} µs; normals alone: {floor:.0f}×"
        rows.append(Row(claim, seconds["matrix"] / ours, target, lower_is_better=False, detail=detail))
    return rows


def _other_laws() -> list[Row]:
    law, g = weibull(3.0), _generator()
    w = torch.empty(1 << 18)
    from firstlight.ensemble.samplers.streamed import filler

    fill = filler(law)
    seconds = interleaved({"weibull": lambda: fill(w, g), "normal": lambda: w.normal_(generator=g)})
    rows = [Row("drawing Weibull weights / normal_", seconds["weibull"] / seconds["normal"], 2.2)]
    width, nets = 1000, 64
    h = torch.randn(nets, width, 1)
    inverted, drawn = InvertedWeights(law), StreamedWeights(law)
    seconds = interleaved(
        {
            "inverted": lambda: inverted.forward(h, width, g),
            "drawn": lambda: drawn.forward(h[:2], width, g),
        },
        repeats=15,
    )
    ratio = seconds["drawn"] / 2 / (seconds["inverted"] / nets)
    detail = f"{seconds['inverted'] / nets * 1e6:.0f} µs per net-layer"
    claim = "drawing Weibull weights / characteristic-function inversion, width 1000"
    rows.append(Row(claim, ratio, 100, lower_is_better=False, detail=detail))
    seconds = interleaved(
        {str(n): lambda n=n: squared_ratio(20_000, n, (1.0, 0.0), g) for n in (100, 100_000)}
    )
    claim = "χ² law of ReLU, width 100 000 / width 100"
    rows.append(Row(claim, seconds["100000"] / seconds["100"], 2.0))
    return rows


def run() -> list[Row]:
    """All claims about samplers."""
    return [row for part in (_gaussian, _routes, _orthogonal, _other_laws) for row in part()]
