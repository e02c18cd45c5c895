"""Sinusoidal networks: SIREN, and WINNER, which adds what the target's spectrum asks for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from firstlight.recipes.draws import normal, uniform
from firstlight.recipes.layout.slots import Slot
from firstlight.recipes.recipe import Draft, Need, Recipe


def frequency(slot: Slot) -> float | None:
    """ω of the sine sin(ω z) that a slot reads, from its slope at 0; None where it reads no sine."""
    if slot.phi is None:
        return None
    at = torch.linspace(-1.0, 1.0, 9, dtype=torch.float64)
    omega = float(slot.phi.derivative(torch.zeros(1, dtype=torch.float64))[0])
    alike = torch.allclose(slot.phi(at), torch.sin(omega * at), atol=1e-6)
    return omega if omega > 0 and alike else None


def draw_siren(draft: Draft, default: float | None, *, phases: bool = False) -> list[Slot]:
    """Draft SIREN's weights and give back the slots from the first to the last."""
    slots = [slot for slot in draft.blueprint.slots if slot.kind != "embedding"]
    found = [omega for slot in slots if (omega := frequency(slot)) is not None]
    if not found and default is None:
        draft.refuse("activations sin(ω z)", "a model without a sine", "give frequency=…, or use vi3nr")
    omega = default if default is not None else found[0]
    for place, slot in enumerate(slots):
        first = place == 0 or slot.reads == "input"
        bound = 1.0 / slot.fan_in if first else math.sqrt(6.0 / slot.fan_in) / omega
        value = uniform(slot.weight.shape, draft.generator, slot.weight.dtype) * (bound / math.sqrt(3.0))
        said = f"U(±1/{slot.fan_in})" if first else f"U(±√(6/{slot.fan_in})/{omega:g})"
        if draft.put(slot, value, said) and not (first or phases):
            draft.shift(slot, 0.0)
        elif slot.name in draft.values and slot.bias:
            size = slot.module.get_parameter(slot.bias.rpartition(".")[2]).shape
            edge = 1.0 / math.sqrt(slot.fan_in)
            draft.set(slot.bias, uniform(size, draft.generator) * (edge / math.sqrt(3.0)), f"U(±{edge:.4g})")
    return slots


@dataclass(frozen=True)
class Siren(Recipe):
    r"""First weight U(±1/n₀), then U(±√(6/n)/ω), for activations sin(ω z).

    .. math:: q \to 1 - e^{-2q}, \qquad χ_1 = 1 + e^{-2q}: \quad q^* = .7968, \; χ_1 = 1.203

    Signals have a fixed point, and gradients grow by 1.203 a layer: healthy signals are not the same as trainable.

    Attributes
    ----------
    frequency
        ω; None reads it from the model's own sines.
    phases
        Whether every bias is U(±1/√n), as torch makes it and the authors' code leaves it. By default the first one is,
        and the others are zero, which the fixed point above asks for.
    """

    frequency: float | None = None
    phases: bool = False
    word: ClassVar[str] = "siren"
    purpose: ClassVar[str] = "networks of coordinates with sines"
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    source: ClassVar[str] = "Sitzmann et al., NeurIPS 2020, section 3.2 (catalogue 52)"

    def draft(self, draft: Draft) -> None:
        """Every weight and bias."""
        draw_siren(draft, self.frequency, phases=self.phases)


def spectral_centroid(target: Tensor) -> float:
    r"""How high the frequencies of a signal lie: 2/channels · mean over channels of Σ f|X| / Σ|X|.

    Parameters
    ----------
    target
        Samples in the order of the coordinates, shape (samples, channels) or (samples,); an image is read row after
        row.

    Returns
    -------
    float
        f runs from 0 to ½, so a signal of one channel has a centroid in [0, 1].

    Examples
    --------
    >>> import math, torch
    >>> from firstlight.recipes import spectral_centroid
    >>> t = torch.arange(256) / 256
    >>> round(spectral_centroid(torch.sin(2 * math.pi * 32 * t)), 3)  # 2 · 32/256
    0.25
    """
    columns = target.detach().double().reshape(len(target), -1)
    size = torch.fft.rfft(columns, dim=0).abs()
    f = torch.fft.rfftfreq(len(columns), dtype=torch.float64).unsqueeze(1)
    share = (f * size).sum(0) / size.sum(0).clamp_min(1e-300)
    return float(2.0 / columns.shape[1] * share.mean())


@dataclass(frozen=True)
class Winner(Recipe):
    r"""SIREN with noise on the first two weights, as much as the spectrum of the target asks for.

    .. math:: W_1 \mathrel{+}= N(0, (S_0/30)^2), \quad W_2 \mathrel{+}= N(0, (S_1/30)^2)

    .. math:: \text{1-D: } S_0 = 3500(1 - e^{-7c/k}),\; S_1 = 3c/k; \qquad
        \text{2-D: } S_0 = 50(1 - e^{-5c/k}),\; S_1 = .4\,c/k

    with the spectral centroid c (`spectral_centroid`) and k channels of the target.

    Attributes
    ----------
    frequency
        As for `Siren`.
    """

    frequency: float | None = None
    word: ClassVar[str] = "winner"
    purpose: ClassVar[str] = "sinusoidal networks for targets with high frequencies, such as audio"
    needs: ClassVar[tuple[Need, ...]] = ("graph", "batch", "loss")
    source: ClassVar[str] = (
        "WINNER, weight initialization with noise for neural representations (catalogue 37)"
    )

    def draft(self, draft: Draft) -> None:
        """Every weight and bias; the target is that of the batch."""
        target = draft.protocol.targets
        if not isinstance(target, Tensor) or not target.is_floating_point():
            draft.refuse(
                "the signal as targets", type(target).__name__, "pass targets=…, the samples in their order"
            )
        slots = draw_siren(draft, self.frequency)
        channels = target.reshape(len(target), -1).shape[1]
        centroid = spectral_centroid(target) / channels
        scales = winner_scales(centroid, slots[0].fan_in)
        for slot, scale in zip(slots, scales, strict=False):
            drawn = draft.values[slot.name]
            noise = normal(slot.weight.shape, draft.generator, slot.weight.dtype) * (scale / 30.0)
            draft.put(slot, drawn.tensors[0][1] + noise, f"{drawn.why} + N(0, {scale / 30.0:.4g}²)")


def winner_scales(centroid: float, dimensions: int) -> tuple[float, float]:
    """S₀ and S₁ for a centroid per channel, for signals on a line, and for images.

    Examples
    --------
    >>> from firstlight.recipes import winner_scales
    >>> [round(s, 4) for s in winner_scales(0.25, 1)], [round(s, 4) for s in winner_scales(0.25, 2)]
    ([2891.7912, 0.75], [35.6748, 0.1])
    """
    if dimensions == 1:
        return 3500.0 * (1.0 - math.exp(-7.0 * centroid)), 3.0 * centroid
    return 50.0 * (1.0 - math.exp(-5.0 * centroid)), 0.4 * centroid
