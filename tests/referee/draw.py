"""Random networks: activation, law, scale, width, normaliser and batch, callables included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from firstlight import RandomNetwork

NAMES = (
    *("tanh", "relu", "gelu", "elu", "erf", "hardtanh", "leaky_relu(0.2)"),
    *("softplus", "silu", "sign", "sin", "linear"),
)
LAWS = (
    "normal",
    "uniform",
    "rademacher",
    "laplace",
    "arcsine",
    "weibull(3)",
    "student(7)",
    "discrete(0: 0.5, 2: 0.5)",
)


@dataclass(frozen=True)
class Case:
    """A network with its input's mean square and cosine, and the batch of its normaliser."""

    label: str
    network: RandomNetwork
    q0: float
    c0: float
    batch: int | None = None


def _callable(rng: np.random.Generator):
    """A function of one tensor that no registry knows, with its description."""
    kind = int(rng.integers(7))
    a, b = (float(v) for v in rng.uniform(0.3, 3.0, 2))
    far = float(10 ** rng.uniform(-2, 2))
    return [
        (f"clamp(x, -{a * far:.4g}, {b * far:.4g})", lambda x: torch.clamp(x, -a * far, b * far)),
        (f"relu(x - {a:.4g})", lambda x: torch.relu(x - a)),
        (f"tanh({far:.4g} x)", lambda x: torch.tanh(far * x)),
        (f"round({a:.4g} tanh x) / {a:.4g}", lambda x: torch.round(4 * a * torch.tanh(x)) / (4 * a)),
        (f"exp(-(x - {b:.4g})² / {a:.4g})", lambda x: torch.exp(-((x - b) ** 2) / a)),
        (f"x + {a:.4g} sin({b:.4g} x)", lambda x: x + a * torch.sin(b * x)),
        (f"step(x - {a / 3:.4g})", lambda x: (x > a / 3).to(x.dtype)),
    ][kind]


def cases(seed: int, count: int) -> list[Case]:
    """``count`` cases; the same seed gives the same ones."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count):
        label, activation = _callable(rng) if rng.random() < 0.4 else ((name := str(rng.choice(NAMES))), name)
        law = str(rng.choice(LAWS)) if rng.random() < 0.8 else "orthogonal"
        norm = str(rng.choice(["batch", "layer", "rms"])) if rng.random() < 0.2 else None
        width = int(rng.choice([1, 2, 3, 5, 8, 16, 32]))
        if norm:
            width = max(width, 8)
        fields = {
            "depth": 3,
            "width": width,
            "activation": activation,
            "sigma_w": float(rng.uniform(0.5, 2.2)),
            "sigma_b": float(rng.choice([0.0, 0.0, rng.uniform(0.05, 0.8)])),
            "weight_law": law,
            "in_features": width,
            "first_layer": "orthogonal" if law == "orthogonal" and rng.random() < 0.5 else "normal",
            "norm": norm,
            "dropout": float(rng.choice([0.0, 0.0, 0.0, 0.2])),
        }
        if rng.random() < 0.15:
            fields |= {"skip": float(rng.uniform(0.5, 1.0)), "branch": float(rng.uniform(0.3, 1.0))}
        q0 = float(10 ** rng.uniform(-2, 2))
        batch = int(rng.integers(4, 9)) if norm == "batch" else None
        shown = {**fields, "activation": label, "q0": q0}
        text = ", ".join(
            f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in shown.items() if v
        )
        found.append(
            Case(f"{index}: {text}", RandomNetwork(**fields), q0, float(rng.uniform(-0.9, 0.95)), batch)
        )
    return found
