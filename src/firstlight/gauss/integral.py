"""E f(mean + std·G) for many (mean, std) at once, by panels that split at kinks and refine where needed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.gauss._arguments import expect_function, numbers
from firstlight.gauss._rules import rule
from firstlight.gauss._shared import EDGE_SHARE, many_gaussians, one_gaussian, one_value

Scalars = float | Tensor
_DOING = "integrating over a Gaussian"

# Panel edges in units of the standard deviation; past 9 a Gaussian weight leaves 2e-18 of a fourth power.
_EDGES = (-9.0, -5.5, -3.2, -1.5, 0.0, 1.5, 3.2, 5.5, 9.0)
_FURTHER = (9.0, *(11.0 + 2 * i for i in range(14)), 38.5)
_NORM = 1 / math.sqrt(2 * math.pi)
_SPLIT = 4
_ROUNDS = 28
_MOST_PANELS = 100_000
_RTOL = 1e-13


@dataclass(frozen=True, eq=False)
class Integral:
    """Gaussian expectations with what is known about their accuracy.

    Attributes
    ----------
    value
        E f(mean + std·G), float64, in the shape of mean and std together (after f's own axis, if any).
    error
        Estimated absolute error, same shape.
    evaluations
        How many times f was evaluated, over all pairs.
    converged
        Whether the estimate is below the requested tolerance for every pair.
    """

    value: Tensor
    error: Tensor
    evaluations: int
    converged: bool


def edges_of(mean: Tensor, std: Tensor, kinks: Sequence[float]) -> Tensor:
    """Panel edges of each pair in units of its standard deviation, sorted; (pairs, edges)."""
    base = torch.tensor(_EDGES, dtype=torch.float64)
    parts = [base.expand(len(mean), -1)]
    points = _within(kinks, mean, std)
    widest = float(std.abs().max()) if len(std) else 0.0
    if widest > 1.5:
        # An activation lives on scales near 1: grade towards zero where the Gaussian is wide.
        reach = 0.75 * 2.0 ** torch.arange(0, math.ceil(math.log2(widest * 3)) + 1, dtype=torch.float64)
        graded = torch.cat([-reach, reach])
        keep = graded.abs() < 2.5 * std.abs()[:, None]
        parts.append(((torch.where(keep, graded, math.inf * graded.sign())) - mean[:, None]) / std[:, None])
    if points:
        parts.append((torch.tensor(points, dtype=torch.float64) - mean[:, None]) / std[:, None])
    if len(parts) == 1:
        return parts[0]
    # A zero standard deviation puts a kink at ±inf or NaN: it then only makes an empty panel.
    edges = torch.nan_to_num(torch.cat(parts, 1), nan=_EDGES[-1]).clamp(_EDGES[0], _EDGES[-1])
    return edges.sort(1).values


def _within(kinks: Sequence[float], mean: Tensor, std: Tensor) -> list[float]:
    """The kinks that are inside the range of at least one Gaussian."""
    if len(kinks) < 32 or len(mean) == 0:
        return list(kinks)
    reach = _EDGES[-1] * std.abs()
    low, high = float((mean - reach).min()), float((mean + reach).max())
    return [k for k in kinks if low <= k <= high]


class _Work:
    """Running sums of one call: value, error and total of |f| per pair."""

    def __init__(self, f: Callable[[Tensor, Tensor], Tensor], pairs: int) -> None:
        self.f, self.pairs = f, pairs
        self.rule = rule()
        self.evaluations = 0
        self.value: Tensor | None = None
        self.error = self.total = torch.zeros(0)

    def panels(self, low: Tensor, high: Tensor, owner: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Integral, error estimate and integral of |f| on panels, and |f·weight| at their outermost nodes."""
        half = (high - low) * 0.5
        g = torch.addcmul(((high + low) * 0.5)[:, None], half[:, None], self.rule.nodes)
        y = self.f(g, owner)
        self.evaluations += g.numel()
        weighted = y * torch.exp(g * g * -0.5).mul_(half[:, None] * _NORM)
        size = weighted.abs()
        total = size @ self.rule.weights
        if not bool(torch.isfinite(total).all()):
            bad = torch.nonzero(~torch.isfinite(y.reshape(-1, *g.shape)).all(0))
            at, got = (g[tuple(bad[0])], "NaN or infinity") if len(bad) else (g.abs().max(), "overflow")
            raise DomainError(
                f"while {_DOING}: expected finite values, got {got} at {float(at):.6g} "
                "standard deviations; the activation is undefined there, or grows faster than the Gaussian "
                "decays, and then its moment is not a finite number at this variance"
            )
        tail = (weighted @ self.rule.tail).abs().amax(-1)
        # The Gauss rule converges about twice as fast as its series; 1.5 leaves a margin, and the factor
        # covers kinks, where both go down as powers.
        error = 4 * tail * (tail / total.clamp_min(1e-300)).clamp_max(1.0).sqrt()
        return weighted @ self.rule.weights, error, total, size[..., (0, -1)]

    def add(self, owner: Tensor, value: Tensor, error: Tensor, total: Tensor) -> None:
        """Add panels to the sums of their pairs."""
        if self.value is None:
            shape = (*value.shape[:-1], self.pairs)
            self.value, self.error, self.total = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
        for sums, part in ((self.value, value), (self.error, error), (self.total, total)):
            sums.index_add_(-1, owner, part)


@clean
def integrate(
    f: Callable[[Tensor], Tensor],
    mean: Scalars,
    std: Scalars,
    *,
    kinks: Sequence[float] = (),
    rtol: float = _RTOL,
    even: bool = False,
) -> Integral:
    r"""Integrate f over Gaussians with given means and standard deviations.

    .. math:: E f(m + s G) = \int f(m + s g)\, e^{-g^2/2}\, dg / \sqrt{2π}

    Panels of 24 Gauss–Legendre nodes end at every kink. A panel whose Legendre series is not resolved is split in
    four until the estimated error falls below ``rtol · E|f|``. So an undeclared kink or a steep function costs time
    and not accuracy. There is one exception: a kink in the last 0.2 % of a panel, beyond its last node, may cost
    5e-6 std. Declare kinks, or let ``find_kinks`` find them. Tails are extended as far as f needs.

    Parameters
    ----------
    f
        Entry-by-entry function of a float64 tensor of shape (a, b); may return (k, a, b) for k functions.
    mean, std
        Numbers or tensors that broadcast; std ≥ 0.
    kinks
        Points where f or a derivative of it jumps.
    rtol
        Tolerance relative to E|f|.
    even
        f is even and every mean is zero: half of the panels are enough.

    Raises
    ------
    DomainError
        A negative or non-finite mean or std, f not finite, or a moment that diverges.

    Examples
    --------
    >>> import torch
    >>> from firstlight import gauss
    >>> result = gauss.integrate(torch.relu, 0.0, 1.0, kinks=(0.0,))
    >>> round(float(result.value), 12), result.converged
    (0.398942280401, True)
    """
    expect_function(_DOING, f)
    times = 2.0 if even else 1.0
    with torch.no_grad():
        plain = isinstance(mean, (float, int)) and isinstance(std, (float, int))
        if plain and math.isfinite(mean) and 0 < std < math.inf:
            found = one_gaussian(f, float(mean), float(std), kinks=kinks, rtol=rtol, even=even)
            if found is not None:
                return Integral(*found, True)
        means, stds = torch.broadcast_tensors(*numbers(_DOING, mean=mean, std=std))
        if not bool((torch.isfinite(stds) & (stds >= 0) & torch.isfinite(means)).all()):
            raise DomainError(
                "while integrating over a Gaussian: expected finite means and standard deviations ≥ 0, got "
                f"mean {means.flatten()[:4].tolist()} and std {stds.flatten()[:4].tolist()}; "
                "take the square root of a variance that is not negative"
            )
        result = _of_pairs(f, means.reshape(-1), stds.reshape(-1), kinks, rtol, even)
    shape, leading = means.shape, result.value.shape[:-1]
    return Integral(
        times * result.value.reshape((*leading, *shape)),
        times * result.error.reshape((*leading, *shape)),
        result.evaluations,
        result.converged,
    )


def _of_pairs(
    f: Callable[[Tensor], Tensor], m: Tensor, s: Tensor, kinks: Sequence[float], rtol: float, even: bool
) -> Integral:
    """One integral for each pair: on shared nodes where the mean is one, the rest by adaptive panels."""
    shared = None
    if len(m) and bool((m == m[0]).all()):
        shared = many_gaussians(f, float(m[0]), s, kinks=kinks, rtol=rtol, even=even)
        if shared is not None and shared.done.all():
            value, error = (torch.from_numpy(v) for v in (shared.value, shared.error))
            return Integral(value, error, shared.evaluations, True)
    left = torch.arange(len(m)) if shared is None else torch.from_numpy(np.flatnonzero(~shared.done))
    own_m, own_s = m[left], s[left]

    def at(g: Tensor, owner: Tensor) -> Tensor:
        x = torch.addcmul(own_m[owner][:, None], own_s[owner][:, None], g)
        y = f(x)
        if y.shape[-2:] != x.shape or y.ndim > 3:
            raise DomainError(
                f"while integrating: expected f to keep the shape {tuple(x.shape)} "
                f"(after one axis at most), got {tuple(y.shape)}; f must act entry by entry"
            )
        return y

    edges = edges_of(own_m, own_s, kinks)
    # kinks may be declared on one side of zero only
    result = integrate_panels(at, edges.clamp_min(0.0) if even else edges, rtol=rtol)
    if shared is None:
        return result
    value, error = (torch.from_numpy(v) for v in (shared.value, shared.error))
    value[..., left], error[..., left] = result.value, result.error
    return Integral(value, error, shared.evaluations + result.evaluations, result.converged)


def integrate_panels(
    f: Callable[[Tensor, Tensor], Tensor],
    edges: Float64[Tensor, "pairs edges"],
    *,
    rtol: float,
    floor: Tensor | None = None,
    most: int = _MOST_PANELS,
) -> Integral:
    """Integrate f(g, pair) over standard Gaussians g, one for each row of sorted panel edges.

    ``floor`` is the absolute error of each pair below which f is only rounding noise, ``most`` the number of panels
    that one round of splitting may add.
    """
    work = _Work(f, len(edges))
    if len(edges) == 0:
        empty = torch.zeros(0, dtype=torch.float64)
        return Integral(empty, empty, 0, True)
    lowest = torch.zeros(len(edges), dtype=torch.float64) if floor is None else floor
    converged = _run(work, edges, rtol, lowest, most)
    assert work.value is not None
    return Integral(work.value, work.error, work.evaluations, converged)


def _run(work: _Work, edges: Tensor, rtol: float, floor: Tensor, most: int) -> bool:
    """Evaluate the first panels, extend the tails, refine; true if the tolerance was met."""
    low, high = edges[:, :-1].reshape(-1), edges[:, 1:].reshape(-1)
    owner = torch.arange(work.pairs).repeat_interleave(edges.shape[1] - 1)
    wide = high > low
    if not bool(wide.all()):
        low, high, owner = low[wide], high[wide], owner[wide]
    value, error, total, ends = work.panels(low, high, owner)
    work.add(owner, value, error, total)
    parts: list[tuple[Tensor, ...]] = [(low, high, owner, value, error, total)]
    for side in (-1.0, 1.0):
        parts += _extend(work, side, low, high, owner, ends)
    if len(parts) > 1:
        low, high, owner = (torch.cat([p[i] for p in parts]) for i in range(3))
        value, error, total = (torch.cat([p[i] for p in parts], -1) for i in range(3, 6))
    for _ in range(_ROUNDS):
        # Rounding in the panel's own sum bounds what splitting can gain.
        limit = torch.maximum(rtol * work.total[..., owner], 1e-15 * total) + floor[owner]
        bad = error > limit
        if bad.ndim > 1:
            bad = bad.any(0)
        bad &= (high - low) > 1e-14 * torch.maximum(low.abs(), high.abs())
        count = int(bad.sum())
        if count == 0 or count * _SPLIT > most:
            break
        work.add(owner[bad], -value[..., bad], -error[..., bad], -total[..., bad])
        step = (high[bad] - low[bad])[:, None] / _SPLIT
        starts = low[bad][:, None] + step * torch.arange(_SPLIT, dtype=torch.float64)
        # The last panel ends exactly where its parent did, which may be a kink.
        high = torch.cat([starts[:, 1:], high[bad][:, None]], 1).reshape(-1)
        low, owner = starts.reshape(-1), owner[bad].repeat_interleave(_SPLIT)
        value, error, total, _ = work.panels(low, high, owner)
        work.add(owner, value, error, total)
    work.error.clamp_(min=0.0).add_(work.total, alpha=4e-16)
    return bool((work.error <= (rtol * work.total + floor).clamp(min=1e-300) * 10).all())


def _extend(
    work: _Work, side: float, low: Tensor, high: Tensor, owner: Tensor, ends: Tensor
) -> list[tuple[Tensor, ...]]:
    """Add panels past the first range for the pairs whose integrand has not died out there."""
    parts: list[tuple[Tensor, ...]] = []
    at_edge = (high == _EDGES[-1]) if side > 0 else (low == _EDGES[0])
    pairs, last = owner[at_edge], ends[..., at_edge, 1 if side > 0 else 0]
    for start, stop in itertools.pairwise(_FURTHER):
        alive = last > EDGE_SHARE * work.total[..., pairs]
        if alive.ndim > 1:
            alive = alive.any(0)
        if not bool(alive.any()):
            return parts
        pairs = pairs[alive]
        a, b = (start, stop) if side > 0 else (-stop, -start)
        lows, highs = (torch.full((len(pairs),), end, dtype=torch.float64) for end in (a, b))
        owners = pairs
        value, error, total, tips = work.panels(lows, highs, owners)
        work.add(owners, value, error, total)
        parts.append((lows, highs, owners, value, error, total))
        last = tips[..., 1 if side > 0 else 0]
    alive = last > EDGE_SHARE * work.total[..., pairs]
    if bool(alive.any()):
        raise DomainError(
            "while integrating over a Gaussian: expected an integrand that dies out, got one still alive at "
            f"{_FURTHER[-1]:g} standard deviations; the moment diverges: the activation grows faster "
            "than the Gaussian decays at this variance"
        )
    return parts


@clean
def expect(
    f: Callable[[Tensor], Tensor], mean: Scalars, std: Scalars, *, kinks: Sequence[float] = ()
) -> Tensor:
    r"""E f(mean + std·G) in float64, for tensors of means and standard deviations in one call.

    .. math:: E f(m + s G), \qquad G \sim N(0, 1)

    Parameters
    ----------
    f
        Entry-by-entry function of a float64 tensor.
    mean, std
        Numbers or tensors that broadcast; std ≥ 0.
    kinks
        Points where f or a derivative of it jumps: declared kinks cost one panel edge each, others are found
        by refinement.

    Returns
    -------
    Tensor
        float64, in the broadcast shape.

    Raises
    ------
    DomainError
        As ``integrate``, which also gives the error estimate.

    Examples
    --------
    >>> import torch
    >>> from firstlight import gauss
    >>> gauss.expect(lambda x: torch.relu(x) ** 2, 0.0, torch.tensor([1.0, 2.0]), kinks=(0.0,))
    tensor([0.5000, 2.0000], dtype=torch.float64)
    """
    if callable(f) and isinstance(mean, (float, int)) and isinstance(std, (float, int)):
        value = one_value(f, float(mean), float(std), tuple(kinks), _RTOL)
        if value is not None:
            return torch.scalar_tensor(value, dtype=torch.float64)
    return integrate(f, mean, std, kinks=kinks, rtol=_RTOL).value
