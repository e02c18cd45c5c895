"""Statistics: the forward columns of many sites at once, from the entries that were taken of them."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from firstlight import measure
from firstlight.clean_room import clean
from firstlight.measure import LayerStack, StandardRows
from firstlight.measure.ks_null import upper_triangle
from firstlight.probe.graph._site import Site
from firstlight.probe.measurement import HISTOGRAM_BINS, QUANTILE_LEVELS, LayerSample

# Distance between the quartiles of a standard Gaussian.
QUARTILES = 1.349
# Distance between the percentiles 1 and 99 over the robust deviation, past which single entries are no outliers:
# 4.7 for a normal law, 6 for Student's with 3 degrees, 47 for Cauchy's.
SPREAD = 20.0
# The largest numbers of float8 (E4M3) and of float16.
EIGHT, HALF = 448.0, 65504.0
# Layers that are stacked at a time: enough to share the cost of a call, few enough to stay near the caches.
LAYERS = 32
# Kinds whose law and spectrum nobody asks for.
LAWLESS = ("activation", "base")
# Kinds whose channels are compared along a stream.
CHANNELLED = ("input", "weight", "norm", "residual")

Rows = Float[Tensor, "layers samples units"]

# Sites of one shape, and their standardised rows: of many that are whole, or of one that is not.
Part: TypeAlias = tuple[list[Site], LayerStack | StandardRows]
T = TypeVar("T")


@dataclass(eq=False, frozen=True)
class Taken:
    """What was taken of one tensor.

    Attributes
    ----------
    entries
        Strided entries, or all, for the moments.
    rows
        One row per sample (and position), one column per unit.
    images
        Where samples are maps: one row per whole map. None elsewhere.
    absmax, nonfinite
        Largest finite entry and share of non-finite ones of the whole tensor; NaN where ``entries`` is whole.
    """

    site: Site
    entries: Tensor
    rows: Tensor
    images: Tensor | None
    absmax: float
    nonfinite: float

    @property
    def size(self) -> int:
        """Bytes that are held until the statistics are made."""
        held = [self.entries, self.rows] + ([] if self.images is None else [self.images])
        return sum(t.numel() * t.element_size() for t in held)


def measure_sites(taken: list[Taken], spectrum_samples: int) -> dict[int, LayerSample]:
    """Fill the forward columns of every site; returns the laws of their entries by site index."""
    for group in alike(taken, lambda t: (t.entries.shape, t.entries.dtype, t.entries.device)):
        found = measure.moments_of_each(torch.stack([t.entries for t in group]))
        for t, moments in zip(group, found):
            _fill_moments(t, moments)
    samples: dict[int, LayerSample] = {}
    for parts in _together(_lawful(taken, spectrum_samples)):
        samples |= _laws(parts)
    for sites, rows in _stacks([(t.site, t.images) for t in taken if t.images is not None]):
        for part, stack in _standardised(sites, rows):
            _correlations(part, stack, cosines=False)
        _spectra(sites, rows, spectrum_samples)
    return samples


def _lawful(taken: list[Taken], spectrum_samples: int) -> Iterator[Part]:
    """The rows of every site that has a law, standardised, once all else is measured on them."""
    for sites, rows in _stacks([(t.site, t.rows) for t in taken if t.images is None]):
        keep_rows(sites, rows)
        for part, stack in _standardised(sites, rows):
            _correlations(part, stack, cosines=True)
            if sites[0].kind not in LAWLESS:
                yield part, stack
        _spectra(sites, rows, spectrum_samples)
    for sites, rows in _stacks([(t.site, t.rows) for t in taken if t.images is not None]):
        keep_rows(sites, rows)
        if sites[0].kind not in LAWLESS:
            yield from _standardised(sites, rows)


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


def alike(things: Iterable[T], key: Callable[[T], Hashable]) -> Iterator[list[T]]:
    """The things in groups of equal key, at most ``LAYERS`` in a group."""
    groups: dict[Hashable, list[T]] = {}
    for thing in things:
        groups.setdefault(key(thing), []).append(thing)
    for group in groups.values():
        for i in range(0, len(group), LAYERS):
            yield group[i : i + LAYERS]


def _stacks(taken: list[tuple[Site, Tensor]]) -> Iterator[tuple[list[Site], Rows]]:
    """Rows of sites of one shape, with a law or without."""
    for group in alike(taken, lambda t: (t[1].shape, t[1].device, t[0].kind in LAWLESS)):
        yield [site for site, _ in group], torch.stack([rows for _, rows in group])


def _standardised(sites: list[Site], rows: Rows) -> Iterator[Part]:
    """The layers that can be standardised together, then the others with finite entries one by one."""
    whole = measure.stackable(rows)
    good = [i for i, fine in enumerate(whole) if fine]
    if good:
        yield [sites[i] for i in good], measure.stack_layers(rows if len(good) == len(rows) else rows[good])
    for i, fine in enumerate(whole):
        if not fine and bool(torch.isfinite(rows[i]).all()):
            samples, units = rows[i].shape
            yield [sites[i]], measure.standardise(rows[i], max_samples=samples, max_units=units)


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


def keep_rows(sites: list[Site], rows: Rows) -> None:
    """Give every site its rows, with the mean of each and the mean of its squares."""
    z = rows if rows.numel() == 0 or float(rows.abs().amax()) < 1e15 else rows.double()
    squares, means = (t.cpu().double().numpy() for t in (z.square().mean(dim=2), z.mean(dim=2)))
    for i, site in enumerate(sites):
        site.rows, site.row_squares, site.row_means = rows[i], squares[i], means[i]
    _channels(sites, z)


def _channels(sites: list[Site], z: Rows) -> None:
    """Squared mean and variance of every channel over samples and places, both without bias, mean over channels."""
    count = z.shape[1]
    if count < 2 or z.shape[2] == 0 or not any(site.kind in CHANNELLED for site in sites):
        return
    variance = z.var(dim=1)
    mean_square = z.mean(dim=1).square() - variance / count
    both = torch.stack([mean_square.mean(dim=1), variance.mean(dim=1)]).double().tolist()
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
    if isinstance(stack, LayerStack):
        found = measure.sample_correlations(stack)
    else:
        found = [measure.sample_correlation(stack)]
    for site, c in zip(sites, found):
        site.values |= {"correlation": c.mean, "correlation_se": c.se}
        if cosines:
            site.values["cosines"] = upper_triangle(c.cosine)


def _spectra(sites: list[Site], rows: Rows, samples: int) -> None:
    """Effective rank and isometry gap of every site that has a law."""
    if sites[0].kind in LAWLESS or rows.shape[1] < 2 or rows.shape[2] == 0:
        return
    few = rows[:, :: -(-rows.shape[1] // samples)].cpu().numpy().astype(np.float64)
    for site, (rank, gap) in zip(sites, spectra(few)):
        if not math.isnan(rank):
            site.values |= {"effective_rank": rank, "isometry_gap": gap}


def spectra(rows: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Effective rank and isometry gap of the samples' Gram matrix of every layer, from one decomposition.

    The gap is −log of the geometric over the arithmetic mean of the eigenvalues; where an eigenvalue nears the
    rounding of the product, the singular values decide (``measure.isometry_gap``). NaN where an entry is not
    finite.
    """
    ranks, x, share = _decomposed(rows)
    samples, units = rows.shape[1:]
    known = np.greater(ranks, 0.0)
    gaps = np.where(known, math.inf, math.nan)
    if units >= samples:
        # an eigenvalue is known to 1 % there, which its logarithm divided by k hardly sees
        sure = known & (share[:, 0] > 1e-13)
        gaps[sure] = -np.log(share[sure] * samples).mean(axis=1).clip(max=0.0)
        doubtful = known & ~sure
        if doubtful.any():
            gaps[doubtful] = measure.isometry_gap(torch.from_numpy(x[doubtful])).numpy()
    return list(zip(ranks, gaps.tolist()))


