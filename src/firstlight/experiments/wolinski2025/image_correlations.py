"""Propagation of correlations between images through random networks: Figures 1 and 14 of Wolinski and Arbel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.ensemble import Plan, class_means, run
from firstlight.ensemble.runs.engines import Engine
from firstlight.errors import DomainError
from firstlight.experiments.wolinski2025.networks import network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

E1_LAYERS = (10, 30, 50)


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
        Share of networks in which an image pair has a cosine: in narrow ReLU networks some die. ``mean_per_network``
        leaves these networks out. In ``mean_counting_dead`` they count as 0, as a cosine with an ε in its denominator
        does.
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

    place = None if directory is None else Path(directory)
    named = name in data.NAMES
    found = data.load(name, directory=place, per_class=per_class if named else None, seed=seed)
    if not isinstance(found.inputs, Tensor) or found.targets is None:
        raise DomainError(
            f"while choosing images by class: expected data with one tensor of inputs and with targets, got {name!r} "
            "without; name a data set such as cifar10, mnist or digits, or a file with inputs and targets"
        )
    if named:
        return found.inputs.flatten(1), found.targets.numpy()
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))
    labels = found.targets[order]
    chosen = torch.cat([order[labels == c][:per_class] for c in labels.unique().tolist()])
    return found.inputs[chosen].flatten(1), found.targets[chosen].numpy()


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


def draw_correlations(results: Sequence[Correlations]) -> Figure:
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
