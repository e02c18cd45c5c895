"""Writes convolution.json: kernels of convolutional networks by neural-tangents, in float64.

It needs an environment of its own, which this project does not depend on:

    python -m venv nt && nt/bin/pip install jax==0.4.30 jaxlib==0.4.30 neural-tangents==0.6.5 "numpy<2"
    nt/bin/python tests/reference/make_convolution.py
"""

import json
import math
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from neural_tangents import stax  # noqa: E402  (after the precision is set)

ACTIVATIONS = {
    "relu": stax.Relu,
    "erf": stax.Erf,
    "sin": stax.Sin,
    "gelu": stax.Gelu,
    "leaky_relu(0.2)": lambda: stax.LeakyRelu(0.2),
}
PADDING = {"circular": "CIRCULAR", "zero": "SAME", "valid": "VALID"}
CASES = [
    # activation, image (height, width) or (length,), depth, kernel, stride, padding, readout, skip
    ("relu", (5, 5), 4, 3, 1, "circular", "flatten", 0),
    ("relu", (5, 5), 4, 3, 1, "circular", "pool", 0),
    ("relu", (5, 5), 3, 3, 1, "zero", "pool", 0),
    ("relu", (5, 4), 3, 3, 1, "zero", "flatten", 0),
    ("relu", (9, 5), 3, 3, 2, "zero", "pool", 0),
    ("relu", (6, 6), 3, 3, 1, "valid", "pool", 0),
    ("relu", (5, 5), 5, 3, 1, "circular", "pool", 1),
    ("erf", (5, 5), 4, 3, 1, "zero", "pool", 0),
    ("erf", (6, 5), 4, 3, 1, "circular", "flatten", 0),
    ("sin", (4, 4), 3, 3, 1, "circular", "pool", 0),
    ("gelu", (4, 4), 3, 3, 1, "zero", "flatten", 0),
    ("leaky_relu(0.2)", (9,), 4, 3, 1, "circular", "pool", 0),
    ("erf", (9,), 4, 5, 1, "zero", "flatten", 0),
]


def network(activation, dims, depth, kernel, stride, padding, readout, skip, sigma_w, sigma_b):
    conv = lambda: stax.Conv(  # noqa: E731
        32, (kernel,) * dims, (stride,) * dims, PADDING[padding], W_std=sigma_w, b_std=sigma_b
    )
    layers = [conv()]
    for _ in range(depth - 2):
        block = [ACTIVATIONS[activation](), conv()]
        if skip:
            layers += [stax.FanOut(2), stax.parallel(stax.serial(*block), stax.Identity()), stax.FanInSum()]
        else:
            layers += block
    end = stax.GlobalAvgPool() if readout == "pool" else stax.Flatten()
    layers += [ACTIVATIONS[activation](), end, stax.Dense(1, W_std=sigma_w, b_std=sigma_b)]
    return stax.serial(*layers)[2]


def main():
    rng = np.random.default_rng(0)
    cases = []
    for activation, image, depth, kernel, stride, padding, readout, skip in CASES:
        sigma_w, sigma_b = (math.sqrt(2), 0.1) if "relu" in activation else (1.5, 0.2)
        x1, x2 = rng.standard_normal((2, *image, 2)), rng.standard_normal((3, *image, 2))
        kernel_fn = network(
            activation, len(image), depth, kernel, stride, padding, readout, skip, sigma_w, sigma_b
        )
        found = kernel_fn(x1, x2, ("nngp", "ntk"))
        cases.append(
            {
                "activation": activation, "depth": depth, "kernel": kernel, "stride": stride,
                "padding": padding, "readout": readout, "skip": skip, "sigma_w": sigma_w, "sigma_b": sigma_b,
                "x1": np.moveaxis(x1, -1, 1).tolist(), "x2": np.moveaxis(x2, -1, 1).tolist(),
                "nngp": np.asarray(found.nngp).tolist(), "ntk": np.asarray(found.ntk).tolist(),
            }
        )  # fmt: skip
    made = {"by": "neural-tangents 0.6.5, jax 0.4.30, float64, parametrization='ntk'", "cases": cases}
    Path(__file__).with_name("convolution.json").write_text(json.dumps(made) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