def effective_ranks(rows: NDArray[np.float64]) -> list[float]:
    """Effective rank of the samples' Gram matrix of every layer: exp of the entropy of its eigenvalues' shares.

    NaN where an entry is not finite, 0 where all are zero.

    Examples
    --------
    >>> [round(rank, 6) for rank in effective_ranks(np.stack([np.eye(3), np.ones((3, 3)), np.zeros((3, 3))]))]
    [3.0, 1.0, 0.0]
    """
    return _decomposed(rows)[0]


def _decomposed(rows: NDArray[np.float64]) -> tuple[list[float], NDArray[np.float64], NDArray[np.float64]]:
    """Effective ranks, the rows divided by their largest entry, and the shares of the eigenvalues, smallest first."""
    scale = np.abs(rows).max(axis=(1, 2))
    fine = np.isfinite(scale) & (scale > 0.0)
    x = np.where(fine[:, None, None], rows, 0.0) / np.where(fine, scale, 1.0)[:, None, None]
    turned = x.transpose(0, 2, 1)
    # of fewer units than samples the units' own matrix has the same spectrum, but for zeros
    gram = x @ turned if x.shape[1] <= x.shape[2] else turned @ x
    values = np.linalg.eigvalsh(gram).clip(0.0)
    total = values.sum(axis=1)
    share = values / np.where(fine, total, 1.0)[:, None]
    logs = np.log(share, out=np.zeros_like(share), where=share > 0.0)
    ranks = np.exp(-(share * logs).sum(axis=1))
    return np.where(fine, ranks, np.where(scale == 0.0, 0.0, np.nan)).tolist(), x, share
