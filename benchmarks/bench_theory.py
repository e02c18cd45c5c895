"""Gaussian integrals, the edge of chaos, predictions, densities and kernels against named peers."""

from __future__ import annotations

import math

import numpy as np
import torch

import firstlight
from benchmarks.harness import Row, interleaved
from firstlight import gauss
from firstlight.network import RandomNetwork
from firstlight.theory import kernels, propagate_density


def dks_rule(f, count: int = 100_000) -> float:
    """E f(G) as Martens et al. (2021) describe theirs: a fine trapezoid rule over [−10, 10], kinks ignored."""
    x = torch.linspace(-10, 10, count, dtype=torch.float64)
    return float(torch.trapezoid(f(x) * torch.exp(-x * x / 2), x) / math.sqrt(2 * math.pi))


def plain_kernels(x: np.ndarray, depth: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Depth layers of whole-matrix NumPy, as one would write them down."""
    k = x @ x.T / x.shape[1]
    theta = k.copy()
    for _ in range(depth - 1):
        d = np.diag(k)
        if name == "relu":
            s = np.sqrt(np.outer(d, d))
            c = np.clip(k / s, -1, 1)
            angle = np.arccos(c)
            slope = 2 * (np.pi - angle) / (2 * np.pi)
            k = 2 * s * (np.sin(angle) + (np.pi - angle) * c) / (2 * np.pi)
        else:
            top = np.outer(1 + 2 * d, 1 + 2 * d)
            slope = 1.5 * 4 / np.pi / np.sqrt(np.maximum(top - 4 * k * k, 1e-300))
            k = 1.5 * 2 / np.pi * np.arcsin(np.clip(2 * k / np.sqrt(top), -1, 1))
        theta = k + slope * theta
    return k, theta


def _kernel_rows() -> list[Row]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 64, generator=g, dtype=torch.float64)
    rows = []
    for name, w2 in (("relu", 2.0), ("erf", 1.5)):
        net = RandomNetwork(depth=100, width=8, activation=name, sigma_w=math.sqrt(w2), parametrisation="ntk")
        array = x.numpy() * math.sqrt(w2)
        times = interleaved(
            {
                "ours": lambda net=net: kernels(net, x),
                "numpy": lambda a=array, n=name: plain_kernels(a, 100, n),
            },
            repeats=2,
            warmup=0,
        )
        rows.append(
            Row(
                f"depth-100 NNGP and NTK, {name}, 1000×1000, time over plain NumPy",
                times["ours"] / times["numpy"],
                0.5,
                detail=f"{times['ours']:.2f} s against {times['numpy']:.2f} s",
            )
        )
    return rows


def run() -> list[Row]:
    """Every claim of the theory rooms."""
    relu2 = lambda x: torch.relu(x) ** 2  # noqa: E731
    shifted = lambda x: torch.relu(x - 0.3)  # noqa: E731
    truth = math.exp(-0.045) / math.sqrt(2 * math.pi) - 0.15 * math.erfc(0.3 / math.sqrt(2))
    ours = gauss.integrate(shifted, 0.0, 1.0, kinks=(0.3,))
    nodes = gauss.integrate(relu2, 0.0, 1.0, kinks=(0.0,))
    pair = interleaved(
        {"ours": lambda: gauss.expect(relu2, 0.0, 1.0, kinks=(0.0,)), "dks": lambda: dks_rule(relu2)}
    )
    rows = [
        Row("kinked integral, relative error", abs(float(ours.value) / truth - 1), 1e-13),
        Row("kinked integral, nodes", nodes.evaluations, 200),
        Row(
            "kinked integral, times faster than DKS's rule",
            pair["dks"] / pair["ours"],
            20.0,
            lower_is_better=False,
            detail=f"{1e3 * pair['ours']:.3f} ms against {1e3 * pair['dks']:.3f} ms; its error is "
            f"{abs(dks_rule(shifted) / truth - 1):.0e}",
        ),
    ]
    deep = RandomNetwork(depth=1000, width=100, activation="tanh", sigma_w=1.3, sigma_b=0.1)
    laws = RandomNetwork(depth=100, width=10, activation="tanh", sigma_w=1.2, sigma_b=0.1)
    times = interleaved(
        {
            "edge": lambda: firstlight.edge_of_chaos("tanh", points=1000),
            "predict": lambda: firstlight.predict(deep),
            "density": lambda: propagate_density(laws, q1=1.0),
        },
        repeats=3,
    )
    rows += [
        Row("edge of chaos, 1000 points, ms", 1e3 * times["edge"], 10.0),
        Row("predict, depth 1000, ms", 1e3 * times["predict"], 50.0),
        Row("density propagation, depth 100, s", times["density"], 5.0),
    ]
    return rows + _kernel_rows()
