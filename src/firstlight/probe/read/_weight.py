"""What weights and normalisers say about the next signal: fan-in, scale, faults, gains."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.clean_room import apart, clean
from firstlight.files.plain_data import Record
from firstlight.measure import WeightSummary, weight_summaries
from firstlight.probe.graph._operations import WEIGHT_OPERATIONS
from firstlight.probe.graph._site import Origin, Site, Weight
from firstlight.probe.read._groups import alike
from firstlight.probe.read._whole import carries, whole

FindOrigin = Callable[[Tensor], Origin | None]
# Entries of a weight that its law is read from: the scale is then known to 1/√(2·2¹⁵) = 0.4 %.
SAMPLE = 2**15


@apart
def read_weight(
    name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], origin: FindOrigin, names: Mapping[int, str]
) -> tuple[Tensor, Tensor, Weight, int] | None:
    """The input, the matrix, the weight to be measured and the unit axis (from the end) of what mixes units.

    Returns None when neither operand is made of parameters, as in the product of queries and keys.
    """

    def learned(value: object) -> tuple[str, ...]:
        found = origin(value) if isinstance(value, Tensor) else None
        return found.parameters if found is not None else ()

    operation = WEIGHT_OPERATIONS.get(name)
    if operation is not None:
        source = args[0] if args else kwargs["input"]
        matrix = args[1] if len(args) > 1 else kwargs["weight"]
        bias = args[2] if len(args) > 2 else kwargs.get("bias")
        found = origin(matrix)
        made_of = found.rooted if found is not None else ()
        if not made_of:
            return None
        weight = _weight(matrix, made_of, names)
        weight.bias_square = _square(bias)
        taps = math.prod(matrix.shape[2:])
        weight.fan_in = float(matrix.shape[0 if operation.transposed else 1] * taps)
        if operation.transposed:
            stride = _pick(args, kwargs, 3, "stride", 1)
            weight.fan_in /= math.prod(stride) if isinstance(stride, tuple) else stride**operation.spatial
            groups = int(_pick(args, kwargs, 6, "groups", 1))
            weight.fan_in /= groups
        weight.fan_in *= (
            2.0 if matrix.is_complex() else 1.0
        )  # a complex product is four real ones, two a part
        return source, matrix, weight, -1 - operation.spatial
    return _read_product(name, args, kwargs, learned, names)


def _read_product(
    name: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    learned: Callable[[Any], tuple[str, ...]],
    names: Mapping[int, str],
) -> tuple[Tensor, Tensor, Weight, int] | None:
    operands = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor) and carries(a)]
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
    weight = _weight(matrix, learned(matrix), names)
    weight.bias_square = _square(bias)
    twice = 2.0 if matrix.is_complex() else 1.0
    on_the_right = operands[-1] is matrix
    if name == "einsum" and isinstance(args[0], str):
        weight.fan_in = twice * _summed(args[0], operands, matrix)
        return source, matrix, weight, -1
    if matrix.dim() == 3 and on_the_right and name in _BATCHED:
        weight.fan_in = twice * float(matrix.shape[-2])
        return source, matrix, weight, -1
    if name in ("einsum", "bilinear", "tensordot", "multi_dot") or matrix.dim() != 2:
        return source, matrix, weight, -1  # which axes are summed is not known: measured, without theory
    if name == "rmatmul":
        on_the_right = not on_the_right
    weight.fan_in = twice * float(matrix.shape[0] if on_the_right else matrix.shape[1])
    return source, matrix, weight, (-1 if on_the_right or source.dim() < 2 else -2)


_BATCHED = frozenset(
    "matmul bmm baddbmm linalg_matmul grouped_mm grouped_mm_fallback scaled_grouped_mm".split()
)


def _summed(equation: str, operands: list[Tensor], matrix: Tensor) -> float:
    """How many products one output entry of an einsum sums: the sizes of the matrix's axes that are not kept.

    Examples
    --------
    >>> x, w = torch.zeros(5, 3, 4), torch.zeros(3, 4, 7)
    >>> first = w[0]
    >>> _summed("bgi,gio->bgo", [x, w], w), _summed("bgi,io->bgo", [x, first], first)
    (4.0, 4.0)
    """
    left, arrow, kept = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow or len(terms) != len(operands):
        return math.nan
    term = next(term for term, t in zip(terms, operands) if t is matrix)
    if "." in term:
        return math.nan
    return float(math.prod(size for axis, size in zip(term, matrix.shape) if axis not in kept))


def _weight(matrix: Tensor, learned: tuple[str, ...], names: Mapping[int, str]) -> Weight:
    shape = tuple(matrix.shape)
    parameters = (matrix,) if id(matrix) in names else ()
    return Weight(learned, parameters, shape, values={"weight_shape": "×".join(map(str, shape))})


def _pick(
    args: tuple[object, ...], kwargs: Mapping[str, object], position: int, name: str, default: object
) -> Any:
    return args[position] if len(args) > position else kwargs.get(name, default)


def _square(bias: object) -> float:
    """Mean square of a vector of parameters, 0 where there is none."""
    if not isinstance(bias, Tensor) or not bias.numel():
        return 0.0
    return torch.linalg.vector_norm(whole(bias.detach()).float()).item() ** 2 / bias.numel()


@dataclass(eq=False, frozen=True)
class TakenWeight:
    """Entries of a weight that its law is read from: all of a small one, the first units of a large one."""

    site: Site
    matrix: Tensor
    part: Tensor

    @property
    def size(self) -> int:
        """Bytes that are held until it is measured; a parameter lives without us."""
        made = self.site.weight is None or not self.site.weight.parameters
        return sum(t.numel() * t.element_size() for t in ((self.part, self.matrix) if made else (self.part,)))


def take_weight(site: Site, matrix: Tensor) -> TakenWeight:
    """Copy what the law of a weight is read from, since the forward may write into it."""
    raw = matrix.detach()
    per_unit = max(raw.numel() // max(raw.shape[0], 1), 1) if raw.dim() else 1
    part = raw[: max(SAMPLE // per_unit, 2)] if raw.dim() and raw.numel() > SAMPLE else raw
    return TakenWeight(site, raw, part.clone(memory_format=torch.contiguous_format))


def measure_weights(taken: list[TakenWeight]) -> None:
    """Fill in scale, law and faults of every weight, once its site has been measured."""
    for group in alike(taken, lambda t: (t.part.shape, t.part.dtype, t.part.device)):
        for t, summary in zip(group, weight_summaries(torch.stack([t.part for t in group]))):
            weight = t.site.weight
            assert weight is not None
            weight.square, weight.mean = summary.moments.q, summary.moments.mean
            weight.values |= {
                "weight_std": summary.std,
                "weight_kurtosis": summary.kurtosis,
                "weight_flags": ", ".join(_flags(t, summary)),
            }


def _flags(taken: TakenWeight, summary: WeightSummary) -> tuple[str, ...]:
    """Faults of a whole weight, which is read again only where its part or its output gives reason to.

    A weight that is not finite leaves an output that is not, if each entry meets some input: ∞ · 0 is NaN.
    """
    raw, flags, weight = taken.matrix, summary.flags, taken.site.weight
    doubtful = "zero" in flags or "constant" in flags or taken.site.values.get("nonfinite", 1.0) > 0.0
    doubtful |= weight is None or weight.idle_taps
    if taken.part.numel() == raw.numel() or not doubtful:
        return flags
    low, high = (v.item() for v in torch.aminmax(raw))
    if not (math.isfinite(low) and math.isfinite(high)):
        return ("non-finite",)
    return tuple(f for f in flags if low == high or f not in ("zero", "constant"))


@lru_cache(maxsize=256)
@clean
def coverage(
    length: int, out: int, kernel: int, stride: int, padding: int, dilation: int
) -> tuple[float, bool]:
    """Share of a convolution's taps along one axis that read the signal and not its zero padding.

    The second value tells whether some tap reads only padding.

    Examples
    --------
    >>> coverage(4, 4, 3, 1, 1, 1)   # 3 taps at 4 places, one of them off each end
    (0.8333333333333334, False)
    >>> coverage(1, 1, 3, 1, 1, 1)
    (0.3333333333333333, True)
    """
    if out <= 0 or kernel <= 0:
        return 1.0, True
    starts = torch.arange(out).unsqueeze(1) * stride - padding
    taps = starts + torch.arange(kernel).unsqueeze(0) * dilation
    inside = (taps >= 0) & (taps < length)
    return float(inside.double().mean()), not bool(inside.any(dim=0).all())


# Modules that divide every unit by a power of a pool over units, with weights of their own in the pool.
DIVISIVE = ("GDN",)


def normaliser(
    module: nn.Module,
    name: str = "",
    args: tuple[object, ...] = (),
    kwargs: Mapping[str, object] | None = None,
) -> Record:
    """The facts of a normalisation call: its kind, E γ², E β², its groups, and whether it used the batch."""
    kwargs = kwargs or {}

    def given(position: int, key: str, default: object = None) -> Any:
        return _pick(args, kwargs, position, key, default)

    if name == "batch_norm":
        gamma, beta = given(3, "weight"), given(4, "bias")
        uses_batch = bool(given(5, "training", False)) or given(1, "running_mean") is None
        facts: dict[str, object] = {"norm": "batch" if uses_batch else "running", "groups": 0}
    elif name in ("layer_norm", "rms_norm"):
        gamma, beta = given(2, "weight"), given(3, "bias") if name == "layer_norm" else None
        eps = given(4, "eps", 1e-5) if name == "layer_norm" else given(3, "eps")
        facts = {
            "norm": name.removesuffix("_norm"),
            "groups": 1,
            "eps": eps or torch.finfo(torch.float32).eps,
        }
    elif name == "group_norm":
        gamma, beta = given(2, "weight"), given(3, "bias")
        facts = {"norm": "group", "groups": int(given(1, "num_groups", 1))}
    elif name == "instance_norm":
        gamma, beta = given(3, "weight"), given(4, "bias")
        facts = {"norm": "instance", "groups": 0}
    elif name == "normalize":
        gamma = beta = None
        facts = {"norm": "rms", "groups": 1, "axis": int(given(2, "dim", 1))}
    elif type(module).__name__ in DIVISIVE:
        gamma = beta = None
        facts = {"norm": "divisive", "groups": 1}
    else:
        gamma, beta = getattr(module, "weight", None), getattr(module, "bias", None)
        rms = "rms" in type(module).__name__.lower() or not isinstance(beta, Tensor)
        held = (getattr(module, name, None) for name in ("variance_epsilon", "eps", "epsilon"))
        eps = next((float(e) for e in held if isinstance(e, int | float)), 0.0)
        facts = {"norm": "rms" if rms else "layer", "groups": 1, "eps": eps}
    facts["gamma_square"] = _square(gamma) if isinstance(gamma, Tensor) else 1.0
    facts["beta_square"] = _square(beta)
    return facts
