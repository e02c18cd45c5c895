"""Wolinski & Arbel (TMLR 2025): the two experiments on ensembles of random networks, E1 and E2.

E1 is the propagation of correlations (Figures 1 and 14), E2 the Kolmogorov–Smirnov distance of deep networks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.ensemble import Ensemble, Plan, class_means, run
from firstlight.ensemble.runs.engines import Engine
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork

# The authors' code: ReLU (σ_w², σ_b²) = (2, 0), tanh (1.46, 0.013); pairs σ_w = 1 without bias.
SCALES: dict[str, tuple[float, float]] = {"relu": (2.0**0.5, 0.0), "tanh": (1.46**0.5, 0.013**0.5)}
THETAS = (2.05, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0)
E1_LAYERS = (10, 30, 50)
E2_WIDTHS = (3, 10, 30, 100, 1000)
E2_NETS = 10_000


def network(name: str, *, width: int, depth: int) -> RandomNetwork:
    """``"tanh"``, ``"relu"``, or a pair as ``"odd(θ)"``, ``"positive(θ)"`` (both of the paper) or ``"critical(θ)"``.

    The pairs take their weights from the symmetric Weibull law as it is, E W² = Γ(1 + 2/θ); the first layer is
    Gaussian in all of them.

    Raises
    ------
    DomainError
        If the name is none of these.

    Examples
    --------
    >>> from firstlight.experiments.wolinski2025_ensembles import network
    >>> network("odd(3)", width=10, depth=100).weight_law
    'weibull(3)'
    """
    if name in SCALES:
        sigma_w, sigma_b = SCALES[name]
        return RandomNetwork(depth=depth, width=width, activation=name, sigma_w=sigma_w, sigma_b=sigma_b)
    kind, _, rest = name.partition("(")
    if kind not in ("odd", "positive", "critical") or not rest.endswith(")"):
        raise DomainError(
            "while building a network of the paper: expected tanh, relu, odd(θ), positive(θ) or critical(θ), got "
            f"{name!r}"
        )
    theta = rest[:-1]
    return RandomNetwork(
        depth=depth, width=width, activation=f"weibull-{kind}({theta})", weight_law=f"weibull({theta})"
    )


@dataclass(frozen=True)
class Correlations:
    """E1 for one network: correlations between images at several layers, by both estimators.

    Attributes
    ----------
    name, width, labels
        The network, its width, and the class of each image, in order.
    layers
        Layer numbers; 0 is the input.
    pooled, per_network
        (layers, images, images) each; the input's correlation is the same in both.
    mean_pooled, mean_per_network, se_pooled, se_per_network
        Means over pairs of different images with their standard errors, one per layer.
    defined, mean_counting_dead
        Share of networks in which an image pair has a cosine: in narrow ReLU networks some die. They are left
        out of ``mean_per_network`` and count as 0 in ``mean_counting_dead``, as where cosines are taken with an ε
        in the denominator.
    """

    name: str
    width: int
    labels: np.ndarray
    layers: tuple[int, ...]
    pooled: Float[np.ndarray, "layers images images"]
    per_network: Float[np.ndarray, "layers images images"]
    mean_pooled: tuple[float, ...]
    mean_per_network: tuple[float, ...]
    se_pooled: tuple[float, ...]
    se_per_network: tuple[float, ...]
    defined: tuple[float, ...]
    mean_counting_dead: tuple[float, ...]

    def classes(self, layer: int) -> Float[np.ndarray, "classes classes"]:
        """Class means of the pooled correlations at a layer, as the paper draws them."""
        return class_means(self.pooled[self.layers.index(layer)], self.labels)


def images(
    name: str = "cifar10",
    *,
    per_class: int = 10,
    directory: str | os.PathLike[str] | None = None,
    seed: int = 0,
) -> tuple[Float[Tensor, "images features"], np.ndarray]:
    """The first ``per_class`` images of each class after a seeded shuffle, standardised per channel, by class."""
    from firstlight import data

    everything = data.load(name, directory=None if directory is None else Path(directory))
    assert isinstance(everything.inputs, Tensor)
    assert everything.targets is not None
    order = torch.randperm(len(everything), generator=torch.Generator().manual_seed(seed))
    labels = everything.targets[order]
    chosen = torch.cat([order[labels == c][:per_class] for c in labels.unique().tolist()])
    return everything.inputs[chosen].flatten(1), everything.targets[chosen].numpy()


def correlations(
    name: str,
    *,
    width: int,
    inputs: Float[Tensor, "images features"],
    labels: np.ndarray,
    nets: int = 1000,
    seed: int = 0,
    layers: Sequence[int] = E1_LAYERS,
    engine: Engine | None = None,
) -> Correlations:
    """E1: how correlations between images move through ``nets`` random networks (Figures 1 and 14)."""
    plan = Plan(net=network(name, width=width, depth=max(layers)), nets=nets, layers=tuple(layers), seed=seed)
    ensemble = run(plan, inputs, engine=engine)
    profile = ensemble.profile
    unit = torch.nn.functional.normalize(inputs.double(), dim=1)
    at_input = (unit @ unit.T).numpy()
    off = float(at_input[~np.eye(len(at_input), dtype=bool)].mean())
    return Correlations(
        name,
        width,
        labels,
        (0, *plan.layers),
        np.stack([at_input, *(ensemble.correlations(layer) for layer in plan.layers)]),
        np.stack([at_input, *(ensemble.correlations(layer, per_network=True) for layer in plan.layers)]),
        (off, *profile["correlation"].tolist()),
        (off, *profile["correlation_network"].tolist()),
        (0.0, *profile["correlation_se"].tolist()),
        (0.0, *profile["correlation_network_se"].tolist()),
        (1.0, *profile["correlation_network_defined"].tolist()),
        (off, *profile["correlation_network_zero"].tolist()),
    )


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
    engine: Engine | None = None,
    out: Path | None = None,
    resume: bool = False,
) -> DeepKS:
    """E2: KS distance between a deep network's pre-activations and N(0,1) over ``nets`` random networks.

    One input with ‖x‖² = n₀. Where weights are Gaussian the conditional laws are averaged instead of counting
    one unit per network; elsewhere all units of a layer are counted, and standard errors treat the units of one
    network as fully dependent. ``critical`` is the 5 % line of the paper, 1.358/√nets.
    """
    plan = Plan(net=network(name, width=width, depth=max(layers)), nets=nets, layers=tuple(layers), seed=seed)
    ensemble: Ensemble = run(
        plan, torch.ones(100), engine=engine, out=out, resume=resume and (out or Path()).exists()
    )
    p = ensemble.profile
    return DeepKS(
        name, width, nets, p["depth"], p["ks"], p["ks_standardised"], p["ks_se"], p["ks_standardised_se"],
        p["kurtosis"], 1.3581 / nets**0.5,
    )  # fmt: skip


def deep_ks_networks() -> Iterator[str]:
    """Names of the networks of E2: tanh, ReLU, odd and positive pairs for every θ of the paper."""
    yield from SCALES
    for kind in ("odd", "positive"):
        yield from (f"{kind}({theta:g})" for theta in THETAS)


def draw_correlations(results: Sequence[Correlations]) -> Any:
    """Heat maps of class-averaged correlations, one row per network, as Figure 1 of the paper (matplotlib)."""
    from matplotlib.figure import Figure

    columns = len(results[0].layers)
    figure = Figure(figsize=(2.3 * columns, 2.4 * len(results)), layout="constrained")
    axes = figure.subplots(len(results), columns, squeeze=False)
    for row, result in zip(axes, results, strict=True):
        for axis, layer in zip(row, result.layers, strict=True):
            image = axis.imshow(result.classes(layer), vmin=-1, vmax=1, cmap="RdBu_r")
            axis.set_title(f"{result.name}, n={result.width}, " + (f"layer {layer}" if layer else "input"))
            axis.set_xticks([])
            axis.set_yticks([])
    figure.colorbar(image, ax=axes, label="correlation of class pairs", shrink=0.7)
    return figure


def draw_deep_ks(results: Sequence[DeepKS]) -> Any:
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
