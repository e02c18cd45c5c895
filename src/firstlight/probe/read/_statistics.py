"""Statistics: the forward columns of many sites at once, from the entries that were taken of them."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firstlight import measure
from firstlight.clean_room import clean
from firstlight.measure import LayerStack, StandardRows
from firstlight.measure.ks_null import upper_triangle
from firstlight.probe.graph._site import Site
from firstlight.probe.measurement import HISTOGRAM_BINS, QUANTILE_LEVELS, LayerSample
from firstlight.probe.read._groups import LAYERS, alike
from firstlight.probe.read._taking import Taken

# Distance between the quartiles of a standard Gaussian.
QUARTILES = 1.349
# Distance between the percentiles 1 and 99 over the robust deviation, past which single entries are no outliers:
# 4.7 for a normal law, 6 for Student's with 3 degrees, 47 for Cauchy's.
SPREAD = 20.0
# The largest numbers of float8 (E4M3) and of float16.
EIGHT, HALF = 448.0, 65504.0
# Entries of rows that are measured together: a megabyte of float64, which stays near the caches.
TOGETHER = 1 << 17
# Kinds whose law and spectrum nobody asks for.
LAWLESS = ("activation", "base")
# Kinds whose channels are compared along a stream.
CHANNELLED = ("input", "weight", "norm", "residual")

Rows: TypeAlias = NDArray[np.float32]  # layers × samples × units
Exact: TypeAlias = NDArray[np.float64]  # the same, or their products, layers × samples × samples

# Sites of one shape, and their standardised rows: of many that are whole, or of one that is not.
Part: TypeAlias = tuple[list[Site], LayerStack | StandardRows]


def measure_sites(taken: list[Taken], spectrum_samples: int) -> dict[int, LayerSample]:
    """Fill the forward columns of every site; returns the laws of their entries by site index."""
    for group in alike(taken, lambda t: (t.entries.shape, t.entries.dtype, t.entries.device)):
        found = measure.moments_of_each(torch.stack([t.entries for t in group]))
        for t, moments in zip(group, found):
            _fill_moments(t, moments)
    samples: dict[int, LayerSample] = {}
    # what is not finite somewhere spreads through the products of its rows, and is left out of what is told
    with np.errstate(all="ignore"):
        for parts in _together(_lawful(taken, spectrum_samples)):
            samples |= _laws(parts)
        for sites, rows, wide, gram in _stacks((t.site, t.images) for t in taken):
            for part, stack in _standardised(sites, rows, wide, gram):
                _correlations(part, stack, cosines=False)
            _spectra(sites, wide, gram, spectrum_samples)
    return samples


def _lawful(taken: list[Taken], spectrum_samples: int) -> Iterator[Part]:
    """The rows of every site that has a law, standardised, once all else is measured on them."""
    for mapped in (False, True):
        pairs = [(t.site, t.rows) for t in taken if (t.images is not None) is mapped]
        for sites, rows, wide, gram in _stacks(pairs):
            _keep_rows(sites, rows, wide, gram)
            if mapped and all(site.kind in LAWLESS for site in sites):
                continue
            for part, stack in _standardised(sites, rows, wide, gram):
                if not mapped:
                    _correlations(part, stack, cosines=True)
                yield from _with_law(part, stack)
            if not mapped:
                _spectra(sites, wide, gram, spectrum_samples)


def _with_law(sites: list[Site], stack: LayerStack | StandardRows) -> Iterator[Part]:
    """Those of the layers whose law is asked for."""
    asked = [i for i, site in enumerate(sites) if site.kind not in LAWLESS]
    if len(asked) == len(sites):
        yield sites, stack
    elif asked and isinstance(stack, LayerStack):
        chosen = (t[asked] for t in (stack.values, stack.unit, stack.cosine))
        yield [sites[i] for i in asked], LayerStack(*chosen)


def _together(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Stacks of equally many samples, of ``LAYERS`` layers or fewer together; what stands alone, alone."""
    waiting: dict[int, list[Part]] = {}
    for part in parts:
        if isinstance(part[1], StandardRows):
            yield [part]
            continue
        held = waiting.setdefault(part[1].unit.shape[1], [])
        if sum(len(sites) for sites, _ in (*held, part)) > LAYERS:
            yield [*held]
            held.clear()
        held.append(part)
    yield from waiting.values()


