"""Kolmogorov–Smirnov distance of deep pre-activations to N(0, 1): sections 3 and 5 of Wolinski and Arbel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from firstlight.ensemble import Ensemble, Plan, run
from firstlight.ensemble.runs.engines import Engine
from firstlight.experiments.wolinski2025.networks import PERIODIC, SCALES, THETAS, network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

E2_WIDTHS = (3, 10, 30, 100, 1000)
E2_NETS = 10_000


@dataclass(frozen=True)
class DeepKS:
    """E2 for one network: KS distance to N(0,1) against depth, raw and standardised, with standard errors."""

    name: str
    width: int
    nets: int
    depth: np.ndarray
    raw: np.ndarray
    standardised: np.ndarray
    raw_se: np.ndarray
    standardised_se: np.ndarray
    kurtosis: np.ndarray
    critical: float


def deep_ks(
    name: str,
    *,
    width: int,
    nets: int = E2_NETS,
    layers: Sequence[int] = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 100),
    seed: int = 0,
    inputs: Tensor | None = None,
    engine: Engine | None = None,
    out: Path | None = None,
    resume: bool = False,
) -> DeepKS:
    """E2: KS distance between a deep network's pre-activations and N(0,1) over ``nets`` random networks.

    One input, ``inputs`` or by default one with ‖x‖² = n₀. Where weights are Gaussian the conditional laws are averaged
    instead of counting one unit per network; elsewhere all units of a layer are counted, and standard errors treat the
    units of one network as fully dependent. ``critical`` is the 5 % line of the paper, 1.358/√nets.
    """
    plan = Plan(net=network(name, width=width, depth=max(layers)), nets=nets, layers=tuple(layers), seed=seed)
    ensemble: Ensemble = run(
        plan,
        torch.ones(100) if inputs is None else inputs,
        engine=engine,
        out=out,
        resume=resume and (out or Path()).exists(),
    )
    p = ensemble.profile
    return DeepKS(
        name, width, nets, p["depth"], p["ks"], p["ks_standardised"], p["ks_se"], p["ks_standardised_se"],
        p["kurtosis"], 1.3581 / nets**0.5,
    )  # fmt: skip


def deep_ks_networks() -> Iterator[str]:
    """Names of the networks of E2: tanh, ReLU, φ_{.99,ω}, odd and positive pairs for every θ of the paper."""
    yield from SCALES
    yield from (f"periodic({omega})" for omega in PERIODIC)
    for kind in ("odd", "positive"):
        yield from (f"{kind}({theta:g})" for theta in THETAS)


def draw_deep_ks(results: Sequence[DeepKS]) -> Figure:
    """KS distance against depth, raw and standardised side by side, with the 5 % line (matplotlib)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    for axis, field in zip(figure.subplots(1, 2, sharey=True), ("raw", "standardised"), strict=True):
        for result in results:
            y, se = getattr(result, field), getattr(result, f"{field}_se")
            axis.errorbar(result.depth, y, yerr=se, marker=".", label=f"{result.name}, n={result.width}")
        axis.axhline(results[0].critical, linestyle="--", color="grey", label="5 % line")
        axis.set_xlabel("layer")
        axis.set_ylabel(f"KS distance to N(0,1), {field}")
        axis.set_yscale("log")
    axis.legend(fontsize="x-small")
    return figure
