"""Slots: the weights of a model that a recipe may write, with their fans, and what is left alone with the reason."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm

from firstlight.activations import Activation
from firstlight.recipes.layout._memory import Memory

NORMS = (_BatchNorm, _InstanceNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)


@dataclass(frozen=True, eq=False)
class Slot:
    """A weight that a recipe may write.

    Attributes
    ----------
    name
        Name of the parameter, or of the parametrised tensor: ``"0.weight"``.
    module, key
        Where it is kept.
    kind
        ``"linear"``, ``"conv"``, ``"conv-transposed"``, ``"bilinear"``, ``"embedding"``, ``"recurrent"`` (input to
        gates), ``"memory"`` (state to gates), ``"attention"`` or ``"bare"``, a parameter that no known layer holds.
    fan_in, fan_out
        Weights that reach one output unit, and that leave one input unit.
    bias
        Name of the bias; empty where there is none to write.
    groups, blocks
        Groups of a convolution; matrices that are stacked along the outputs, such as queries, keys and values.
    inputs_first
        Whether the first axis counts inputs (transposed convolutions, the layers of GPT-2).
    row
        Its row in the trace; −1 without one.
    reads, phi
        What it reads: ``"input"``, ``"activation"``, ``"gate"`` (a product with an activation), ``"norm"``,
        ``"residual"``, ``"attention"``, ``"weight"``, ``"embedding"``, ``"recurrent"`` or ``""`` (not known); and the
        activation, where it reads one that is known.
    phi_scale
        The constant inside that activation, 1/β where the model computes φ(z/β); 1 where there is none.
    feeds, next_phi
        What reads it, and the activation that follows.
    q_in
        Second moment of what it reads, as measured; NaN without a trace.
    mean_in
        Mean of what it reads, as measured.
    branch, ends_branch
        Number of the residual branch that it stands in, −1 on the stream; and whether it is the branch's last weight.
    readout
        Whether no other weight reads it.
    tied
        Names of further layers that use the same weight.
    """

    name: str
    module: nn.Module
    key: str
    kind: str
    fan_in: int
    fan_out: int
    bias: str = ""
    groups: int = 1
    blocks: int = 1
    inputs_first: bool = False
    row: int = -1
    reads: str = ""
    phi: Activation | None = None
    phi_scale: float = 1.0
    feeds: str = ""
    next_phi: Activation | None = None
    q_in: float = math.nan
    mean_in: float = math.nan
    branch: int = -1
    ends_branch: bool = False
    readout: bool = False
    tied: tuple[str, ...] = ()

    @property
    def weight(self) -> Tensor:
        """The weight as the forward uses it."""
        own = self.module._parameters.get(self.key)
        if own is not None:
            return own.detach()
        # a parametrised weight may move its own state when it is read, as spectral norm does
        parametrised = self.key in getattr(self.module, "parametrizations", {})
        found: Tensor = getattr(copy.deepcopy(self.module) if parametrised else self.module, self.key)
        return found.detach()

    @property
    def layer(self) -> str:
        """Path of the module that holds it."""
        return self.name.rpartition(".")[0]

    @property
    def sigma_w(self) -> float:
        """√(fan-in · E w²) as it is now."""
        return math.sqrt(self.fan_in * float(self.weight.double().square().mean()))

    def raw(self, value: Tensor) -> list[tuple[str, Tensor]] | str:
        """The parameters that hold this value of the weight, by name, or why none can."""
        if isinstance(self.module._parameters.get(self.key), Tensor):
            return [(self.name, value)]
        return _inverse(self, value)


@dataclass(frozen=True)
class Left:
    """A parameter or module that was not written, and why."""

    name: str
    reason: str


def inventory(model: nn.Module) -> tuple[tuple[Slot, ...], tuple[Left, ...]]:
    """The writable weights of a model in the order of its modules, and what is left with the reason."""
    slots: list[Slot] = []
    left: list[Left] = []
    seen: dict[object, int] = {}
    adapters = _adapters(model)
    memory = Memory()
    for path, module in model.named_modules():
        if path.endswith("parametrizations") or ".parametrizations." in f".{path}.":
            continue
        if module.__class__.__module__.startswith(("torch.ao.nn.quantized", "torch.nn.quantized")):
            left.append(Left(path or type(module).__name__, "its weights are quantised"))
            continue
        for slot in _slots_of(path, module):
            reason = adapters.get(slot.layer) or _unusable(slot)
            if reason:
                left.append(Left(slot.name, reason))
                continue
            identity = _identity(slot)
            if identity in seen:
                first = slots[seen[identity]]
                slots[seen[identity]] = _shared(first, slot)
                left.append(Left(slot.name, f"shares its weight with {first.name}, which is written once"))
                continue
            if (over := memory.met(slot.name, slot.module._parameters.get(slot.key))) is not None:
                left.append(Left(slot.name, f"shares a part of its memory with {over}, which is written"))
                continue
            seen[identity] = len(slots)
            slots.append(_with_bias(slot))
        left += _others(path, module)
    return tuple(slots), tuple(left)


def _shared(first: Slot, second: Slot) -> Slot:
    """The slot of a weight that two layers share; of a table and a head the head counts, which multiplies by it."""
    tied = (*first.tied, second.name)
    if first.kind == "embedding" and second.kind == "linear":
        first = replace(first, kind="linear", fan_in=second.fan_in, fan_out=second.fan_out)
    return replace(first, tied=tied)


def _slots_of(path: str, module: nn.Module) -> Iterator[Slot]:
    for kinds, make in _MAKERS:
        if isinstance(module, kinds):
            yield from make(path, module)
            return
    if type(module).__name__ == "Conv1D" and hasattr(module, "nf"):  # the linear layer of GPT-2, inputs first
        rows, columns = module.weight.shape  # type: ignore[misc]
        yield Slot(
            _join(path, "weight"), module, "weight", "linear", rows, columns, "bias", inputs_first=True
        )
        return
    for key, parameter in module._parameters.items():
        if parameter is not None and parameter.ndim >= 2:
            fan = parameter[0].numel() if parameter.shape[0] else 1
            yield Slot(_join(path, key), module, key, "bare", fan, parameter.shape[0])


def _linear(path: str, module: nn.Linear) -> Iterator[Slot]:
    yield Slot(
        _join(path, "weight"), module, "weight", "linear", module.in_features, module.out_features, "bias"
    )


def _bilinear(path: str, module: nn.Bilinear) -> Iterator[Slot]:
    fan_in = module.in1_features * module.in2_features
    yield Slot(_join(path, "weight"), module, "weight", "bilinear", fan_in, module.out_features, "bias")


def _conv(path: str, module: _ConvNd) -> Iterator[Slot]:
    taps, strides = math.prod(module.kernel_size), math.prod(module.stride)
    inside, outside = module.in_channels // module.groups, module.out_channels // module.groups
    transposed = isinstance(module, _ConvTransposeNd)
    fans = (inside * taps, max(outside * taps // strides, 1))
    if transposed:  # every output entry is reached by a share 1/stride of the taps
        fans = (max(inside * taps // strides, 1), outside * taps)
    kind = "conv-transposed" if transposed else "conv"
    yield Slot(
        _join(path, "weight"),
        module,
        "weight",
        kind,
        *fans,
        "bias",
        groups=module.groups,
        inputs_first=transposed,
    )


def _embedding(path: str, module: nn.Embedding | nn.EmbeddingBag) -> Iterator[Slot]:
    yield Slot(_join(path, "weight"), module, "weight", "embedding", 1, module.embedding_dim)


def _recurrent(path: str, module: nn.RNNBase | nn.RNNCellBase) -> Iterator[Slot]:
    size = module.hidden_size
    for key, parameter in module._parameters.items():
        if parameter is None or not key.startswith("weight"):
            continue
        blocks = parameter.shape[0] // size if parameter.shape[0] % size == 0 else 1
        kind = (
            "memory"
            if key.startswith("weight_hh")
            else "recurrent"
            if key.startswith("weight_ih")
            else "linear"
        )
        bias = key.replace("weight", "bias") if kind != "linear" else ""
        fans = (parameter.shape[1], parameter.shape[0] // max(blocks, 1))
        yield Slot(_join(path, key), module, key, kind, *fans, bias, blocks=max(blocks, 1))


def _attention(path: str, module: nn.MultiheadAttention) -> Iterator[Slot]:
    for key in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
        parameter = module._parameters.get(key)
        if parameter is not None:
            blocks = 3 if key == "in_proj_weight" else 1
            bias = "in_proj_bias" if key in ("in_proj_weight", "q_proj_weight") else ""
            fans = (parameter.shape[1], parameter.shape[0] // blocks)
            yield Slot(_join(path, key), module, key, "attention", *fans, bias, blocks=blocks)


def _nothing(path: str, module: object) -> Iterator[Slot]:
    yield from ()


_MAKERS: tuple[tuple[type | tuple[type, ...], Callable[..., Iterator[Slot]]], ...] = (
    (nn.Linear, _linear),
    (nn.Bilinear, _bilinear),
    (_ConvNd, _conv),
    ((nn.Embedding, nn.EmbeddingBag), _embedding),
    ((nn.RNNBase, nn.RNNCellBase), _recurrent),
    (nn.MultiheadAttention, _attention),
    ((*NORMS, nn.PReLU), _nothing),
)


def _others(path: str, module: nn.Module) -> Iterator[Left]:
    """Vectors that no weight owns: gains and shifts of normalisers, scalars of the model's own."""
    if isinstance(module, NORMS) or "norm" in type(module).__name__.lower():
        if any(p is not None for p in module._parameters.values()):
            yield Left(path or type(module).__name__, "a normaliser, which keeps its gain and shift")
        return
    if isinstance(
        module, (nn.Linear, nn.Bilinear, _ConvNd, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
    ):
        return
    for key, parameter in module._parameters.items():
        vector = parameter is not None and not nn.parameter.is_lazy(parameter) and parameter.ndim < 2
        if vector and not (type(module).__name__ == "Conv1D" and key == "bias"):
            yield Left(_join(path, key), "a vector or a number that no layer of torch owns")


def _unusable(slot: Slot) -> str:
    module, key = slot.module, slot.key
    own: Any = module._parameters.get(key)
    if own is None:
        return _computed(module, key)
    if nn.parameter.is_lazy(own):
        return "it has no shape yet: run one batch first"
    if not own.numel():
        return "it has no entries"
    if own.is_meta:
        return "it is on the meta device: give it data with to_empty first"
    if own.is_complex() or own.layout is not torch.strided:
        return f"it is a {str(own.layout).removeprefix('torch.')} or complex tensor, which no recipe knows"
    if not own.is_floating_point() or own.dtype.itemsize < 2:
        return f"its entries are {str(own.dtype).removeprefix('torch.')}: quantised weights come from a trained model"
    if type(own) is not nn.Parameter and type(own.data) is not Tensor:
        return f"it is a {type(own.data).__name__}, whose entries cannot be set"
    if own.is_inference():
        return "it was made in inference mode, and cannot be written"
    return "" if own.requires_grad else "it is frozen"


def _computed(module: nn.Module, key: str) -> str:
    """Why a weight that is no parameter cannot be written; empty where it can."""
    steps = getattr(module, "parametrizations", {})
    if key in steps:
        raw = list(steps[key].parameters())
        if not raw or not all(p.requires_grad for p in raw):
            return "it is parametrised, and frozen"
        return "it is on the meta device" if any(p.is_meta for p in raw) else ""
    if f"{key}_g" in module._parameters and f"{key}_v" in module._parameters:
        return "" if module._parameters[f"{key}_v"].requires_grad else "it is normalised, and frozen"  # type: ignore[union-attr]
    if f"{key}_mask" in module._buffers:
        return "it is pruned: its mask belongs to the weights as they are"
    return "it is computed from others, and cannot be set"


def _inverse(slot: Slot, value: Tensor) -> list[tuple[str, Tensor]] | str:
    """The raw parameters behind a computed weight that make it this value."""
    module, key = slot.module, slot.key
    value = value.to(slot.weight)
    if f"{key}_v" in module._parameters:
        axes = tuple(d for d, size in enumerate(module._parameters[f"{key}_g"].shape) if size == 1)  # type: ignore[union-attr]
        norm = value.norm(dim=axes, keepdim=True) if axes else value.abs()
        prefix = slot.name.removesuffix(key)
        return [(f"{prefix}{key}_g", norm), (f"{prefix}{key}_v", value)]
    try:
        trial = copy.deepcopy(module)
        setattr(trial, key, value.clone())
        if not torch.allclose(getattr(trial, key), value, rtol=1e-3, atol=1e-6):
            return "its parametrisation cannot hold this value"
        prefix = _join(slot.layer, f"parametrizations.{key}")
        return [(f"{prefix}.{n}", p.detach()) for n, p in trial.parametrizations[key].named_parameters()]  # type: ignore[index, union-attr]
    except (NotImplementedError, RuntimeError, ValueError, AttributeError) as error:
        return f"its parametrisation takes no value ({type(error).__name__})"


def _identity(slot: Slot) -> Any:
    """What tells a weight that two layers share: its memory, or the module that computes it."""
    own = slot.module._parameters.get(slot.key)
    if own is None:
        return (id(slot.module), slot.key)
    return (own.device, own.data_ptr(), tuple(own.shape), own.stride()) if own.numel() else id(own)


def _with_bias(slot: Slot) -> Slot:
    bias = slot.module._parameters.get(slot.bias) if slot.bias else None
    usable = bias is not None and bias.requires_grad and bias.is_floating_point()
    return replace(slot, bias=_join(slot.layer, slot.bias) if usable else "")


def _adapters(model: nn.Module) -> dict[str, str]:
    """Layers that are low-rank adapters of a frozen layer: one of the two factors is zero on purpose."""
    reason = "an adapter: one of its factors is zero so that the model starts as its frozen base"
    found = {}
    for path, _ in model.named_modules():
        parts = path.split(".")
        if any(part.lower().startswith(("lora_", "vera_", "loha_", "adalora_", "hada_")) for part in parts):
            found[path] = reason
    for path, module in model.named_modules():
        # parameters of their own alone: reading a computed weight may move its state
        factors = {
            n: m._parameters.get("weight") for n, m in module.named_children() if isinstance(m, nn.Linear)
        }
        held = [w for w in (*factors.values(), module._parameters.get("weight")) if w is not None]
        frozen = {tuple(w.shape) for w in held if not w.requires_grad and w.ndim == 2}
        names = list(factors)
        for two, up in factors.items():
            fits = [one for one in names if frozen and _is_adapter(factors[one], up, frozen)]
            # of layers that fit, such as a head of as few units, the one that is declared next to the zero factor
            for one in sorted(fits, key=lambda name: abs(names.index(two) - names.index(name) - 0.5))[:1]:
                found |= {_join(path, one): reason, _join(path, two): reason}
    return found


def _is_adapter(down: Tensor | None, up: Tensor | None, frozen: Container[tuple[int, ...]]) -> bool:
    if down is None or up is None or not (down.requires_grad and up.requires_grad) or up.is_meta:
        return False
    rank, inputs = down.shape
    fits = rank == up.shape[1] < min(inputs, up.shape[0]) and (up.shape[0], inputs) in frozen
    return fits and not bool(up.any())


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
