"""Time of neural-tangents' NNGP and NTK of a deep network, printed as JSON; run by bench_theory in another Python.

Two ways are timed, compiling excluded, and the faster one counts: one compiled layer called for every layer, and a
compiled block of nine. Compiling all hundred layers of ReLU at once takes minutes and gives a slower program.

    python peer_neural_tangents.py relu 1000 100 1.414
"""

from __future__ import annotations

import json
import os
import sys
import time

import jax
import numpy as np

os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
jax.config.update("jax_enable_x64", True)
from neural_tangents import stax  # noqa: E402


def main() -> None:
    name, inputs, depth, sigma_w = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    activation = {
        "relu": stax.Relu,
        "erf": stax.Erf,
        "tanh": lambda: stax.ElementwiseNumerical(jax.numpy.tanh, deg=25),
    }[name]
    x = np.random.default_rng(0).standard_normal((inputs, 64))
    first = jax.jit(stax.Dense(1, W_std=sigma_w)[2])
    best = float("inf")
    for layers in (1, 9) if name != "tanh" else (1,):
        block = jax.jit(stax.serial(*[activation(), stax.Dense(1, W_std=sigma_w)] * layers)[2])

        def run() -> None:
            kernel = first(x)
            for _ in range((depth - 1) // layers):  # noqa: B023
                kernel = block(kernel)  # noqa: B023
            kernel.nngp.block_until_ready()
            kernel.ntk.block_until_ready()

        block(first(x)).ntk.block_until_ready()
        for _ in range(1 if name == "tanh" else 2):
            start = time.perf_counter()
            run()
            best = min(best, time.perf_counter() - start)
    print(json.dumps({"seconds": best}))


if __name__ == "__main__":
    main()
