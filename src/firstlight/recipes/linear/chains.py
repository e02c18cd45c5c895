"""Chains that start as a linear map: mirrored units for ReLU, small signals for smooth activations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from firstlight import activations
from firstlight.activations import Activation
from firstlight.recipes.draws import haar_block, middle_tap
from firstlight.recipes.layout.slots import Slot
from firstlight.recipes.recipe import Draft, Need, Recipe
from firstlight.recipes.scales import usual_moment


def chain_of(draft: Draft) -> list[Slot]:
    """The weights of a plain chain of weights and activations.

    Raises
    ------
    DomainError
        The model is no such chain of at least three weights.
    """
    slots = list(draft.blueprint.slots)
    sizes = sorted(draft.blueprint.kinds - {"input", "weight", "activation"})
    if not draft.blueprint.chain or len(slots) < 3 or any(s.kind in ("bare", "embedding") for s in slots):
        got = (
            f"a model with {', '.join(sizes)} rows"
            if sizes
            else f"{len(slots)} weights that are no such chain"
        )
        draft.refuse(
            "a chain of at least three weights with activations between", got, "use critical or orthogonal"
        )
    return slots


@dataclass(frozen=True)
class LooksLinear(Recipe):
    r"""Weights [[A, −A], [−A, A]] with A Haar-orthogonal, in a chain of layers with even widths, as of ReLU.

    With mirrored units (u, −u) the ReLU keeps (u₊, u₋) and the next weight reads u₊ − u₋ = u: at the start the
    network is an exact linear isometry of half its width. The same holds for every activation with
    φ(u) − φ(−u) = a u (`mirror_slope`), for A over a.
    """

    word: ClassVar[str] = "looks-linear"
    purpose: ClassVar[str] = (
        "plain deep networks of ReLU, LeakyReLU, GELU, SiLU, softplus: an exact linear isometry at the start"
    )
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    source: ClassVar[str] = "Balduzzi et al., ICML 2017, section 4"

    def draft(self, draft: Draft) -> None:
        """Every weight; biases are zero."""
        chain = chain_of(draft)
        widths = [slot.weight.shape for slot in chain]
        scales = mirror_scales([slot.phi for slot in chain[1:]], usual_moment(chain[0].q_in))
        even = all(w[0] % 2 == 0 for w in widths[:-1])
        fits = all(new[1] % old[0] == 0 for old, new in pairwise(widths))
        if scales is None or not (even and fits):
            draft.refuse(
                "activations with φ(u) − φ(−u) = a u, such as ReLU and SiLU, in layers of even width",
                "other activations or widths",
                "use critical or small-signals",
            )
        last = len(chain) - 1
        for index, (slot, sigma_w) in enumerate(zip(chain, scales, strict=True)):
            # a flattened image keeps its mirrored channels in its two halves
            value = mirrored(slot.weight, sigma_w, draft.generator, rows=index < last, columns=index > 0)
            draft.put(slot, value, f"{'mirrored, ' if index < last else ''}orthogonal")
            draft.shift(slot, 0.0)


def mirror_scales(phis: Sequence[Activation | None], q: float) -> list[float] | None:
    """Factors on A in the weights of a mirrored chain, for inputs of second moment q; None where a slope is missing.

    Examples
    --------
    >>> from firstlight import activations
    >>> from firstlight.recipes.linear.chains import mirror_scales
    >>> mirror_scales([activations.get("relu")] * 2, 4.0)
    [0.5, 1.0, 1.0]
    """
    slopes = [mirror_slope(phi) for phi in phis]
    known = [slope for slope in slopes if slope is not None]
    return [1.0 / math.sqrt(q), *(1.0 / abs(slope) for slope in known)] if len(known) == len(slopes) else None


def mirror_slope(phi: Activation | None) -> float | None:
    """The a of an activation with φ(u) − φ(−u) = a u, whose mirrored units carry u on; None where there is none.

    Examples
    --------
    >>> from firstlight import activations
    >>> from firstlight.recipes import mirror_slope
    >>> [mirror_slope(activations.get(name)) for name in ("relu", "silu", "tanh")]
    [1.0, 1.0, None]
    """
    if phi is None or phi.jumps:
        return None
    grid = torch.linspace(0.125, 8.0, 64, dtype=torch.float64)
    slopes = (phi(grid) - phi(-grid)) / grid
    slope = float(slopes.mean())
    # a straight line up to rounding: values near zero are differences of numbers of size one
    straight = bool((slopes - slope).abs().max() <= 1e-6 * abs(slope))
    return round(slope, 9) if straight and abs(slope) > 1e-3 else None


def mirrored(
    like: Tensor,
    sigma_w: float,
    generator: torch.Generator | None,
    *,
    rows: bool = False,
    columns: bool = False,
) -> Tensor:
    """A Haar matrix A with σ_w in the middle tap; mirroring gives [[A, −A], [−A, A]], or the half asked for."""
    outputs, inputs = like.shape[0] // (1 + rows), like.shape[1] // (1 + columns)
    matrix = haar_block(outputs, inputs, sigma_w, generator)
    if columns:
        matrix = torch.cat([matrix, -matrix], dim=1)
    if rows:
        matrix = torch.cat([matrix, -matrix], dim=0)
    return middle_tap(like.shape, matrix)


@dataclass(frozen=True)
class SmallSignals(Recipe):
    r"""Orthogonal weights over φ'(0), and signals so small that a chain of smooth activations is nearly linear.

    A network of L layers whose signals have q = O(1/L) is one with the shaped activation s φ(x/s), s = √(1/q), in all
    layers: each layer differs from a linear one by O(1/L), and all of them together by O(1). The first weight makes
    the signal small, the last weight brings it back to 1, and biases −W 1 φ(0) remove the activation's own offset.
    The gradient of the first weight is 1/√q times that of the others, so plain gradient descent needs a smaller rate
    than an adaptive optimiser.
    """

    word: ClassVar[str] = "small-signals"
    purpose: ClassVar[str] = "plain deep networks of smooth activations, trained with Adam"
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    source: ClassVar[str] = "Martens et al., 2021; Li, Nica & Roy, NeurIPS 2022"

    def draft(self, draft: Draft) -> None:
        """Every weight and bias."""
        chain = chain_of(draft)
        plan = small_scales([slot.phi for slot in chain[1:]], usual_moment(chain[0].q_in))
        if plan is None or any(at and not s.bias for (_, at), s in zip(plan[1], chain, strict=True)):
            draft.refuse(
                "activations that are smooth at 0", "a kink or no slope there", "use critical or looks-linear"
            )
        q, scales = plan
        draft.draw(chain[0], scales[0][0], f"to q = {q:.3g}", law="orthogonal")
        for slot, (scale, value) in zip(chain[1:], scales[1:], strict=True):
            weight = mirrored(slot.weight, scale, draft.generator)
            if draft.put(slot, weight, f"orthogonal, σ_w = {scale:.4g}"):
                draft.shift(slot, -value * weight.flatten(1).sum(1) if value else 0.0)


def small_scales(
    phis: Sequence[Activation | None], q: float
) -> tuple[float, list[tuple[float, float]]] | None:
    """Second moment of the small signals, and for every weight its scale and the offset φ(0) that it reads.

    None where an activation has no tangent at 0; q is the second moment of the inputs.
    """
    lines = [(phi, line) for phi in phis if phi is not None and (line := tangent(phi)) is not None]
    if len(lines) < len(phis):
        return None
    moment = small_moment([phi for phi, _ in lines], [line for _, line in lines], len(phis) + 1)
    small = math.sqrt(moment)
    found = [(small / math.sqrt(q), 0.0)]
    for index, (_, (slope, value)) in enumerate(lines, start=1):
        found.append((1.0 / abs(slope) / (small if index == len(lines) else 1.0), value))
    return moment, found


def tangent(phi: Activation | None) -> tuple[float, float] | None:
    """φ'(0) and φ(0) of an activation that is smooth at 0 and not flat there; else None."""
    if phi is None or phi.jumps or 0.0 in phi.kinks:
        return None
    zero = torch.zeros(1, dtype=torch.float64)
    slope = float(phi.derivative(zero)[0])
    return None if abs(slope) < 1e-3 else (slope, float(phi(zero)[0]))


def small_moment(phis: Sequence[Activation], tangents: Sequence[tuple[float, float]], depth: int) -> float:
    """The largest of q = 3/L, 1/L, …, 0.01/L that the variance map keeps within a factor 1.5 over all layers.

    Examples
    --------
    >>> from firstlight import activations
    >>> from firstlight.recipes.linear.chains import small_moment
    >>> round(10 * small_moment([activations.get("tanh")] * 9, [(1.0, 0.0)] * 9, 10), 6)
    0.1
    """
    start = torch.tensor([3.0, 1.0, 0.3, 0.1, 0.03, 0.01], dtype=torch.float64) / depth
    q = start
    for phi, (slope, offset) in zip(phis, tangents, strict=True):
        moments = activations.moments(phi, q)
        q = ((moments.second - 2 * offset * moments.mean + offset**2) / slope**2).clamp(max=1e6)
    kept = (q / start).log().abs() < math.log(1.5)
    return float(start[kept][0]) if bool(kept.any()) else float(start[-1])
