"""Shaped activations without touching the code: DKS and TAT, folded into the weights and biases around φ."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from firstlight.activations import Activation
from firstlight.recipes.layout.slots import Slot
from firstlight.recipes.linear.chains import mirrored
from firstlight.recipes.linear.graph import Graph, graph_of
from firstlight.recipes.linear.leaky import tat_leak
from firstlight.recipes.linear.shapes import Shape, dks_shape, tat_shape
from firstlight.recipes.linear.slope import local_slope, maximal_bends, subnet_maximum
from firstlight.recipes.recipe import Draft, Need, Recipe
from firstlight.recipes.scales import usual_moment


def _fold(draft: Draft, graph: Graph, shape_of: Callable[[Activation], Shape], said: str) -> None:
    """Draft orthogonal weights with the shape of each activation folded into the weights and normalisers around it."""
    shapes: dict[str, Shape] = {}
    for phi in graph.phis.values():
        if phi.name not in shapes:
            shapes[phi.name] = shape_of(phi)
    for slot in graph.slots:
        _fold_weight(draft, graph, slot, shapes, said)
    for row, path in graph.norms.items():
        after = graph.after(row)
        shape = None if after is None else shapes[after.name]
        draft.set(f"{path}.weight", torch.tensor(shape.alpha if shape else 1.0), "α of the next activation")
        draft.set(f"{path}.bias", torch.tensor(shape.beta if shape else 0.0), "β of the next activation")


def _fold_weight(draft: Draft, graph: Graph, slot: Slot, shapes: Mapping[str, Shape], said: str) -> None:
    phi, after = graph.before(slot.row), graph.after(slot.row)
    sigma_w = 1.0 / _size(graph, slot)
    weight = mirrored(slot.weight, sigma_w, draft.generator)
    bias = torch.zeros(weight.shape[0], dtype=torch.float64)
    if phi is not None:
        before = shapes[phi.name]
        bias = before.gamma * before.delta * weight.flatten(1).sum(1)
        weight = before.gamma * weight
    if after is not None:
        shape = shapes[after.name]
        weight, bias = shape.alpha * weight, shape.alpha * bias + shape.beta
    if not slot.bias and bool(bias.abs().max() > 1e-9):
        draft.refuse("a bias on every weight", f"{slot.name} without one", "add biases, or use small-signals")
    if draft.put(slot, weight, f"orthogonal, {said}"):
        draft.shift(slot, bias)


def _size(graph: Graph, slot: Slot) -> float:
    """Root mean square of what a weight reads, with shaped activations."""
    if slot.reads == "input":
        return usual_moment(slot.q_in) ** 0.5
    return math.sqrt(graph.read_moment(slot.row))


def _bent_at_zero(phi: Activation) -> bool:
    return phi.kinks == (0.0,) and phi.degree == 1


def _tailor(draft: Draft, graph: Graph, leak: float) -> None:
    """Draft orthogonal weights with the gain of leaky ReLUs of this slope, and the slope where a parameter holds it."""
    gain = math.sqrt(2.0 / (1.0 + leak * leak))
    for slot in graph.slots:
        scale = gain if graph.before(slot.row) is not None else 1.0 / _size(graph, slot)
        if draft.put(slot, mirrored(slot.weight, scale, draft.generator), f"orthogonal × {scale:.4g}"):
            draft.shift(slot, 0.0)
    for path in graph.norms.values():
        draft.set(f"{path}.weight", torch.tensor(1.0), "ones")
        draft.set(f"{path}.bias", torch.tensor(0.0), "zeros")
    for path, module in draft.blueprint.model.named_modules():
        if isinstance(module, nn.PReLU):
            draft.set(f"{path}.weight".lstrip("."), torch.tensor(leak), f"slope {leak:.6g} below zero")
        elif isinstance(module, nn.LeakyReLU):
            draft.leave(path, f"its slope is part of the code: write nn.LeakyReLU({leak:.6g})")


@dataclass(frozen=True)
class DKS(Recipe):
    r"""Deep kernel shaping: every activation acts as φ̂(x) = γ(φ(αx + β) + δ), with α, β, γ, δ in weights and biases.

    Q(1) = 1, Q'(1) = 1, C(0) = 0, and C'(1) such that the slope of the whole network, over all its parts
    (`maximal_slope` of the traced graph), is ζ. Weights are orthogonal. Sums count by the second moments of their
    parts; a normaliser in front of an activation holds α and β as its gain and shift. A convolution with zero padding
    feels the shift at its border.

    Refused: a residual network whose activations read the sums directly, without a normaliser between. No parameter
    there holds α and β. The paper changes such code: φ̂ in place of φ, and sums √(1 − w²)·x + w·branch of second
    moment 1.

    Attributes
    ----------
    slope
        ζ > 1.
    """

    slope: float = 1.5
    word: ClassVar[str] = "dks"
    purpose: ClassVar[str] = "plain deep networks of smooth activations, which then train as residual ones do"
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    changes: ClassVar[tuple[str, ...]] = ("weights", "biases", "gains")
    source: ClassVar[str] = (
        "Martens et al., Rapid training of deep neural networks without skip connections, 2021"
    )

    def draft(self, draft: Draft) -> None:
        """Every weight, bias and normaliser."""
        graph = graph_of(draft)
        local = local_slope(graph.kinds, graph.links, self.slope, shares=graph.shares)
        _fold(draft, graph, lambda phi: dks_shape(phi, local), f"shaped to C'(1) = {local:.6g} a layer")


@dataclass(frozen=True)
class TAT(Recipe):
    r"""Tailored activation transformation for smooth activations: C'(1) = 1 and C''(1) = τ over the whole depth.

    As `DKS`, with Q(1) = Q'(1) = C'(1) = 1 in every layer, and the curvature τ divided among the activations
    (`maximal_bends` of the traced graph). Where all activations are leaky ReLUs the slope below zero is tailored
    instead (`tat_leak`): written where a PReLU learns the slope, named with its value where the code holds it; weights
    get the gain that keeps second moments.

    Attributes
    ----------
    curvature
        τ, .3 in the paper.
    eta
        η of leaky ReLUs, .9 in the paper.
    """

    curvature: float = 0.3
    eta: float = 0.9
    word: ClassVar[str] = "tat"
    purpose: ClassVar[str] = "plain deep networks of smooth activations; closer to linear than DKS"
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    changes: ClassVar[tuple[str, ...]] = ("weights", "biases", "gains")
    source: ClassVar[str] = "Zhang, Botev & Martens, ICLR 2022"

    def draft(self, draft: Draft) -> None:
        """Every weight, bias and normaliser."""
        graph = graph_of(draft)
        leaky = [m for m in draft.blueprint.model.modules() if isinstance(m, nn.LeakyReLU | nn.PReLU)]
        if leaky and all(_bent_at_zero(phi) for phi in graph.phis.values()):
            most = tat_leak(
                lambda one: subnet_maximum(graph.kinds, graph.links, 0.0, one, shares=graph.shares), self.eta
            )
            _tailor(draft, graph, most)
            return
        bends = maximal_bends(graph.kinds, graph.links, shares=graph.shares)
        _fold(
            draft,
            graph,
            lambda phi: tat_shape(phi, self.curvature / bends),
            f"C''(1) = {self.curvature:g}/{bends:.6g}",
        )
