"""Reader: takes a stated budget of entries of every tensor that passes, to be measured in stacks."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from firstlight import measure
from firstlight.clean_room import apart
from firstlight.files.plain_data import Record
from firstlight.probe.graph._operations import WEIGHT_OPERATIONS
from firstlight.probe.graph._site import Moments, Origin, Site
from firstlight.probe.measurement import LayerSample
from firstlight.probe.read._places import stride
from firstlight.probe.read._samples import copies
from firstlight.probe.read._statistics import measure_sites
from firstlight.probe.read._streams import Streams
from firstlight.probe.read._taking import SMALL, Form, Taken, copied, floats, gather
from firstlight.probe.read._tokens import (
    TakenTokens,
    later,
    logits_again,
    measure_tokens,
    read_attention,
    read_logits,
    weights_of,
)
from firstlight.probe.read._weight import TakenWeight, coverage, measure_weights, take_weight
from firstlight.probe.read._whole import carries, whole

# Bytes that wait to be measured together.
PENDING = 1 << 23
# Rows that the deviation of a column is read from, and rows from which a mean is told from it.
COLUMN_ROWS, FEW = 512, 8
# rounding of a mean of squares in the half precision that embeddings may come in
_HALF = 2e-3


@dataclass(frozen=True)
class Budget:
    """How much of each tensor is read.

    Attributes
    ----------
    entries
        Moments read all of up to twice this many entries, else at most this many, on a stride that meets
        every unit; the largest entry and the share of non-finite ones are always read from all.
    samples, units
        Correlations, spectra and Gaussianity read at most this many samples (rows) and units (columns).
    spectrum
        Samples in the Gram spectrum behind the effective rank and the isometry gap.
    """

    entries: int = 2**15
    samples: int = 64
    units: int = 256
    spectrum: int = 32


class Reader:
    """Takes what the budget allows of each tensor as it passes, and measures what was taken in stacks.

    Between two big products a hundred small calls run on cold caches, at several times their cost in one
    go; so the forward only copies entries, and layers of one shape are measured together once
    ``PENDING`` bytes are waiting or the pass is over.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.samples: dict[int, LayerSample] = {}
        # mean largest weight of every softmax that mixes no tokens
        self.choices: dict[str, float] = {}
        self._chosen: tuple[str, Any] = "", lambda: None
        self.subsampled = 0
        self._taken: list[Taken] = []
        self._weights: list[TakenWeight] = []
        self._tokens: list[TakenTokens] = []
        self._waiting = 0
        # the axis of tokens in tensors of samples × tokens × units
        self.token_axis = 1
        self.streams = Streams()

    @apart
    def read(self, site: Site, tensor: Tensor) -> None:
        """Take what a site's forward columns are measured on."""
        t = whole(tensor.detach(), site.unit)
        site.entries = t.numel()
        site.values["shape"] = "×".join(map(str, t.shape))
        if t.numel() == 0:
            site.values["fault"] = "empty"
            return
        site.unit = max(site.unit, -max(t.dim(), 1))
        # attention as the projection reads it: all heads of one token beside each other
        heads = site.op == "scaled_dot_product_attention" and t.dim() == 4
        budget = self.budget
        form = Form(tuple(t.shape), site.unit, heads, self.token_axis, budget.samples, budget.units)
        small = t.numel() <= min(SMALL, 2 * budget.entries) and t.is_floating_point()
        self._taken.append(Taken(site, copied(t), form) if small else self._some(site, t, form))
        self._wait(self._taken[-1].size)

    def _some(self, site: Site, t: Tensor, form: Form) -> Taken:
        """What is read of a large tensor, copied at once."""
        entries = strided(t, self.budget.entries)
        absmax = nonfinite = math.nan
        if entries.numel() < t.numel():
            self.subsampled += 1
            absmax, nonfinite = extremes(t)
        if site.kind == "activation" and t.dim() > 1 and site.unit >= -t.dim():
            site.values["dead"] = measure.constant_units(t, dim=site.unit)
        turned = form.turned(t)
        if t.is_floating_point() and (tokens := form.tokens(turned)) is not None:
            self._tokens.append(TakenTokens(site, floats(tokens), form.placed))
        images = floats(form.images(turned)) if form.mapped else None
        return Taken(site, copied(entries), None, floats(form.rows(turned)), images, absmax, nonfinite)

    @apart
    def weigh(self, site: Site, matrix: Tensor) -> None:
        """Take what the law of a site's weight is measured on."""
        taken = take_weight(site, whole(matrix.detach()))
        self._weights.append(taken)
        self._wait(taken.size)

    def attend(self, site: Site, result: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Read how sharply attention picks, of its weights or of what a fused kernel made them from."""
        self.streams.attend(site, result, args, kwargs)
        fused = site.op == "scaled_dot_product_attention"
        logits = logits_again(args, kwargs) if fused else next(iter((*args[:1], kwargs.get("input"))), None)
        if logits is not None:
            values = (args[2] if len(args) > 2 else kwargs["value"]) if fused else None
            read_logits(site, logits, values)
        if not fused and isinstance(site.axis, int) and -result.dim() <= site.axis < result.dim():
            result = result.movedim(site.axis, -1)
        weights = later(result) if not fused else None if logits is None else weights_of(logits)
        if weights is not None:
            read_attention(site, weights)

    @apart
    def choice(self, name: str, weights: Tensor, axis: int) -> None:
        """Read how sharply a softmax over classes, experts or gates picks."""
        p = whole(weights.detach())
        if p.numel() and p.dim() and p.shape[axis] > 1:
            self.choices[name] = float(p.float().amax(dim=axis).mean())
            self._chosen = name, weakref.ref(weights)

    def chosen(self, output: object) -> str:
        """The name of the softmax whose result is a model's output, or an empty text."""
        name, weights = self._chosen
        return name if output is not None and weights() is output else ""

    def _wait(self, size: int) -> None:
        self._waiting += size
        # inside vmap nothing random is drawn
        if self._waiting > PENDING and torch._C._functorch.maybe_current_level() is None:
            self.finish()

    def finish(self) -> None:
        """Measure everything that is waiting."""
        self._tokens += gather(self._taken)
        for taken in self._taken:
            if taken.site.kind == "input" and taken.rows is not None:
                taken.site.values["copies"] = float(copies(torch.from_numpy(taken.rows)))
        self.samples |= measure_sites(self._taken, self.budget.spectrum)
        measure_weights(self._weights)
        measure_tokens(self._tokens)
        self._taken, self._weights, self._tokens, self._waiting = [], [], [], 0

    def drop(self, sites: list[Site]) -> None:
        """Keep no law of the entries of these sites, whose index others will have."""
        for site in sites:
            site.retracted = True
            self.samples.pop(site.index, None)

    @apart
    def input_moments(self, tensor: Tensor, origin: Origin | None) -> Moments:
        """Second moment and mean of what an operation reads: those of its row, once measured, where it has one."""
        known = origin.row if origin is not None else None
        if known is None and origin is not None and origin.site is not None and origin.expression.steps == 0:
            known = origin.site if origin.expression.gain == 1.0 else None
        if known is not None and known.entries == tensor.numel() and "fault" not in known.values:
            return known
        if not carries(tensor) or tensor.numel() == 0:
            return math.nan, math.nan
        m = measure.second_moments(strided(whole(tensor.detach()), self.budget.entries))
        return m.q, m.mean

    @apart
    def coverage(self, site: Site, source: Tensor, name: str, args: Any, kwargs: Any) -> None:
        """The share of a convolution's taps that do not fall on its zero padding."""
        operation = WEIGHT_OPERATIONS.get(name)
        if operation is None or not operation.spatial or operation.transposed or site.weight is None:
            return
        stride, padding, dilation = (
            _per_axis(args[i] if len(args) > i else kwargs.get(key, default), operation.spatial)
            for i, key, default in ((3, "stride", 1), (4, "padding", 0), (5, "dilation", 1))
        )
        share = 1.0
        for axis in range(operation.spatial):
            length, out = source.shape[axis - operation.spatial], site.shape[axis - operation.spatial]
            kernel = site.weight.shape[2 + axis]
            pad = padding[axis]
            if isinstance(pad, str):
                pad = dilation[axis] * (kernel - 1) // 2 if pad == "same" else 0
            covered, idle = coverage(length, out, kernel, stride[axis], pad, dilation[axis])
            share *= covered
            site.weight.idle_taps |= idle
        site.weight.coverage = share

    def columns(self, site: Site, source: Tensor, unit: int) -> None:
        """How far the deviations of the columns that a first layer reads are apart, and the columns' mean over them.

        The larger of two ratios: the largest over the median, and the upper over the lower quartile; constant columns
        do not count. Sines and cosines of times or places are left out: their wavelengths are far apart on purpose.
        """
        t = whole(source.detach(), unit)
        if not t.is_floating_point() or t.layout != torch.strided or t.dim() < -unit or t.numel() == 0:
            return
        moved = t.movedim(unit, -1)
        rows = moved.reshape(-1, moved.shape[-1])
        some = rows[:: stride(-(-len(rows) // COLUMN_ROWS), moved.shape[:-1])].double()
        # sin² + cos² = 1 for each wavelength, so that every row has a mean square of a half
        if bool(((some.square().mean(dim=1) - 0.5).abs() < _HALF).all()):
            return
        deviation = some.std(dim=0, correction=0)
        varies = float(deviation.norm())
        if varies > 0.0 and len(some) >= FEW:
            site.values["read_offset"] = float(some.mean(dim=0).norm()) / varies
        deviation = deviation[deviation > 0].sort().values
        count = len(deviation)
        if count < 2:
            return
        middle, low, high = (float(deviation[int(share * (count - 1))]) for share in (0.5, 0.25, 0.75))
        site.values["read_spread"] = max(float(deviation[-1]) / middle, high / low)

    @apart
    def norm_gain(self, site: Site, source: Tensor, result: Tensor, facts: Record) -> None:
        """Squared gradient factor of a normaliser: mean γ²/σ² over what it normalises.

        A normaliser of N entries also projects out their mean and their scale. A share of 1 − 2/N of the squared
        gradient is left (RMS norms keep the mean: 1 − 1/N).
        """
        t, kind = whole(source.detach()), facts["norm"]
        if t.numel() == 0 or t.dim() < 2 or kind == "running":
            return
        if kind == "divisive":
            # each unit times a factor, through which alone nearly all of the gradient flows
            before, after = (strided(v, self.budget.entries).double() for v in (t, whole(result.detach())))
            factor = (after / before)[before != 0].square()
            site.values["norm_gain"] = float(factor.mean()) if factor.numel() else math.nan
            return
        inverse = _kept_inverse(result)
        if inverse is None:
            dims = [facts["axis"]] if "axis" in facts else _normalised(t, kind, facts["groups"])
            if not dims:
                return
            inverse, count = _inverse_variances(t, dims, kind), math.prod(t.shape[d] for d in dims)
        else:
            count = t.numel() // inverse.numel()
        lost = 1 if kind == "rms" else 2
        site.values["norm_left"] = float(count - lost)
        gain = float(inverse.mean()) * max(1.0 - lost / count, 0.0)
        site.values["norm_gain"] = facts["gamma_square"] * gain

    @apart
    def follow_axis(self, source: Tensor, result: Tensor, name: str, args: Any, unit: int) -> int:
        """Where the axis of units is after a rearrangement, counted from the end."""
        dims = source.dim()
        if name == "permute" and dims == result.dim():
            order = args[1] if len(args) == 2 and isinstance(args[1], (tuple, list)) else args[1:]
            if len(order) == dims:
                return [o % dims for o in order].index(unit % dims) - dims
        if (
            name in ("transpose", "swapaxes", "swapdims", "t", "T", "mT")
            and dims == result.dim()
            and dims > 1
        ):
            a, b = (args[1] % dims, args[2] % dims) if len(args) == 3 else (dims - 2, dims - 1)
            here = unit % dims
            return {a: b, b: a}.get(here, here) - dims
        if dims == result.dim():
            return unit
        size = source.shape[unit] if -unit <= dims else -1
        if result.dim() and result.shape[-1] == size:
            return -1
        if -unit <= result.dim() and result.shape[unit] == size:
            return unit
        return -1


def _kept_inverse(result: Tensor) -> Tensor | None:
    """1/(σ² + ε) of every group, as torch's own normalisers keep it for their backward."""
    node = result.grad_fn
    if node is None or not any(
        name in type(node).__name__ for name in ("BatchNorm", "LayerNorm", "GroupNorm")
    ):
        return None
    inverse_std = getattr(node, "_saved_result2", None)
    if not isinstance(inverse_std, Tensor) or inverse_std.numel() == 0:
        return None
    exact = (
        inverse_std.detach().float() if inverse_std.device.type == "mps" else inverse_std.detach().double()
    )
    return exact.square()


def _normalised(t: Tensor, kind: str, groups: int) -> list[int]:
    """The axes over which a normaliser takes its moments."""
    if kind == "batch":
        return [d for d in range(t.dim()) if d != 1]
    if kind in ("group", "instance"):
        return list(range(1 if groups == 1 else 2, t.dim()))
    return [-1]


def _inverse_variances(t: Tensor, dims: list[int], kind: str) -> Tensor:
    t = _fewer(t, dims)
    # a norm of centred entries is eight times as fast as torch.var
    centred = t if kind == "rms" else t - t.mean(dims, keepdim=True)
    square = torch.linalg.vector_norm(centred, dim=dims).square() / math.prod(t.shape[d] for d in dims)
    return 1.0 / (square.double() if t.device.type != "mps" else square).clamp_min(1e-12)


def _fewer(t: Tensor, dims: list[int]) -> Tensor:
    """Enough of a tensor to know the mean inverse of its variances over ``dims`` to about one percent.

    A variance of 512 entries is known to 6 %, and its inverse is averaged over all groups; where the groups
    are short, 512 of them do.
    """
    count = math.prod(t.shape[d] for d in dims)
    if count > 4096 and t.dim() > 2 and t.dim() - 1 in dims:
        step = min(count // 512, t.shape[-1])
        t = t[..., step // 2 :: step]  # half a step in, away from the border
    elif dims == [-1]:
        lead = t.shape[:-1]
        t = t.reshape(-1, t.shape[-1])
        t = t[:: stride(len(t) // 512, lead)]
    return t.float()


def extremes(t: Tensor) -> tuple[float, float]:
    """Largest finite |entry| and share of non-finite entries of a whole tensor."""
    low, high = (v.item() for v in torch.aminmax(t))
    if math.isfinite(low) and math.isfinite(high):
        return max(abs(low), abs(high)), 0.0
    m = measure.second_moments(t)
    return m.absmax, m.nonfinite


def strided(t: Tensor, limit: int) -> Tensor:
    """At most ``limit`` entries of a large tensor, on a stride that shares no factor with its axes."""
    if t.numel() <= 2 * limit:
        return t
    flat = t.reshape(-1) if t.is_contiguous() else t.permute(_by_stride(t)).reshape(-1)
    return flat[:: stride(-(-t.numel() // limit), t.shape)]


def _by_stride(t: Tensor) -> list[int]:
    return sorted(range(t.dim()), key=t.stride, reverse=True)


def _per_axis(value: object, axes: int) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return list(value) if len(value) == axes else [value[0]] * axes
    return [value] * axes
