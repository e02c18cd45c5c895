"""Write a weight law into a model: every weight is computed before the first one is copied."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.weights import WeightLaw, get

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Initialised:
    """What an initialiser wrote and what it left.

    Attributes
    ----------
    written
        (layer, law, fan-in) in the order of the model.
    left
        (module, reason) for every module that has parameters and was not written.
    """

    written: tuple[tuple[str, str, int], ...]
    left: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        lines = [f"wrote {name}: {law}, fan-in {fan_in}" for name, law, fan_in in self.written]
        return "\n".join([*lines, *(f"left {name}: {reason}" for name, reason in self.left)])


@clean
def initialise_(
    model: nn.Module,
    law: WeightLaw,
    *,
    first_layer: str | WeightLaw = "normal",
    generator: torch.Generator | None = None,
) -> Initialised:
    """Fill each Linear and ConvNd with independent weights W/√fan-in, W ~ law, and its bias with zeros.

    Parameters
    ----------
    model
        Changed in place. Layers are taken in the order of ``model.named_modules()``; a weight shared by two
        layers is written once. Grouped convolutions use the fan-in of their group.
    law
        Law of the weights after the first layer.
    first_layer
        Law of the first one: ``"normal"`` makes its pre-activations exactly N(0,1) for inputs with ‖x‖² equal
        to the fan-in; ``"same"`` uses ``law``; or any weight law or its name.
    generator
        Source of randomness.

    Raises
    ------
    DomainError
        No such layer, all frozen or parametrised, a lazy layer whose fan-in is not known yet, integer or complex
        weights, or weights that cannot be written. Nothing is written then.

    Examples
    --------
    >>> import torch
    >>> from firstlight import pairs, weights
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    >>> print(pairs.initialise_(net, weights.weibull(3.0)))
    wrote 0: Normal(), fan-in 4
    wrote 2: SymmetricWeibull(theta=3.0), fan-in 8
    """
    opening = law if first_layer == "same" else get(first_layer)
    if not isinstance(model, nn.Module):
        raise DomainError(f"while initialising a model: expected an nn.Module, got {type(model).__name__}")
    plan: list[tuple[str, Tensor, Tensor, str, int]] = []
    biases: list[Tensor] = []
    left: list[tuple[str, str]] = []
    seen: dict[int, str] = {}
    for name, module in model.named_modules():
        label = name or type(module).__name__
        if not isinstance(module, nn.Linear | _CONVOLUTIONS[0] | _CONVOLUTIONS[1] | _CONVOLUTIONS[2]):
            if module._parameters:
                left.append((label, f"{type(module).__name__} has no fan-in that this initialiser knows"))
            continue
        weight, bias = (module._parameters.get(part) for part in ("weight", "bias"))
        if weight is None:
            left.append((label, "its weight is computed from others (parametrised, normalised or pruned)"))
            continue
        _refuse_unusable(label, weight)
        if id(weight) in seen:
            left.append((label, f"shares its weight with {seen[id(weight)]}"))
        elif not weight.requires_grad:
            left.append((label, "its weight is frozen"))
        else:
            seen[id(weight)] = label
            current = law if plan else opening
            fan_in = weight[0].numel()
            sample = current.sample(weight.shape, generator=generator, fan_in=fan_in, dtype=weight.dtype)
            plan.append((label, weight, sample, current.name, fan_in))
            if bias is not None and bias.requires_grad:
                biases.append(bias)
            elif module.bias is not None:
                left.append((f"{label}.bias", "it is frozen" if bias is not None else "it is parametrised"))
    if not plan:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left) or "it has no parameters"
        raise DomainError(
            "while initialising a model: expected at least one trainable Linear or ConvNd layer, got none "
            f"({reasons}); unfreeze a layer, or pass the module that holds the layers"
        )
    with torch.no_grad():
        for _, target, sample, _, _ in plan:
            target.copy_(sample)
        for offset in biases:
            offset.zero_()
    return Initialised(tuple((name, law_, fan_in) for name, _, _, law_, fan_in in plan), tuple(left))


def _refuse_unusable(label: str, weight: Tensor) -> None:
    if isinstance(weight, UninitializedParameter):
        raise DomainError(
            f"while initialising {label!r}: expected a layer with a known fan-in, got a lazy layer that has seen "
            "no input; run one batch through the model first"
        )
    if weight.is_meta or weight.is_inference():
        kind = "a meta tensor, which has no values" if weight.is_meta else "a tensor made in inference mode"
        raise DomainError(
            f"while initialising {label!r}: expected weights that can be written, got {kind}; make the model on a real "
            "device, outside inference mode"
        )
    if not weight.is_floating_point():
        raise DomainError(f"while initialising {label!r}: expected floating weights, got {weight.dtype}")
    if weight.numel() == 0:
        raise DomainError(
            f"while initialising {label!r}: expected a layer with at least one input and one output, "
            f"got a weight of shape {tuple(weight.shape)}"
        )
