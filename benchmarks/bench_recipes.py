"""What a start costs, beside torch's own initialisation, AnyInit's empirical mode and the search of the DKS package."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable

import torch
from torch import nn

import firstlight
from benchmarks.harness import Row, interleaved

WIDTH, LAYERS = 1024, 24  # 25 million parameters
DEPTH, SMALL = 50, 256


def chain(depth: int, width: int, phi: type[nn.Module]) -> nn.Sequential:
    """Linear layers of one width with an activation behind each but the last."""
    layers: list[nn.Module] = []
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), phi()]
    return nn.Sequential(*layers, nn.Linear(width, width))


def large() -> Row:
    """The edge of chaos on 25 million parameters, beside `reset_parameters` of the same layers."""
    model = chain(LAYERS, WIDTH, nn.ReLU)
    weights = [layer for layer in model if isinstance(layer, nn.Linear)]

    def torchs() -> None:
        for layer in weights:
            layer.reset_parameters()

    best = interleaved(
        {"ours": lambda: firstlight.initialise_(model, "critical"), "torch": torchs}, repeats=7, warmup=1
    )
    count = sum(p.numel() for p in model.parameters()) / 1e6
    detail = f"{count:.1f} M parameters: {best['ours']:.3f} s against {best['torch']:.3f} s"
    return Row("initialise_(critical) over torch's own", best["ours"] / best["torch"], 3.0, detail=detail)


def small() -> Row:
    """A 50-layer perceptron of width 256, beside AnyInit's empirical mode."""
    claim = "AnyInit's empirical mode over initialise_(critical), 50 layers of width 256"
    if importlib.util.find_spec("anyinit") is None:
        return Row(claim, math.nan, 10.0, lower_is_better=False, detail="anyinit is not installed")
    import anyinit

    model = chain(DEPTH, SMALL, nn.Tanh)
    batch = torch.randn(64, SMALL)
    best = interleaved(
        {
            "ours": lambda: firstlight.initialise_(model, "critical", batch),
            "theirs": lambda: anyinit.initialize(model, "empirical", batch),
        },
        repeats=3,
        warmup=1,
    )
    detail = f"{best['theirs']:.3f} s against {best['ours']:.3f} s, ours with the traced batch"
    return Row(claim, best["theirs"] / best["ours"], 10.0, lower_is_better=False, detail=detail)


def search() -> Row:
    """The same perceptron, beside the search for a transformed tanh of the DKS authors' package."""
    claim = "DKS's search for one activation over initialise_(critical), 50 layers of width 256"
    if importlib.util.find_spec("dks") is None:
        detail = "dks is not installed (pip install --no-deps dks autograd absl-py)"
        return Row(claim, math.nan, 10.0, lower_is_better=False, detail=detail)
    from dks.pytorch.activation_transform import get_transformed_activations

    def largest(slope: float, local: Callable[[float], float]) -> float:
        """The slope of a chain: that of one activation, again and again."""
        for _ in range(DEPTH - 1):
            slope = local(slope)
        return slope

    model = chain(DEPTH, SMALL, nn.Tanh)
    best = interleaved(
        {
            "ours": lambda: firstlight.initialise_(model, "critical"),
            "theirs": lambda: get_transformed_activations(["tanh"], method="DKS", subnet_max_func=largest),
        },
        repeats=3,
        warmup=1,
    )
    detail = (
        f"{best['theirs']:.3f} s for the search alone, weights not drawn, against {best['ours']:.3f} s; "
        "both know the architecture"
    )
    return Row(claim, best["theirs"] / best["ours"], 10.0, lower_is_better=False, detail=detail)


def run() -> list[Row]:
    """All rows."""
    return [large(), small(), search()]