def _stacks(
    pairs: Iterable[tuple[Site, NDArray[np.float32] | None]],
) -> Iterator[tuple[list[Site], Rows, Exact, Exact]]:
    """Rows of sites of one shape, up to ``TOGETHER`` entries at a time; the same in float64, and their products."""
    known = [(site, rows) for site, rows in pairs if rows is not None]
    for group in alike(known, lambda pair: pair[1].shape):
        step = max(1, TOGETHER // max(group[0][1].size, 1))
        for part in (group[i : i + step] for i in range(0, len(group), step)):
            rows = np.stack([own for _, own in part])
            wide = rows.astype(np.float64)
            yield [site for site, _ in part], rows, wide, wide @ wide.swapaxes(1, 2)


def _standardised(sites: list[Site], rows: Rows, wide: Exact, gram: Exact) -> Iterator[Part]:
    """The layers that can be standardised together, then the others with finite entries one by one."""
    norms = np.sqrt(gram.diagonal(axis1=1, axis2=2))
    whole = ((norms > 1e-15) & (norms < 1e15)).all(axis=1) & bool(rows.size)
    if whole.all():
        yield sites, _stack(rows, wide, gram, norms)
        return
    good = np.flatnonzero(whole)
    if len(good):
        yield [sites[i] for i in good], _stack(rows[good], wide[good], gram[good], norms[good])
    for i in np.flatnonzero(~whole):
        if np.isfinite(rows[i]).all():
            samples, units = rows[i].shape
            alone = torch.from_numpy(rows[i])
            yield [sites[i]], measure.standardise(alone, max_samples=samples, max_units=units)


def _stack(rows: Rows, wide: Exact, gram: Exact, norms: Exact) -> LayerStack:
    """What ``measure.stack_layers`` makes of rows, from their products, which are needed for other things too."""
    unit = (wide * (math.sqrt(rows.shape[2]) / norms)[:, :, None]).astype(np.float32)
    cosine = gram / norms[:, :, None] / norms[:, None, :]
    cosine.clip(-1.0, 1.0, out=cosine)
    np.einsum("lss->ls", cosine)[:] = 1.0
    return LayerStack(*map(torch.from_numpy, (rows, unit, cosine)))


def _fill_moments(taken: Taken, m: measure.Moments) -> None:
    values = taken.site.values
    values |= {"mean": m.mean, "q": m.q, "var": m.var, "kurtosis": m.kurtosis, "q_se": 0.0}
    values |= {"nonfinite": m.nonfinite, "absmax": m.absmax}
    if not math.isnan(taken.nonfinite):
        values |= {"nonfinite": taken.nonfinite, "absmax": taken.absmax}
        if m.var > 0 and math.isfinite(m.var):
            # spread of z² over the entries read; strided entries serve as a random sample
            spread = m.var * (m.kurtosis + 2.0) + 4.0 * m.mean * (m.std * m.skewness + m.mean)
            values["q_se"] = math.sqrt(max(m.var * spread, 0.0) / m.count)
    if values["absmax"] > EIGHT:
        size = taken.entries.abs()
        values |= {"beyond_eight": float((size > EIGHT).double().mean())}
        values |= {"beyond_half": float((size > HALF).double().mean())}


def _keep_rows(sites: list[Site], rows: Rows, wide: Exact, gram: Exact) -> None:
    """Give every site its rows, with the mean of each and the mean of its squares."""
    units = rows.shape[2]
    squares = gram.diagonal(axis1=1, axis2=2) / units if units else wide.mean(axis=2)
    means = wide.mean(axis=2)
    for i, site in enumerate(sites):
        site.rows, site.row_squares, site.row_means = torch.from_numpy(rows[i]), squares[i], means[i]
    _channels(sites, wide)


def _channels(sites: list[Site], wide: Exact) -> None:
    """Squared mean and variance of every channel over samples and places, both without bias, mean over channels."""
    count = wide.shape[1]
    if count < 2 or wide.shape[2] == 0 or not any(site.kind in CHANNELLED for site in sites):
        return
    means = wide.sum(axis=1) / count
    centred = wide - means[:, None]
    variance = np.einsum("lsu,lsu->lu", centred, centred) / (count - 1)
    mean_square = np.square(means) - variance / count
    both = mean_square.mean(axis=1).tolist(), variance.mean(axis=1).tolist()
    for site, square, spread in zip(sites, *both):
        if site.kind in CHANNELLED:
            site.values |= {"channel_mean_square": max(square, 0.0), "channel_var": spread}


def _laws(parts: list[Part]) -> dict[int, LayerSample]:
    """Gaussianity of every site, and the law of its entries to draw."""
    sites = [site for part, _ in parts for site in part]
    # half of the units are enough for a distance, whose cost is their sorting
    thin = [stack.thinned(2 if stack.unit.shape[-1] > 128 else 1) for _, stack in parts]
    stacks = [stack for stack in thin if isinstance(stack, LayerStack)]
    if stacks:
        found, flats = measure.gaussianities(*stacks), [flat for s in stacks for flat in s.sorted_values]
    else:
        found = [measure.gaussianity(rows) for rows in thin if isinstance(rows, StandardRows)]
        flats = [np.sort(rows.values.cpu().numpy(), axis=None) for rows in thin]
    samples: dict[int, LayerSample] = {}
    for site, g, flat in zip(sites, found, flats):
        site.values |= {
            "ks": g.ks,
            "ks_standardised": g.ks_standardised,
            "ks_critical": g.ks_critical,
            "n_eff": g.n_eff,
        }
        # quartiles stay where they are when one entry runs away; the root mean square does not
        quarter = len(flat) // 4
        deviation = float(flat[-1 - quarter] - flat[quarter]) / QUARTILES
        middle, tail = float(flat[len(flat) // 2]), len(flat) // 100
        # entries about a level, as behind a large bias, have the size of that level
        size = math.hypot(deviation, middle)
        # rows that are mostly zeros have no scale that one entry could exceed
        if size > 0 and float(flat[-1 - tail] - flat[tail]) < SPREAD * size:
            site.values["outlier_ratio"] = site.values["absmax"] / size
        if flat[-1] > flat[0] and not site.retracted:
            samples[site.index] = _sample(flat)
    return samples


@lru_cache(maxsize=8)
@clean
def _places(count: int) -> list[int]:
    return [round(p * (count - 1)) for p in QUANTILE_LEVELS]


def _sample(flat: NDArray[np.float32]) -> LayerSample:
    """Histogram and quantiles of sorted entries."""
    low, high = float(flat[0]), float(flat[-1])
    inner = (low + (high - low) / HISTOGRAM_BINS * np.arange(1, HISTOGRAM_BINS)).astype(flat.dtype)
    ends = [0, *flat.searchsorted(inner).tolist(), len(flat)]
    counts = tuple(map(operator.sub, ends[1:], ends))
    return LayerSample(low, high, counts, tuple(flat[_places(len(flat))].tolist()))


def _correlations(sites: list[Site], stack: LayerStack | StandardRows, *, cosines: bool) -> None:
    """How alike the samples are; ``cosines`` keeps every pair's for theory to carry on."""
    if stack.values.shape[-2] < 2:
        return
    pairs: Iterable[Tensor]
    if isinstance(stack, LayerStack):
        found = measure.sample_correlations(stack)
        pairs = upper_triangle(stack.cosine.double()) if cosines else ()
    else:
        found = [measure.sample_correlation(stack)]
        pairs = [upper_triangle(c.cosine) for c in found] if cosines else ()
    for site, c in zip(sites, found):
        site.values |= {"correlation": c.mean, "correlation_se": c.se}
    for site, pair in zip(sites, pairs):
        site.values["cosines"] = pair


def _spectra(sites: list[Site], wide: Exact, gram: Exact, samples: int) -> None:
    """Effective rank and isometry gap of every site that has a law."""
    asked = [i for i, site in enumerate(sites) if site.kind not in LAWLESS]
    if not asked or wide.shape[1] < 2 or wide.shape[2] == 0:
        return
    if len(asked) < len(sites):
        wide, gram = wide[asked], gram[asked]
    step = -(-wide.shape[1] // samples)
    for i, (rank, gap) in zip(asked, spectra(wide[:, ::step], gram[:, ::step, ::step])):
        if not math.isnan(rank):
            sites[i].values |= {"effective_rank": rank, "isometry_gap": gap}


def spectra(rows: Exact, gram: Exact) -> list[tuple[float, float]]:
    """Effective rank and isometry gap of the samples' Gram matrix of every layer, from one decomposition.

    The rank is exp of the entropy of the shares of the eigenvalues: NaN where an entry is not finite, 0 where all are
    zero. The gap is −log of the geometric over the arithmetic mean of the eigenvalues; where an eigenvalue nears the
    rounding of the product, the singular values decide (``measure.isometry_gap``).

    Examples
    --------
    >>> rows = np.stack([np.eye(3), np.ones((3, 3)), np.zeros((3, 3))])
    >>> [round(rank, 6) for rank, _ in spectra(rows, rows @ rows.swapaxes(1, 2))]
    [3.0, 1.0, 0.0]
    """
    samples, units = rows.shape[1:]
    # of fewer units than samples the units' own matrix has the same spectrum, but for zeros
    gram = gram if samples <= units else rows.swapaxes(1, 2) @ rows
    size = gram.trace(axis1=1, axis2=2)
    known = np.isfinite(size) & (size > 0.0)
    values = np.linalg.eigvalsh(np.where(known[:, None, None], gram, 0.0)).clip(0.0)
    share = values / np.where(known, values.sum(axis=1), 1.0)[:, None]
    logs = np.log(share, out=np.zeros_like(share), where=share > 0.0)
    ranks = np.exp(-(share * logs).sum(axis=1))
    ranks = np.where(known, ranks, np.where(size == 0.0, 0.0, math.nan))
    gaps = np.where(known, math.inf, math.nan)
    if units >= samples:
        # an eigenvalue is known to 1 % there, which its logarithm divided by k hardly sees
        sure = known & (share[:, 0] > 1e-13)
        gaps[sure] = -np.log(share[sure] * samples).mean(axis=1).clip(max=0.0)
        doubtful = known & ~sure
        if doubtful.any():
            gaps[doubtful] = measure.isometry_gap(torch.from_numpy(rows[doubtful])).numpy()
    return list(zip(ranks.tolist(), gaps.tolist()))
