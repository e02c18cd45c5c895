"""Pair moments of functions with kinks by Hermite series, which correlations below 1 end, and what jumps add."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from firstlight import gauss
from firstlight.activations._symmetry import Function
from firstlight.activations.activation import Activation
from firstlight.errors import DomainError

# Functions with more kinks than this have their pair moments by Hermite series of these orders. A remainder below the
# first share of √(E f² E f²) is nothing, one above the second is refused.
_MANY_KINKS, _ORDERS = 24, (128, 512, 2048)
_ENDED, _ACCEPTED = 1e-13, 1e-5
# Series of this order cost about as much as one pair by quadrature over both Gaussians.
_AS_ONE_PAIR = 180
_CHUNK = 4_000_000
# Jumps further out than this many standard deviations are not met.
_SEEN = 9.0


def by_series(f: Function, kinks: tuple[float, ...], a: Tensor, b: Tensor, c: Tensor) -> Tensor | None:
    """A pair moment of a function with many kinks by its Hermite series; None for one with few.

    What the series leaves is bounded by its remainder at c = 1 times |c|^(order + 1); quadrature over both Gaussians
    would take a time that grows with the square of the kinks.

    Raises
    ------
    DomainError
        If the series does not end soon enough for correlations so near 1.
    """
    reach = 9 * float(torch.maximum(a, b).max().sqrt()) if a.numel() else 0.0
    inside = tuple(k for k in kinks if abs(k) <= reach)
    if len(inside) <= _MANY_KINKS:
        return None
    flat = c.reshape(-1)
    if bool((ends := flat.abs() == 1).any()):
        value = torch.empty_like(flat)
        one, other = (v.expand(c.shape).reshape(-1) for v in (a, b))
        value[ends] = _on_a_line(f, inside, one[ends], other[ends], flat[ends])
        if not bool(ends.all()):
            rest = by_series(f, kinks, one[~ends], other[~ends], flat[~ends])
            if rest is None:  # the widest Gaussians were those on a line
                return None
            value[~ends] = rest
        return value.reshape(c.shape)
    sides = _Sides.of(f, inside, a, b)
    for order in _ORDERS:
        tables = sides.tables(order)
        left = sides.left(tables, flat, order)
        if float(left.max()) <= _ENDED:
            break
    if float(left.max()) > _ACCEPTED:
        raise DomainError(
            f"expected a series that ends, got a remainder of {float(left.max()):.2g} at correlation "
            f"{float(flat[int(left.argmax())]):.6g} with {len(inside)} kinks; the activation is too rough for "
            "inputs that are so alike; smooth the activation or ask for smaller correlations"
        )
    return sides.sums(tables, flat).reshape(c.shape)


def _on_a_line(f: Function, kinks: tuple[float, ...], a: Tensor, b: Tensor, sign: Tensor) -> Tensor:
    """E f(√a G) f(±√b G), a mean over one Gaussian."""
    found, which = torch.unique(torch.stack([a, b, sign], 1), dim=0, return_inverse=True)
    values = torch.empty(len(found), dtype=torch.float64)
    for i, (p, q, s) in enumerate(found.tolist()):
        u, v = p**0.5, s * q**0.5
        at = sorted({k / w for k in kinks for w in (u, v)})
        values[i] = gauss.integrate(partial(_product, f, u, v), 0.0, 1.0, kinks=at, rtol=1e-11).value
    return values[which]


def _product(f: Function, u: float, v: float, g: Tensor) -> Tensor:
    return f(u * g) * f(v * g)


def ended_series(
    f: Function, kinks: tuple[float, ...], a: Tensor, b: Tensor, c: Tensor, *, slow: bool
) -> tuple[Tensor, Tensor]:
    """A pair moment by Hermite series, and where its remainder is something; a series that costs more is not made.

    With ``slow``, quadrature over both Gaussians is taken for slow: φ has an infinite slope.
    """
    flat, value = c.reshape(-1), torch.zeros(c.numel(), dtype=torch.float64)
    done = torch.zeros(len(flat), dtype=torch.bool)
    sides = _Sides.of(f, kinks, a, b)
    for order in _ORDERS:
        if bool(done.all()) or not (slow or sides.count * order < _AS_ONE_PAIR * int((~done).sum())):
            break
        tables = sides.tables(order)
        ended = (sides.left(tables, flat, order) <= _ENDED) & ~done
        value[ended] = sides.at(ended).sums(tables, flat[ended])
        done |= ended
    return value.reshape(c.shape), ~done.reshape(c.shape)


def of_jumps(phi: Activation, s1: Tensor, s2: Tensor, rho: Tensor) -> Tensor:
    """What jumps add to the derivative by the covariance: each with φ' of the other side, and each with each."""
    rest = torch.sqrt((1 - rho) * (1 + rho))
    reach = _SEEN * float(torch.maximum(s1, s2).max()) if rho.numel() else 0.0
    seen = [i for i, t in enumerate(phi.jumps) if abs(t) <= reach]
    shape = (-1, *(1,) * rho.ndim)
    at = torch.tensor([phi.jumps[i] for i in seen], dtype=torch.float64).reshape(shape)
    heights = torch.tensor([phi.heights[i] for i in seen], dtype=torch.float64).reshape(shape)
    total = torch.zeros_like(rho)
    for one, other in ((s1, s2), (s2, s1)) if phi.slope is not torch.zeros_like and len(seen) else ():
        given = gauss.expect(
            phi.derivative, rho * other * at / one, (other * rest).expand_as(at * rho), kinks=phi.kinks
        )
        total = total + (heights * _normal(at / one) / one * given).sum(0)
    for t, height in zip(at, heights):
        x, y = t / s1, at / s2
        # (x² − 2cxy + y²)/(1 − c²) without the cancellation near c = ±1
        apart = ((y - rho * x) / rest).nan_to_num(0.0)
        both = _normal(x) / s1 * torch.exp(-0.5 * apart**2) / (math.sqrt(2 * math.pi) * s2 * rest)
        far = (rest == 0) & ((y - rho * x).abs() > 1e-12 * (1 + x.abs()))
        total = total + height * (heights * torch.where(far, 0.0, both)).sum(0)
    return total


