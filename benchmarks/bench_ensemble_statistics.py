"""Streaming statistics against scipy and against drawing the values; averaging laws against counting units."""

from __future__ import annotations

import torch

from benchmarks.harness import Row, interleaved
from firstlight.ensemble.sums.streaming import Stream


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


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
    """Networks for equal error at layer 100, tanh width 100: counting one unit of each over averaging their laws.

    Mean squared errors fall as one over the number of networks, so their ratio at one number is the ratio of
    numbers at one error.
    """
    from firstlight.ensemble import Plan, run
    from firstlight.experiments.wolinski2025 import network

    net, x = network("tanh", width=100, depth=100), torch.ones(100)
    repeats, nets = 80, 250
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
            ("KS, raw", "KS, standardised", "kurtosis"), ratio, (500, 500, 50), strict=True
        )
    ]


def _one_unit(plan: object, x: torch.Tensor) -> tuple[float, ...]:
    """The usual estimate: the first unit of every network of the plan."""
    from firstlight.ensemble._propagate import Propagator
    from firstlight.ensemble.runs._seeds import shard_generator
    from firstlight.measure import ks_to_normal

    engine = Propagator.of(plan.net, x[:, None])  # type: ignore[attr-defined]
    generator = shard_generator(plan.seed, 0)  # type: ignore[attr-defined]
    (layer,) = engine.forward(plan.nets, generator, layers=[100])  # type: ignore[attr-defined]
    assert layer.z is not None
    z = layer.z[:, 0, 0].double()
    standard = ks_to_normal(z / z.square().mean().sqrt())
    return ks_to_normal(z), standard, float(z.pow(4).mean() / z.square().mean() ** 2 - 3)


def run() -> list[Row]:
    """All claims about statistics."""
    return [*_statistics(), *_fewer_networks()]
