"""Ensembles: exact conditional samplers against drawing the weights, and streaming statistics."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.harness import Row, interleaved
from firstlight.ensemble.homogeneous import squared_ratio
from firstlight.ensemble.samplers import (
    InvertedWeights,
    NormalWeights,
    OrthogonalWeights,
    StreamedWeights,
    cheapest,
)
from firstlight.ensemble.streaming import Stream
from firstlight.weights import weibull

CHUNK = 1 << 16


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


def _conditional(width: int, inputs: int, layers: int, nets: int) -> Callable[[], object]:
    sampler, generator = NormalWeights(1.2, 0.1), _generator()
    start = torch.randn(nets, width, inputs, generator=generator)

    def run() -> None:
        h = start
        for _ in range(layers):
            z, _ = sampler.forward(h, width, generator)
            h = torch.tanh(z)

    return run


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
        nets, layers = max(1, CHUNK // (width * inputs)), 10
        few = 2 if width == 1000 else 20
        seconds = interleaved(
            {
                "loop": _linear_loop(width, inputs, few),
                "ours": _conditional(width, inputs, layers, nets),
                "normals": _drawn(width, layers, nets),
            },
            repeats=5,
        )
        loop, ours = seconds["loop"] / few, seconds["ours"] / layers / nets
        detail = f"{loop * 1e6:.0f} µs against {ours * 1e6:.2f} µs per net-layer"
        claim = f"loop of nn.Linear / exact sampler, width {width}, inputs {inputs}"
        rows.append(Row(claim, loop / ours, target, lower_is_better=False, detail=detail))
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
            repeats=5,
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
        h = torch.randn(nets, width, inputs)
        h[..., -1] = h[..., 0]  # rank-deficient
        sampler = OrthogonalWeights()
        seconds = interleaved(
            {"matrix": matrix, "ours": lambda: sampler.forward(h, width, g)},  # noqa: B023
            repeats=3,
        )
        ours = seconds["ours"] / nets
        claim = f"drawing a Haar matrix / exact sampler, width {width}, inputs {inputs}"
        detail = f"{seconds['matrix'] * 1e3:.0f} ms against {ours * 1e6:.0f} µs"
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
        repeats=5,
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


def _statistics() -> list[Row]:
    from scipy import stats

    from firstlight.measure import ks_to_normal

    x = torch.randn(10_000_000, generator=_generator())
    seconds = interleaved(
        {"ours": lambda: ks_to_normal(x), "scipy": lambda: stats.kstest(x.numpy(), "norm")}, repeats=2
    )
    rows = [Row("scipy kstest / exact KS, 1e7", seconds["scipy"] / seconds["ours"], 6, lower_is_better=False)]
    g, buffer, blocks = _generator(), torch.empty(1 << 22), 24  # 1e8 values

    def draw() -> None:
        for _ in range(blocks):
            buffer.normal_(generator=g)

    def both() -> None:
        stream = Stream()
        for _ in range(blocks):
            buffer.normal_(generator=g)
            stream.add(buffer)
        stream.compare()

    seconds = interleaved({"draw": draw, "both": both}, repeats=3)
    ratio = (seconds["both"] - seconds["draw"]) / seconds["draw"]
    entries = blocks * len(buffer)
    detail = f"{(seconds['both'] - seconds['draw']) / entries * 1e9:.1f} ns a value"
    claim = "KS interval, AD, W1, moments of 1e8 values in a stream / drawing them"
    rows.append(Row(claim, ratio, 1.5, detail=detail))
    return rows


def _fewer_networks() -> list[Row]:
    """Networks needed for equal error at layer 100, tanh width 100: counting a unit over averaging laws."""
    from firstlight.ensemble import Plan, run
    from firstlight.papers.wolinski2025_ensembles import network

    net, x = network("tanh", width=100, depth=100), torch.ones(100)
    repeats, nets = 16, 250
    truth = run(Plan(net=net, nets=20_000, layers=(100,), seed=99), x).profile
    true = torch.tensor([float(truth[name][0]) for name in ("ks", "ks_standardised", "kurtosis")])
    error = {}
    for exact in (True, False):
        values: list[tuple[float, ...]] = []
        for seed in range(repeats):
            plan = Plan(net=net, nets=nets, layers=(100,), seed=seed, shards=1, rao_blackwell=exact)
            if exact:
                p = run(plan, x).profile
                values.append(tuple(float(p[name][0]) for name in ("ks", "ks_standardised", "kurtosis")))
            else:
                values.append(_one_unit(plan, x))
        error[exact] = (torch.tensor(values, dtype=torch.float64) - true).square().mean(dim=0)
    ratio = error[False] / error[True]
    return [
        Row(f"networks for equal error of {name}: one unit / exact laws", float(r), target, False)
        for name, r, target in zip(
            ("KS, raw", "KS, standardised", "kurtosis"), ratio, (100, 500, 50), strict=True
        )
    ]


def _one_unit(plan: object, x: torch.Tensor) -> tuple[float, ...]:
    """The usual estimate: the first unit of every network of the plan."""
    from firstlight.ensemble.propagate import Engine
    from firstlight.ensemble.seeds import shard_generator
    from firstlight.measure import ks_to_normal

    engine = Engine.of(plan.net, x[:, None])  # type: ignore[attr-defined]
    generator = shard_generator(plan.seed, 0)  # type: ignore[attr-defined]
    (layer,) = engine.forward(plan.nets, generator, layers=[100])  # type: ignore[attr-defined]
    assert layer.z is not None
    z = layer.z[:, 0, 0].double()
    standard = ks_to_normal(z / z.square().mean().sqrt())
    return ks_to_normal(z), standard, float(z.pow(4).mean() / z.square().mean() ** 2 - 3)


def _workers() -> list[Row]:
    """Wall time of independent shards on one and on two workers, once the pool is warm."""
    import os
    import time

    from firstlight.ensemble import Local, Plan, run
    from firstlight.network import RandomNetwork

    if (os.cpu_count() or 1) < 2:
        return [Row("one worker / two workers", math.nan, 1.7, False, "needs two cores")]
    net = RandomNetwork(depth=100, width=300, sigma_w=1.2)
    plan, x = Plan(net=net, nets=8000, layers=(100,), shards=16), torch.ones(10)
    run(plan.__class__(net=net, nets=16, layers=(1,)), x, engine=Local(2))
    best = {1: math.inf, 2: math.inf}
    for _ in range(3):
        for workers in best:
            start = time.perf_counter()
            run(plan, x, engine=Local(workers))
            best[workers] = min(best[workers], time.perf_counter() - start)
    return [Row("one worker / two workers, wall time", best[1] / best[2], 1.7, False)]


def run() -> list[Row]:
    """All claims of the ensemble room."""
    parts = (_gaussian, _routes, _orthogonal, _other_laws, _statistics, _fewer_networks, _workers)
    return [row for part in parts for row in part()]
