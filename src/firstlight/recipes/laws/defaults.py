"""What the frameworks do by themselves: torch, Flax, Keras."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from firstlight.recipes.draws import normal, orthogonal, truncated, uniform
from firstlight.recipes.layout.slots import NORMS, Slot
from firstlight.recipes.recipe import Draft, Recipe


def _fresh_norms(draft: Draft) -> None:
    """Gains of 1 and shifts of 0 for every normaliser."""
    for path, module in draft.blueprint.model.named_modules():
        if isinstance(module, NORMS):
            for key, parameter in module._parameters.items():
                if parameter is not None and not parameter.is_meta and not nn.parameter.is_lazy(parameter):
                    value = torch.full_like(parameter, float(key == "weight"))
                    draft.set(f"{path}.{key}" if path else key, value, "ones" if key == "weight" else "zeros")


def _bound(slot: Slot, generator: torch.Generator | None, bound: float) -> Tensor:
    return uniform(slot.weight.shape, generator, slot.weight.dtype) * (bound / math.sqrt(3.0))


@dataclass(frozen=True)
class TorchDefault(Recipe):
    r"""What torch's layers do when they are made: U(±1/√fan-in) for weights and biases, N(0,1) tables.

    The fan-in is the one that torch counts: entries of the weight over its first axis. Recurrent layers get
    U(±1/√hidden), attention Glorot's law and zero biases, normalisers gains of 1 and shifts of 0.
    """

    word: ClassVar[str] = "torch-default"
    purpose: ClassVar[str] = "back to what torch does by itself, to compare with"
    changes: ClassVar[tuple[str, ...]] = ("weights", "biases", "gains")
    source: ClassVar[str] = "reset_parameters of torch.nn, torch 2"

    def draft(self, draft: Draft) -> None:
        """Every weight, bias and normaliser."""
        g = draft.generator
        for slot in draft.blueprint.slots:
            if slot.kind == "embedding":
                draft.put(slot, normal(slot.weight.shape, g, slot.weight.dtype), "N(0,1)")
                continue
            if slot.kind == "attention":
                bound = math.sqrt(6.0 / sum(slot.weight.shape))
                draft.put(slot, _bound(slot, g, bound), f"U(±{bound:.4g})")
                draft.shift(slot, 0.0)
                continue
            fan = slot.weight[0].numel()
            if slot.kind in ("recurrent", "memory"):
                fan = int(slot.module.hidden_size)  # type: ignore[arg-type]
            elif slot.kind == "bilinear":
                fan = slot.weight.shape[1]
            bound = 1.0 / math.sqrt(max(fan, 1))
            if draft.put(slot, _bound(slot, g, bound), f"U(±{bound:.4g})") and slot.bias:
                size = slot.module.get_parameter(slot.bias.rpartition(".")[2]).shape
                zero = isinstance(draft.blueprint.model.get_submodule(slot.layer), _QUIET)
                value = torch.zeros(size) if zero else uniform(size, g) * (bound / math.sqrt(3.0))
                draft.set(slot.bias, value, "zeros" if zero else f"U(±{bound:.4g})")
        _fresh_norms(draft)


# the output of torch's attention, whose bias torch zeroes
_QUIET = nn.modules.linear.NonDynamicallyQuantizableLinear


@dataclass(frozen=True)
class FlaxDefault(Recipe):
    """What Flax (JAX) does: LeCun's truncated normal, zero biases, orthogonal memory, tables of variance 1/width."""

    word: ClassVar[str] = "flax-default"
    purpose: ClassVar[str] = "a start as in JAX, to compare with or to port a model"
    changes: ClassVar[tuple[str, ...]] = ("weights", "biases", "gains")
    source: ClassVar[str] = (
        "documentation of flax.linen 0.6: lecun_normal kernels, orthogonal recurrent kernels"
    )

    def draft(self, draft: Draft) -> None:
        """Every weight, bias and normaliser."""
        for slot in draft.blueprint.slots:
            if slot.kind == "memory":
                draft.draw(slot, 1.0, "orthogonal through time", law="orthogonal")
                continue
            fan = slot.fan_out if slot.kind == "embedding" else slot.fan_in
            value = truncated(slot.weight.shape, draft.generator) / math.sqrt(fan)
            draft.put(slot, value, f"normal cut at ±2, variance 1/{fan}")
            draft.shift(slot, 0.0)
        _fresh_norms(draft)


@dataclass(frozen=True)
class KerasDefault(Recipe):
    """What Keras does: Glorot's uniform law, zero biases, orthogonal memory, forget gates open, tables U(±.05)."""

    word: ClassVar[str] = "keras-default"
    purpose: ClassVar[str] = "a start as in Keras, to compare with or to port a model"
    changes: ClassVar[tuple[str, ...]] = ("weights", "biases", "gains")
    source: ClassVar[str] = (
        "documentation of keras.layers: glorot_uniform kernels, orthogonal recurrent kernels"
    )

    def draft(self, draft: Draft) -> None:
        """Every weight, bias and normaliser."""
        for slot in draft.blueprint.slots:
            if slot.kind == "memory":
                draft.put(slot, orthogonal(slot, 1.0, draft.generator), "orthogonal through time")
            elif slot.kind == "embedding":
                draft.put(slot, _bound(slot, draft.generator, 0.05), "U(±0.05)")
            else:
                bound = math.sqrt(6.0 / (slot.fan_in + slot.fan_out))
                draft.put(slot, _bound(slot, draft.generator, bound), f"U(±{bound:.4g})")
            draft.shift(slot, 0.0)
            if slot.kind == "recurrent" and slot.bias and isinstance(slot.module, nn.LSTM | nn.LSTMCell):
                size = int(slot.module.hidden_size)
                open_ = torch.zeros(4 * size)
                open_[size : 2 * size] = 1.0
                draft.shift(slot, open_)
        _fresh_norms(draft)
