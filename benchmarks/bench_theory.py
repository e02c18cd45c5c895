"""Gaussian integrals, the edge of chaos, predictions, densities and kernels against named peers.

Set ``FIRSTLIGHT_NT_PYTHON`` to a Python in which neural-tangents imports (jax 0.4.30 to 0.5.3) to have it measured in
the same run.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import mpmath as mp
import numpy as np
import torch

import firstlight
from benchmarks.harness import Row, interleaved, per_call
from firstlight import activations, gauss
from firstlight.network import RandomNetwork
from firstlight.theory import kernels, propagate_density

# Weight variances of the kernels that are timed.
W2 = {"relu": 2.0, "erf": 1.5, "tanh": 1.5}
DEPTH = 100


def dks_nodes(order: int = 100_000) -> tuple[np.ndarray, np.ndarray]:
    """Gauss–Legendre nodes and weights of the order DKS uses, by their asymptotic expansion in 1/order².

    Right to 1e-13 but for the outermost hundred nodes, which lie past nine standard deviations.
    """
    v = 1 / (order + 0.5)
    b = (np.arange(1, order // 2 + 1) - 0.25) * np.pi
    zero = b + 1 / (8 * b) - 124 / (3 * (8 * b) ** 3)  # McMahon's zeros of J₀, and their spacing
    spacing = np.pi * (1 - 1 / (8 * b**2) + 124 * 8 / (8 * b) ** 4)
    y = zero * v
    angle = y + v * v * (y * np.cos(y) - np.sin(y)) / (8 * y * np.sin(y))
    x = np.cos(angle)
    w = np.sin(angle) * v * spacing * (1 + v * v * (1 / y**2 - 1 / np.sin(y) ** 2) / 8)
    return np.concatenate([-x, x[::-1]]), np.concatenate([w, w[::-1]])


def dks_rule(f: Callable[[np.ndarray], np.ndarray], nodes: tuple[np.ndarray, np.ndarray]) -> float:
    """E f(G) as deep kernel shaping takes it: one Gauss–Legendre rule of order 100 000 over [−10, 10], cached."""
    x, w = nodes
    at = 10.0 * (x + 1) - 10.0
    return float(10.0 * np.sum(w * (np.exp(-(at**2) / 2) * f(at))) / np.sqrt(2 * np.pi))


def _p(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


# name: torch function, NumPy function, kinks, exact value
INTEGRALS = {
    "ReLU²": (lambda x: torch.relu(x) ** 2, lambda x: np.maximum(x, 0) ** 2, (0.0,), 0.5),
    "ReLU(z − 0.3)": (
        lambda x: torch.relu(x - 0.3),
        lambda x: np.maximum(x - 0.3, 0),
        (0.3,),
        _p(0.3) - 0.15 * math.erfc(0.3 / math.sqrt(2)),
    ),
    "hardtanh²": (
        lambda x: torch.clamp(x, -1, 1) ** 2,
        lambda x: np.clip(x, -1, 1) ** 2,
        (-1.0, 1.0),
        math.erf(math.sqrt(0.5)) - 2 * _p(1.0) + math.erfc(math.sqrt(0.5)),
    ),
}


def _integral_rows() -> list[Row]:
    nodes = dks_nodes()
    rows = []
    for name, (f, g, kinks, truth) in INTEGRALS.items():
        ours = gauss.integrate(f, 0.0, 1.0, kinks=kinks)
        rows.append(Row(f"E {name}, relative error", abs(float(ours.value) / truth - 1), 1e-13))
        rows.append(Row(f"E {name}, nodes", ours.evaluations, 200))
        times = interleaved(
            {
                "ours": per_call(lambda f=f, k=kinks: gauss.expect(f, 0.0, 1.0, kinks=k), number=50),
                "dks": per_call(lambda g=g: dks_rule(g, nodes), number=10),
            }
        )
        ours_s, dks_s = times["ours"] / 50, times["dks"] / 10
        rows.append(
            Row(
                f"E {name}, times faster than DKS's rule",
                dks_s / ours_s,
                20.0,
                lower_is_better=False,
                detail=f"{1e3 * ours_s:.3f} ms against {1e3 * dks_s:.3f} ms, whose error is "
                f"{abs(dks_rule(g, nodes) / truth - 1):.0e}",
            )
        )
    f, g, kinks, _ = INTEGRALS["ReLU²"]
    stds = torch.linspace(0.5, 3.0, 1000, dtype=torch.float64)
    times = interleaved(
        {
            "ours": lambda: gauss.expect(f, 0.0, stds, kinks=kinks),
            "dks": per_call(lambda: dks_rule(g, nodes), number=10),
        }
    )
    rows.append(
        Row(
            "1000 standard deviations at once, times faster than DKS's rule",
            100 * times["dks"] / times["ours"],
            20.0,
            lower_is_better=False,
            detail=f"{1e3 * times['ours']:.2f} ms for all",
        )
    )
    return rows


def _kinked(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0.3, x, 0.2 * x + 0.24) + torch.tanh(x)


def _edge_rows() -> list[Row]:
    named = {
        "tanh": "tanh",
        "gelu": "gelu",
        "a callable with a kink": activations.get(_kinked),
        "sin": "sin",
        "sin as a callable": activations.get(lambda x: 1.0 * torch.sin(x)),
    }
    times = interleaved(
        {k: lambda phi=phi: firstlight.edge_of_chaos(phi, points=1000) for k, phi in named.items()}
    )
    return [Row(f"edge of chaos of {k}, 1000 points, ms", 1e3 * t, 10.0) for k, t in times.items()]


def _predict_rows() -> list[Row]:
    deep = RandomNetwork(depth=1000, width=100, activation="tanh", sigma_w=1.3, sigma_b=0.1)
    laws = RandomNetwork(depth=100, width=10, activation="tanh", sigma_w=1.2, sigma_b=0.1)
    times = interleaved(
        {"predict": lambda: firstlight.predict(deep), "density": lambda: propagate_density(laws, q1=1.0)},
        repeats=3,
    )
    return [
        Row("predict, depth 1000, ms", 1e3 * times["predict"], 50.0),
        Row("density propagation, depth 100, s", times["density"], 5.0),
    ]


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


def _net(name: str) -> RandomNetwork:
    return RandomNetwork(
        depth=DEPTH, width=8, activation=name, sigma_w=math.sqrt(W2[name]), parametrisation="ntk"
    )


def neural_tangents(name: str, inputs: int) -> tuple[float, str]:
    """Seconds of its fastest jitted way on one core, without compiling; NaN and the reason if it cannot run."""
    python = os.environ.get("FIRSTLIGHT_NT_PYTHON")
    if not python:
        return math.nan, "not measured: FIRSTLIGHT_NT_PYTHON is not set"
    script = Path(__file__).with_name("peer_neural_tangents.py")
    command = [python, str(script), name, str(inputs), str(DEPTH), repr(math.sqrt(W2[name]))]
    run = subprocess.run(command, capture_output=True, text=True, timeout=160, check=False)
    if run.returncode:
        return math.nan, f"not measured: {(run.stderr.strip().splitlines() or ['no message'])[-1]}"
    return json.loads(run.stdout.splitlines()[-1])["seconds"], ""


def _kernel_rows() -> list[Row]:
    x = torch.randn(1000, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = []
    for name in ("relu", "erf"):
        array, net = x.numpy() * math.sqrt(W2[name]), _net(name)
        times = interleaved(
            {
                "ours": lambda net=net: kernels(net, x),
                "numpy": lambda a=array, n=name: plain_kernels(a, DEPTH, n),
            },
            repeats=2,
            warmup=0,
        )
        what = f"depth-100 NNGP and NTK, {name}, 1000×1000, time over"
        peer, why = neural_tangents(name, 1000)
        ours, plain = times["ours"], times["numpy"]
        rows.append(
            Row(f"{what} plain NumPy", ours / plain, 0.5, detail=f"{ours:.2f} s against {plain:.2f} s")
        )
        rows.append(
            Row(
                f"{what} neural-tangents",
                ours / peer,
                0.5,
                detail=why or f"{ours:.2f} s against {peer:.2f} s",
            )
        )
    return rows


def _smooth_rows() -> list[Row]:
    """Tanh: time against neural-tangents' quadrature, error against mpmath over a whole network."""
    x = torch.randn(100, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = interleaved({"ours": lambda: kernels(_net("tanh"), x)}, repeats=3)["ours"]
    peer, why = neural_tangents("tanh", 100)
    return [
        Row(
            "depth-100 NNGP and NTK, tanh, 100×100, times faster than neural-tangents' quadrature",
            peer / ours,
            80.0,
            lower_is_better=False,
            detail=why or f"{ours:.3f} s against {peer:.2f} s",
        ),
        Row("the same, depth 3: relative error of both kernels against mpmath", _tanh_error(), 1e-10),
    ]


def _tanh_error(w2: float = 1.5) -> float:
    """Largest relative error for one pair of inputs of different norms through two layers of tanh.

    The truth is a trapezoid rule in both Gaussians at 30 digits, whose error falls exponentially with its step.
    """
    x = torch.tensor([[1.1, -0.4, 0.7], [0.2, 0.9, 1.3]], dtype=torch.float64)
    net = RandomNetwork(depth=3, width=8, activation="tanh", sigma_w=math.sqrt(w2), parametrisation="ntk")
    found = kernels(net, x[:1], x[1:])
    with mp.workdps(30):
        w = mp.mpf(net.sigma_w) ** 2
        a, b = ([mp.mpf(float(v)) for v in row] for row in x)
        q1, q2, k = (w * mp.fdot(u, v) / 3 for u, v in ((a, a), (b, b), (a, b)))
        ntk = k
        for _ in range(2):
            dual, slope = _trapezoid(q1, q2, k)
            after = w * dual
            ntk = after + w * slope * ntk
            q1, q2, k = w * _trapezoid(q1, q1, q1)[0], w * _trapezoid(q2, q2, q2)[0], after
        pairs = ((float(found.nngp[0, 0]), k), (float(found.ntk[0, 0]), ntk))  # type: ignore[index]
        return max(float(abs(ours / truth - 1)) for ours, truth in pairs)


def _trapezoid(q1: mp.mpf, q2: mp.mpf, k: mp.mpf) -> tuple[mp.mpf, mp.mpf]:
    """E tanh tanh and E tanh' tanh' for variances q₁, q₂ and covariance k."""
    h = mp.mpf(1) / 8
    grid = [h * i for i in range(-72, 73)]
    weight = [h * mp.npdf(g) for g in grid]
    root = mp.sqrt(q1)
    along, across = k / root, mp.sqrt(abs(q2 - k * k / q1))
    t1 = [mp.tanh(root * g) for g in grid]
    dual = slope = mp.mpf(0)
    for g, w, t in zip(grid, weight, t1):
        t2 = [mp.tanh(along * g + across * e) for e in grid] if across > 1e-12 else [mp.tanh(along * g)]
        ws = weight if across > 1e-12 else [mp.mpf(1)]
        dual += w * t * mp.fdot(ws, t2)
        slope += w * (1 - t * t) * mp.fdot(ws, [1 - s * s for s in t2])
    return dual, slope


def run() -> list[Row]:
    """Every claim of the theory rooms."""
    return _integral_rows() + _edge_rows() + _predict_rows() + _kernel_rows() + _smooth_rows()
