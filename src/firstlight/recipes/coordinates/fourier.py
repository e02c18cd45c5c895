"""Frequencies in the first weight: random Fourier features, and rows whose spectrum lies in a band."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from firstlight.recipes.draws import normal, uniform
from firstlight.recipes.laws.critical import critical_point
from firstlight.recipes.layout.slots import Slot
from firstlight.recipes.recipe import Draft, Need, Recipe


def first_weight(draft: Draft) -> Slot:
    """The first weight that reads the inputs.

    Raises
    ------
    DomainError
        There is none.
    """
    kinds = ("linear", "conv", "bare")
    found = [slot for slot in draft.blueprint.slots if slot.kind in kinds and slot.reads == "input"]
    if not found:
        draft.refuse("a weight that reads the inputs", "none", "this recipe is for networks of real inputs")
    return found[0]


def draw_others(draft: Draft, first: Slot) -> None:
    """Draft every weight but the first on the edge of chaos of what it reads."""
    for slot in draft.blueprint.slots:
        if slot.kind == "embedding":
            draft.draw(slot, 1.0, "one row is read at a time")
        elif slot.name != first.name:
            sigma_w, sigma_b, why = critical_point(slot, draft.blueprint)
            draft.draw(slot, sigma_w, why, sigma_b=sigma_b)


@dataclass(frozen=True)
class FourierFeatures(Recipe):
    r"""First weight N(0, (2π s)²) with phases U(0, 2π): cosines of it are random features of a Gaussian kernel.

    .. math:: 2\,E \cos(w·x + b)\cos(w·y + b) = \exp\big(-\tfrac12 (2π s)^2 \|x - y\|^2\big)

    The other weights stand on the edge of chaos of what they read.

    Attributes
    ----------
    scale
        s, in periods for one unit of the inputs: higher learns finer detail first.
    """

    scale: float = 1.0
    word: ClassVar[str] = "fourier-features"
    purpose: ClassVar[str] = "networks of coordinates whose first layer is a sine or a cosine"
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    source: ClassVar[str] = "Rahimi & Recht, NeurIPS 2007; Tancik et al., NeurIPS 2020"

    def draft(self, draft: Draft) -> None:
        """Every weight."""
        first = first_weight(draft)
        draw_others(draft, first)
        value = normal(first.weight.shape, draft.generator, first.weight.dtype) * (2 * math.pi * self.scale)
        if draft.put(first, value, f"N(0, (2π · {self.scale:g})²)") and first.bias:
            size = first.module.get_parameter(first.bias.rpartition(".")[2]).shape
            phase = (uniform(size, draft.generator) / math.sqrt(3.0) + 1.0) * math.pi
            draft.set(first.bias, phase, "U(0, 2π)")


@dataclass(frozen=True)
class Bandlimited(Recipe):
    r"""Rows of the first weight whose spectrum along the inputs lies in a band, with mean square 1/fan-in.

    Noise is filtered by its discrete Fourier transform. A row reads a signal, or an image of the given shape; a
    kernel is filtered over its taps. The other weights stand on the edge of chaos of what they read.

    Attributes
    ----------
    low, high
        The band, as shares of the highest frequency that the inputs hold; 0 is the mean.
    shape
        Shape of the inputs of one row, such as ``(28, 28)``; one axis if not given.
    """

    low: float = 0.0
    high: float = 0.25
    shape: tuple[int, ...] | None = None
    word: ClassVar[str] = "bandlimited"
    purpose: ClassVar[str] = (
        "first layers on signals and images, where most of the power lies at low frequencies"
    )
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    source: ClassVar[str] = "Bandlimited random weights (catalogue 54)"

    def draft(self, draft: Draft) -> None:
        """Every weight."""
        first = first_weight(draft)
        draw_others(draft, first)
        shape = first.weight.shape
        kernel = first.kind == "conv"
        taps = tuple(shape[2:]) if kernel else (self.shape or (shape[1],))
        lead = shape[:2] if kernel else shape[:1]
        if math.prod(taps) * math.prod(lead) != math.prod(shape):
            got = f"shape={self.shape}"
            draft.refuse(f"rows of {math.prod(shape[1:])} entries", got, "give the shape of one input")
        noise = normal((*lead, *taps), draft.generator, torch.float64)
        value = filtered(noise, len(taps), self.low, self.high).reshape(shape)
        rows = value.flatten(1)
        size = rows.square().mean(1, keepdim=True).sqrt().clamp_min(1e-30)
        value = (rows / size / math.sqrt(first.fan_in)).view(shape)
        if draft.put(
            first, value, f"normal, spectrum within [{self.low:g}, {self.high:g}] of the highest frequency"
        ):
            draft.shift(first, 0.0)


def filtered(noise: Tensor, axes: int, low: float, high: float) -> Tensor:
    """Noise without the frequencies whose largest component lies outside [low, high] of the highest one."""
    dims = tuple(range(-axes, 0))
    spectrum = torch.fft.fftn(noise, dim=dims)
    grid = [2 * torch.fft.fftfreq(noise.shape[d], dtype=torch.float64).abs() for d in dims]
    reach = torch.stack(torch.meshgrid(*grid, indexing="ij")).amax(0)
    kept = (reach >= low - 1e-12) & (reach <= high + 1e-12)
    return torch.fft.ifftn(spectrum * kept, dim=dims).real
