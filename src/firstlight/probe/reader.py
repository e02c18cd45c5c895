"""Reader: the forward statistics of one tensor, within a stated budget of entries."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firstlight import measure
from firstlight.probe.measurement import HISTOGRAM_BINS, QUANTILE_LEVELS, LayerSample
from firstlight.probe.operations import WEIGHT_OPERATIONS
from firstlight.probe.site import Origin, Site
from firstlight.probe.weight import coverage

# Distance between the quartiles of a standard Gaussian.
QUARTILES = 1.349


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
    """Measures tensors as they pass and keeps nothing but numbers and one small block of rows each."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.samples: dict[int, LayerSample] = {}
        self.subsampled = 0

    def read(self, site: Site, tensor: Tensor) -> None:
        """Fill a site's forward columns."""
        t = tensor.detach()
        site.entries = t.numel()
        site.values["shape"] = "×".join(map(str, t.shape))
        if t.numel() == 0 or t.layout != torch.strided:
            site.values["fault"] = "empty" if t.numel() == 0 else "not a dense tensor"
            return
        site.unit = max(site.unit, -max(t.dim(), 1))
        self._entries(site, t)
        rows = self._rows(t, site.unit)
        site.rows = rows
        if site.kind == "activation" and t.dim() > 1:
            site.values["dead"] = measure.constant_units(t, dim=site.unit)
        standard = measure.standardise(rows, max_samples=self.budget.samples, max_units=self.budget.units)
        if site.kind != "activation" and all_finite(rows):
            self._gaussianity(site, standard)
        self._geometry(site, t, standard)

    def _entries(self, site: Site, t: Tensor) -> None:
        values = site.values
        part = strided(t, self.budget.entries)
        m = measure.moments(part)
        values |= {"mean": m.mean, "q": m.q, "var": m.var, "kurtosis": m.kurtosis, "nonfinite": m.nonfinite}
        absmax = m.absmax
        values["q_se"] = 0.0
        if part.numel() < t.numel():
            self.subsampled += 1
            if m.var > 0 and math.isfinite(m.var):
                # spread of z² over the entries read; strided entries are as good as drawn ones
                spread = m.var * (m.kurtosis + 2.0) + 4.0 * m.mean * (m.std * m.skewness + m.mean)
                values["q_se"] = math.sqrt(max(m.var * spread, 0.0) / part.numel())
            low, high = (float(v) for v in torch.aminmax(t))
            absmax = max(abs(low), abs(high))
            if not math.isfinite(absmax):
                values["nonfinite"] = 1.0 - float(torch.isfinite(t).float().mean())
                absmax = measure.second_moments(t).absmax
        values["absmax"] = absmax

    def _rows(self, t: Tensor, unit: int) -> Tensor:
        """At most ``samples × units`` entries as float32 rows, spread over all samples and units."""
        moved = t.movedim(unit, -1) if t.dim() else t.reshape(1, 1)
        lead, n = moved.shape[:-1], moved.shape[-1]
        total = math.prod(lead)
        moved = moved[..., :: -(-n // self.budget.units)] if n > self.budget.units else moved
        if total > self.budget.samples:
            count = self.budget.samples
            step = total // count
            # an offset that changes with k keeps convolution rows off the image border
            index = np.array([k * total // count + (k * 2654435761 % step) for k in range(count)])
            places = np.unravel_index(index, lead)
            moved = moved[tuple(torch.from_numpy(p).to(t.device) for p in places)]
        return moved.reshape(-1, moved.shape[-1]).float()

    def _gaussianity(self, site: Site, rows: measure.StandardRows) -> None:
        values = site.values
        # half of the units are enough for a distance, whose cost is their sorting
        half = slice(None, None, 2 if rows.values.shape[1] > 128 else 1)
        part = replace(rows, values=rows.values[:, half].contiguous(), unit=rows.unit[:, half].contiguous())
        g = measure.gaussianity(part)
        values |= {
            "ks": g.ks,
            "ks_standardised": g.ks_standardised,
            "ks_critical": g.ks_critical,
            "n_eff": g.n_eff,
        }
        flat = np.sort(part.values.cpu().numpy(), axis=None)
        low, high = float(flat[0]), float(flat[-1])
        # quartiles stay where they are when one entry runs away; the root mean square does not
        quarter = len(flat) // 4
        deviation = float(flat[-1 - quarter] - flat[quarter]) / QUARTILES
        if deviation > 0:
            values["outlier_ratio"] = values["absmax"] / deviation
        if high > low:
            inner = np.linspace(low, high, HISTOGRAM_BINS + 1)[1:-1].astype(flat.dtype)
            below = [0, *np.searchsorted(flat, inner).tolist(), len(flat)]
            places = [round(p * (len(flat) - 1)) for p in QUANTILE_LEVELS]
            counts = tuple(b - a for a, b in itertools.pairwise(below))
            self.samples[site.index] = LayerSample(low, high, counts, tuple(flat[places].tolist()))

    def _geometry(self, site: Site, t: Tensor, standard: measure.StandardRows) -> None:
        values, rows = site.values, standard.values
        images = site.unit < -1 and t.dim() == -site.unit + 1
        if images:
            # images: what tells two inputs apart is the whole map, not one place of it
            count = min(t.shape[0], self.budget.samples)
            flat = t[:count].reshape(count, -1)
            rows = flat[:, :: -(-flat.shape[1] // (4 * self.budget.units))].float()
            standard = measure.standardise(rows, max_samples=count, max_units=rows.shape[1])
        if rows.shape[0] < 2 or not all_finite(rows):
            return
        c = measure.sample_correlation(standard)
        values |= {"correlation": c.mean, "correlation_se": c.se}
        if not images:
            upper = _pairs(len(c.cosine))
            values["cosines"] = c.cosine[upper[0], upper[1]]
        if site.kind == "activation":
            return
        few = rows[:: -(-rows.shape[0] // self.budget.spectrum)]
        values["effective_rank"], values["isometry_gap"] = spectrum(few)

    def input_moments(self, tensor: Tensor, origin: Origin | None) -> tuple[float, float]:
        """Second moment and mean of what an operation reads, from its row where it has one."""
        known = origin.row if origin is not None else None
        if known is None and origin is not None and origin.site is not None and origin.expression.steps == 0:
            known = origin.site if origin.expression.gain == 1.0 else None
        if known is not None and known.entries == tensor.numel() and "q" in known.values:
            return known.values["q"], known.values["mean"]
        if not tensor.is_floating_point() or tensor.numel() == 0:
            return math.nan, math.nan
        m = measure.second_moments(strided(tensor.detach(), self.budget.entries))
        return m.q, m.mean

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
            share *= coverage(length, out, kernel, stride[axis], pad, dilation[axis])
        site.weight.coverage = share

    def norm_gain(self, site: Site, source: Tensor, facts: dict[str, Any]) -> None:
        """Squared gradient factor of a normaliser: mean γ²/σ² over what it normalises.

        A normaliser of N entries also projects out their mean and their scale, which leaves a share of
        1 − 2/N of the squared gradient (RMS norms keep the mean: 1 − 1/N).
        """
        t = source.detach()
        if t.numel() == 0 or t.dim() < 2:
            return
        kind = facts["norm"]
        if kind in ("batch", "running"):
            dims = [d for d in range(t.dim()) if d != 1]
        elif kind in ("group", "instance") and facts["groups"] != 1:
            dims = list(range(2, t.dim()))
        elif kind in ("group", "instance"):
            dims = list(range(1, t.dim()))
        else:
            dims = [-1]
        if not dims or kind == "running":
            return
        count = math.prod(t.shape[d] for d in dims)
        t = _fewer(t, dims)
        # a norm of centred entries is eight times as fast as torch.var
        centred = t if kind == "rms" else t - t.mean(dims, keepdim=True)
        read = math.prod(t.shape[d] for d in dims)
        square = torch.linalg.vector_norm(centred, dim=dims).square() / read
        lost = 1 if kind == "rms" else 2
        inverse = (1.0 / (square.double() if t.device.type != "mps" else square).clamp_min(1e-12)).mean()
        site.values["norm_gain"] = facts["gamma_square"] * float(inverse) * max(1.0 - lost / count, 0.0)

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
        t = t.reshape(-1, t.shape[-1])
        t = t[:: max(len(t) // 512, 1)]
    return t.float()


@lru_cache(maxsize=8)
def _pairs(count: int) -> Tensor:
    """Row and column of every pair of different samples, once."""
    return torch.triu_indices(count, count, 1)


def all_finite(rows: Tensor) -> bool:
    """Whether every entry is finite; the sum settles it unless finite entries overflow it."""
    return math.isfinite(float(rows.sum())) or bool(torch.isfinite(rows).all())


def strided(t: Tensor, limit: int) -> Tensor:
    """At most ``limit`` entries of a large tensor, on a stride that shares no factor with its axes."""
    if t.numel() <= 2 * limit:
        return t
    flat = t.reshape(-1) if t.is_contiguous() else t.permute(_by_stride(t)).reshape(-1)
    step = -(-t.numel() // limit)
    while any(math.gcd(step, size) > 1 for size in t.shape if size > 1):
        step += 1
    return flat[::step]


def _by_stride(t: Tensor) -> list[int]:
    return sorted(range(t.dim()), key=t.stride, reverse=True)


def _per_axis(value: Any, axes: int) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return list(value) if len(value) == axes else [value[0]] * axes
    return [value] * axes


def spectrum(rows: Tensor) -> tuple[float, float]:
    """Effective rank and isometry gap of the samples' Gram matrix, from one decomposition.

    exp of the entropy of the normalised eigenvalues, and −log of their geometric over their arithmetic mean;
    where an eigenvalue nears the rounding of the product, the singular values decide (``measure.isometry_gap``).
    """
    x = rows.cpu().numpy().astype(np.float64)
    scale = np.abs(x).max(initial=0.0)
    if not (scale > 0.0 and math.isfinite(scale)):
        return (0.0 if scale == 0.0 else math.nan), math.nan
    x /= scale
    values = np.linalg.eigvalsh(x @ x.T).clip(0.0)
    share = values / values.sum()
    positive = share[share > 0.0]
    rank = math.exp(-float((positive * np.log(positive)).sum()))
    k, units = x.shape
    if units < k:
        return rank, math.inf
    if share[0] > 1e-13:  # known to 1 % there, which its logarithm divided by k hardly sees
        return rank, max(-float(np.log(share * k).mean()), 0.0)
    return rank, float(measure.isometry_gap(torch.from_numpy(x)))
