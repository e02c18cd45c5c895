"""Stated errors against true spreads: python -m tests.referee.spread --draws 96.

A stated error is the root mean square over draws; the true spread is the standard deviation over the same draws. The
spread of d draws is itself known to 1/√(2d − 2): 21 % for 12 draws, 7 % for 96.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from firstlight import RandomNetwork, simulate
from firstlight.builders import mlp
from firstlight.diagnosis import fit

# data, depth, width, activation, σ_w, σ_b, norm
Start = tuple[Tensor, int, int, str, float, float, str | None]
# Networks of this start end in two states, which one of them cannot show.
TWO_ENDS = "gelu"
# Means of `simulate` with stated errors, at the last layer.
MEANS = ("q", "kurtosis", "ks", "ks_standardised")
_NETS, _ROOT = 416, 2**0.5


def starts() -> list[Start]:
    """Sixteen kinds of networks: chaotic, critical, ordered, narrow, without a fixed point, and with norms."""
    from sklearn.datasets import load_digits

    digits = torch.tensor(load_digits().data[:64], dtype=torch.float32)
    digits = digits / digits.square().mean().sqrt()
    noise = torch.randn(64, 64, generator=torch.Generator().manual_seed(3))
    return [
        (digits, 50, 256, "tanh", 1.89, 0.0, None),
        (digits, 50, 64, "tanh", 1.89, 0.0, None),
        (noise, 50, 20, "tanh", 2.5, 0.0, None),
        (digits, 50, 128, "tanh", 1.46**0.5, 0.0125418**0.5, None),
        (digits, 50, 128, "relu", 2**0.5, 0.0, None),
        (digits, 30, 64, "relu", 1.2, 0.0, None),
        (digits, 40, 24, "relu", 2**0.5, 0.0, None),
        (digits, 30, 128, TWO_ENDS, 1.5, 0.0, None),
        (noise, 40, 100, "erf", 2.0, 0.3, None),
        (digits, 20, 100, "sigmoid", 1.0, 0.0, None),
        (digits, 30, 128, "relu", 2**0.5, 0.0, "batch"),
        (digits, 30, 64, "tanh", 1.5, 0.0, "batch"),
        (digits, 30, 96, "relu", 2**0.5, 0.0, "layer"),
        (digits, 30, 100, "tanh", 0.9, 0.1, None),
        (digits, 40, 128, "silu", 1.7, 0.0, None),
        (digits, 10, 100, "tanh", 2.0, 0.0, None),
    ]


def logs(start: Start, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ln of the gradient norm of every linear map's output under a random linear loss, and ln of its mean square."""
    x, depth, width, activation, sigma_w, sigma_b, norm = start
    g, kept = torch.Generator().manual_seed(seed), []
    scales = {"depth": depth, "width": width, "sigma_w": sigma_w, "sigma_b": sigma_b}
    model = mlp(x.shape[1], 10, activation=activation, norm=norm, generator=g, **scales)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(lambda _, __, z: (z.retain_grad(), kept.append(z))[1])
    out = model(x)
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(seed))).sum().backward()
    gradients = np.array([math.log(float(z.grad.double().norm())) for z in kept])
    return gradients, np.array([math.log(float(z.detach().double().square().mean())) for z in kept])


def ratio(errors: Sequence[float], values: Sequence[float]) -> float:
    """Stated over true: root mean square of the errors over the spread of the values."""
    return math.sqrt(np.mean(np.square(errors))) / float(np.std(values, ddof=1))


def trends(start: Start, draws: int) -> tuple[float, float]:
    """Stated over true error of the slope of log gradients and of log second moments."""
    pairs = [logs(start, seed) for seed in range(draws)]
    found = []
    for values, settles in zip(zip(*pairs), (False, True)):
        fits = [fit(np.arange(float(len(v))), v, settles=settles) for v in values]
        found.append(ratio([t.se for t in fits], [t.slope for t in fits]))
    return found[0], found[1]


def ensembles() -> list[RandomNetwork]:
    """Sixteen kinds of random networks: deep and narrow, of heavy-tailed laws, orthogonal, normalised."""
    fields: list[dict[str, object]] = [
        {"depth": 20, "width": 10, "activation": "relu", "sigma_w": _ROOT},
        {"depth": 60, "width": 40, "activation": "relu", "sigma_w": _ROOT},
        {"depth": 6, "width": 5, "activation": "relu", "sigma_w": _ROOT},
        {"depth": 10, "width": 3, "activation": "relu", "sigma_w": _ROOT},
        {"depth": 30, "width": 10, "activation": "relu", "sigma_w": _ROOT},
        {"depth": 20, "width": 10, "activation": "linear"},
        {"depth": 20, "width": 10, "activation": "leaky_relu(0.2)", "sigma_w": 1.3},
        {"depth": 30, "width": 10, "activation": "tanh", "sigma_w": 1.2},
        {"depth": 20, "width": 3, "activation": "tanh", "sigma_w": 2.0},
        {"depth": 10, "width": 10, "activation": "gelu", "sigma_w": 1.5, "sigma_b": 0.1},
        {"depth": 5, "width": 6, "activation": "relu", "sigma_w": _ROOT, "weight_law": "student(5)"},
        {"depth": 6, "width": 8, "activation": "relu", "sigma_w": _ROOT, "weight_law": "weibull(0.7)"},
        {"depth": 10, "width": 10, "activation": "weibull-odd(10)", "weight_law": "weibull(10)"},
        {"depth": 10, "width": 16, "activation": "relu", "sigma_w": _ROOT, "weight_law": "orthogonal"},
        {"depth": 10, "width": 10, "activation": "relu", "sigma_w": _ROOT, "norm": "layer"},
        {"depth": 15, "width": 8, "activation": "silu", "sigma_w": 1.7},
    ]
    return [RandomNetwork(**f) for f in fields]


def means(net: RandomNetwork, draws: int) -> dict[str, float]:
    """Stated over true error of each mean of `simulate` at the last layer, over ``draws`` seeds."""
    rows = [simulate(net, nets=_NETS, layers=[net.depth], seed=seed) for seed in range(draws)]
    return {m: ratio([float(r[f"{m}_se"][0]) for r in rows], [float(r[m][0]) for r in rows]) for m in MEANS}


def main(arguments: list[str] | None = None) -> None:
    """Print the ratio of every kind."""
    parser = argparse.ArgumentParser(prog="python -m tests.referee.spread", description=__doc__)
    parser.add_argument("--draws", type=int, default=12)
    draws = parser.parse_args(arguments).draws
    for start in starts():
        _, depth, width, activation, sigma_w, sigma_b, norm = start
        gradient, signal = trends(start, draws)
        print(
            f"{activation} σ_w={sigma_w:.4g} σ_b={sigma_b:.3g} norm={norm} depth={depth} width={width}: gradients "
            f"{gradient:.2f}, signals {signal:.2f}",
            flush=True,
        )
    for net in ensembles():
        shown = ", ".join(f"{name} {value:.2f}" for name, value in means(net, draws).items())
        print(
            f"{net.activation} {net.weight_law} depth={net.depth} width={net.widths[0]}: {shown}", flush=True
        )


if __name__ == "__main__":
    main()
