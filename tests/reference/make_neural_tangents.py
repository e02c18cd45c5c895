"""Make neural_tangents.json: kernels of small networks by neural-tangents, for comparison.

Needs an environment of its own, for neural-tangents is archived and imports with jax 0.4.30 to 0.5.3 only:

    python3.11 -m venv nt
    nt/bin/pip install 'jax==0.4.30' 'jaxlib==0.4.30' 'neural-tangents==0.6.5' 'numpy<2' 'scipy<1.13'
    nt/bin/python tests/reference/make_neural_tangents.py
"""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)
from neural_tangents import stax  # noqa: E402

WIDTH = 7
ACTIVATIONS = {
    "relu": stax.Relu,
    "leaky_relu(0.2)": lambda: stax.LeakyRelu(0.2),
    "abs": lambda: stax.ABRelu(-1.0, 1.0),
    "erf": stax.Erf,
    "gelu": stax.Gelu,
    "sin": stax.Sin,
}


def kernel(name: str, depth: int, sigma_w: float, sigma_b: float, parametrisation: str):
    """The kernel function of a network with ``depth`` weight layers."""
    dense = lambda out: stax.Dense(out, W_std=sigma_w, b_std=sigma_b, parameterization=parametrisation)  # noqa: E731
    layers = []
    for _ in range(depth - 1):
        layers += [dense(WIDTH), ACTIVATIONS[name]()]
    return stax.serial(*layers, dense(1))[2]


def main() -> None:
    generator = np.random.default_rng(7)
    x1, x2 = (np.round(generator.standard_normal((n, 5)), 6) for n in (3, 2))
    cases = []
    for name in ACTIVATIONS:
        for depth, sigma_w, sigma_b in ((2, 1.0, 0.3), (6, 1.4, 0.2)):
            for parametrisation in ("ntk", "standard"):
                found = kernel(name, depth, sigma_w, sigma_b, parametrisation)(x1, x2, ("nngp", "ntk"))
                cases.append(
                    {
                        "activation": name,
                        "depth": depth,
                        "sigma_w": sigma_w,
                        "sigma_b": sigma_b,
                        "parametrisation": parametrisation,
                        "nngp": np.asarray(found.nngp).tolist(),
                        "ntk": np.asarray(found.ntk).tolist(),
                    }
                )
    out = {"width": WIDTH, "x1": x1.tolist(), "x2": x2.tolist(), "cases": cases}
    Path(__file__).with_name("neural_tangents.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
