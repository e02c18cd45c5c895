"""Runs: two workers against one in wall time, and peak memory against the number of networks."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time

import torch

from benchmarks.harness import Row
from firstlight.ensemble import Local, Plan
from firstlight.ensemble import run as run_plan
from firstlight.network import RandomNetwork


def _workers() -> list[Row]:
    """Wall time of independent shards on one and on two workers, once the pool is warm."""
    if (os.cpu_count() or 1) < 2:
        return [Row("one worker / two workers", math.nan, 1.7, False, "needs two cores")]
    net = RandomNetwork(depth=100, width=300, sigma_w=1.2)
    plan, x = Plan(net=net, nets=24_000, layers=(100,), shards=16), torch.ones(10)
    run_plan(Plan(net=net, nets=16, layers=(1,)), x, engine=Local(2))
    best = {1: math.inf, 2: math.inf}
    for _ in range(4):
        for workers in best:
            start = time.perf_counter()
            run_plan(plan, x, engine=Local(workers))
            best[workers] = min(best[workers], time.perf_counter() - start)
    detail = f"{best[1]:.2f} s against {best[2]:.2f} s"
    return [Row("one worker / two workers, wall time", best[1] / best[2], 1.7, False, detail)]


def _memory() -> list[Row]:
    """Peak resident memory of fresh processes that simulate few and many networks, beyond their imports."""
    few, many = 320, 9600
    idle, one, thirty = (_peak(nets) for nets in (0, few, many))
    detail = f"{idle:.0f} MB imported, {one:.0f} MB for {few}, {thirty:.0f} MB for {many} networks"
    return [Row("peak memory, thirty times the networks / once", thirty / one, 1.05, detail=detail)]


def _peak(nets: int) -> float:
    command = [sys.executable, "-m", "benchmarks.bench_ensemble_runs", str(nets)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def run_alone(nets: int) -> float:
    """Peak megabytes of this process after simulating ``nets`` networks with ten inputs, gradients and all."""
    from benchmarks.peak import peak_megabytes

    if nets:
        torch.set_num_threads(1)
        net = RandomNetwork(depth=8, width=300, sigma_w=1.2, sigma_b=0.1)
        x = torch.randn(10, 50, generator=torch.Generator().manual_seed(0))
        # four shards, so that even few networks fill a chunk
        run_plan(Plan(net=net, nets=nets, layers=(8,), shards=4, gradients=True), x)
    return peak_megabytes()


def run() -> list[Row]:
    """All claims about runs."""
    return [*_workers(), *_memory()]


if __name__ == "__main__":
    print(run_alone(int(sys.argv[1])))
