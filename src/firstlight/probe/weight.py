"""What weights and normalisers say about the next signal: fan-in, scale, faults, gains."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.probe.operations import WEIGHT_OPERATIONS
from firstlight.probe.site import Origin, Weight

FindOrigin = Callable[[Tensor], Origin | None]
# Entries of a weight that its law is read from: the scale is then known to 1/√(2·2¹⁵) = 0.4 %.
SAMPLE = 2**15


def read_weight(
    name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], origin: FindOrigin, names: Mapping[int, str]
) -> tuple[Tensor, Weight, int] | None:
    """The input, the weight and the unit axis (from the end) of an operation that mixes units.

    Returns None when neither operand is made of parameters, as in the product of queries and keys.
    """

    def learned(value: Any) -> tuple[str, ...]:
        found = origin(value) if isinstance(value, Tensor) else None
        return found.parameters if found is not None else ()

    operation = WEIGHT_OPERATIONS.get(name)
    if operation is not None:
        source = args[0] if args else kwargs["input"]
        matrix = args[1] if len(args) > 1 else kwargs["weight"]
        bias = args[2] if len(args) > 2 else kwargs.get("bias")
        if not learned(matrix):
            return None
        weight = _summary(matrix, learned(matrix), names)
        weight.bias_square = _square(bias)
        taps = math.prod(matrix.shape[2:])
        weight.fan_in = float(matrix.shape[0 if operation.transposed else 1] * taps)
        if operation.transposed:
            stride = _pick(args, kwargs, 3, "stride", 1)
            weight.fan_in /= math.prod(stride) if isinstance(stride, tuple) else stride**operation.spatial
            groups = int(_pick(args, kwargs, 6, "groups", 1))
            weight.fan_in /= groups
        return source, weight, -1 - operation.spatial
    return _read_product(name, args, kwargs, learned, names)


def _read_product(
    name: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    learned: Callable[[Any], tuple[str, ...]],
    names: Mapping[int, str],
) -> tuple[Tensor, Weight, int] | None:
    operands = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
    if name == "einsum":
        operands = [t for a in args[1:] for t in (a if isinstance(a, (list, tuple)) else [a])]
    bias = None
    if name in ("addmm", "baddbmm", "addbmm"):
        bias, *operands = operands
    weights = [t for t in operands if learned(t)]
    sources = [t for t in operands if not learned(t)]
    if len(weights) != 1 or not sources:
        return None
    matrix, source = weights[0], sources[0]
    weight = _summary(matrix, learned(matrix), names)
    weight.bias_square = _square(bias)
    on_the_right = operands[-1] is matrix
    if name in ("einsum", "bilinear") or matrix.dim() != 2:
        return source, weight, -1  # which axes are summed is not known: measured, without theory
    if name == "rmatmul":
        on_the_right = not on_the_right
    weight.fan_in = float(matrix.shape[0] if on_the_right else matrix.shape[1])
    return source, weight, (-1 if on_the_right or source.dim() < 2 else -2)


def _pick(args: tuple[Any, ...], kwargs: Mapping[str, Any], position: int, name: str, default: Any) -> Any:
    return args[position] if len(args) > position else kwargs.get(name, default)


def _square(bias: Any) -> float:
    return float(bias.detach().float().square().mean()) if isinstance(bias, Tensor) and bias.numel() else 0.0


def _summary(matrix: Tensor, learned: tuple[str, ...], names: Mapping[int, str]) -> Weight:
    """Scale and faults of a weight; of a large one, the law is read on its first units."""
    from firstlight.measure import weight_summary

    raw = matrix.detach()
    per_unit = max(raw.numel() // max(raw.shape[0], 1), 1) if raw.dim() else 1
    part = raw[: max(SAMPLE // per_unit, 2)] if raw.dim() and raw.numel() > SAMPLE else raw
    summary = weight_summary(part)
    flags = summary.flags
    if part.numel() < raw.numel():
        low, high = (float(v) for v in torch.aminmax(raw))
        if not (math.isfinite(low) and math.isfinite(high)):
            flags = ("non-finite",)
        elif low < high:
            flags = tuple(f for f in flags if f not in ("zero", "constant"))
    values: dict[str, Any] = {
        "weight_shape": "×".join(map(str, raw.shape)),
        "weight_std": summary.std,
        "weight_kurtosis": summary.kurtosis,
        "weight_flags": ", ".join(flags),
    }
    return Weight(
        names=learned,
        parameters=(matrix,) if id(matrix) in names else (),
        shape=tuple(raw.shape),
        square=summary.moments.q,
        mean=summary.moments.mean,
        values=values,
    )


def coverage(length: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> float:
    """Share of a convolution's taps along one axis that read the signal and not its zero padding.

    Examples
    --------
    >>> coverage(4, 4, 3, 1, 1, 1)   # 3 taps at 4 places, one of them off each end
    0.8333333333333334
    """
    if out <= 0 or kernel <= 0:
        return 1.0
    starts = torch.arange(out).unsqueeze(1) * stride - padding
    taps = starts + torch.arange(kernel).unsqueeze(0) * dilation
    return float(((taps >= 0) & (taps < length)).double().mean())


def normaliser(
    module: nn.Module, name: str = "", args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The facts of a normalisation call: its kind, E γ², E β², its groups, and whether it used the batch."""
    kwargs = kwargs or {}

    def given(position: int, key: str, default: Any = None) -> Any:
        return _pick(args, kwargs, position, key, default)

    if name == "batch_norm":
        gamma, beta = given(3, "weight"), given(4, "bias")
        uses_batch = bool(given(5, "training", False)) or given(1, "running_mean") is None
        facts: dict[str, Any] = {"norm": "batch" if uses_batch else "running", "groups": 0}
    elif name in ("layer_norm", "rms_norm"):
        gamma, beta = given(2, "weight"), given(3, "bias") if name == "layer_norm" else None
        facts = {"norm": name.removesuffix("_norm"), "groups": 1}
    elif name == "group_norm":
        gamma, beta = given(2, "weight"), given(3, "bias")
        facts = {"norm": "group", "groups": int(given(1, "num_groups", 1))}
    elif name == "instance_norm":
        gamma, beta = given(3, "weight"), given(4, "bias")
        facts = {"norm": "instance", "groups": 0}
    else:
        gamma, beta = getattr(module, "weight", None), getattr(module, "bias", None)
        rms = "rms" in type(module).__name__.lower() or not isinstance(beta, Tensor)
        facts = {"norm": "rms" if rms else "layer", "groups": 1}
    facts["gamma_square"] = _square(gamma) if isinstance(gamma, Tensor) else 1.0
    facts["beta_square"] = _square(beta)
    return facts