def _normal(x: Tensor) -> Tensor:
    return torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


@dataclass(frozen=True, eq=False)
class _Sides:
    """f, its kinks, the different variances of both sides and which of them each pair has."""

    f: Function
    kinks: tuple[float, ...]
    variances: tuple[Tensor, Tensor]
    which: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, f: Function, kinks: tuple[float, ...], a: Tensor, b: Tensor) -> _Sides:
        (u, i), (v, j) = (torch.unique(q.reshape(-1), return_inverse=True) for q in (a, b))
        return cls(f, kinks, (u, v), (i, j))

    @cached_property
    def squares(self) -> list[Tensor]:
        return [
            gauss.integrate(lambda x: self.f(x) ** 2, 0.0, v.sqrt(), kinks=self.kinks).value
            for v in self.variances
        ]

    @property
    def count(self) -> int:
        """Of different variances."""
        return sum(len(v) for v in (self.variances[:1] if self._alike else self.variances))

    @property
    def _alike(self) -> bool:
        return torch.equal(*self.variances)

    def at(self, chosen: Tensor) -> _Sides:
        """The same for some pairs."""
        return replace(self, which=(self.which[0][chosen], self.which[1][chosen]))

    def tables(self, order: int) -> list[Tensor]:
        made = [gauss.hermite_coefficients(self.f, self.variances[0], order, kinks=self.kinks)]
        if self._alike:
            return [*made, *made]
        return [*made, gauss.hermite_coefficients(self.f, self.variances[1], order, kinks=self.kinks)]

    def left(self, tables: list[Tensor], c: Tensor, order: int) -> Tensor:
        """A bound of what series of this order leave of each pair, as a share of √(E f² E f²)."""
        rests = [
            (s - (t * t).sum(1)).clamp_min(0)[i]
            for s, t, i in zip(self.squares, tables, self.which, strict=True)
        ]
        size = torch.sqrt(self.squares[0][self.which[0]] * self.squares[1][self.which[1]]).clamp_min(1e-300)
        return (rests[0] * rests[1]).sqrt() * c.abs() ** (order + 1) / size

    def sums(self, tables: list[Tensor], c: Tensor) -> Tensor:
        """The series of each pair."""
        degrees = torch.arange(tables[0].shape[1], dtype=torch.float64)
        pieces = zip(*(v.split(max(1, _CHUNK // len(degrees))) for v in (c, *self.which)), strict=True)
        return torch.cat([(tables[0][i] * tables[1][j] * x[:, None] ** degrees).sum(1) for x, i, j in pieces])
