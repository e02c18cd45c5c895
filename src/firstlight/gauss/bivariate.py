"""E f(u) g(v) for correlated Gaussians: an adaptive outer integral over exact inner ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.errors import ArgumentError, DomainError
from firstlight.gauss._arguments import expect_function, numbers
from firstlight.gauss.integral import Integral, Scalars, edges_of, integrate, integrate_panels

Function = Callable[[Tensor], Tensor]
_DOING = "integrating over correlated Gaussians"

# Pairs at once: each takes some 50 000 evaluations.
_CHUNK = 128
# Outer panels of a pair in one round: a function that is rounding noise would ask for more and more panels, and each
# node of a panel is an integral.
_MOST_OUTER = 1000


@clean
def integrate2(
    f: Function,
    g: Function,
    c: Scalars,
    *,
    std: tuple[Scalars, Scalars] = (1.0, 1.0),
    mean: tuple[Scalars, Scalars] = (0.0, 0.0),
    kinks: tuple[Sequence[float], Sequence[float]] = ((), ()),
    rtol: float = 1e-12,
) -> Integral:
    r"""Integrate f(u)·g(v) over bivariate Gaussians.

    .. math:: E\, f(u)\, g(v), \quad u = m_1 + s_1 G_1,\; v = m_2 + s_2 (c\,G_1 + \sqrt{1-c^2}\,G_2)

    Given G₁, the mean of g(v) is a one-dimensional Gaussian integral split at g's kinks; as a function of G₁
    it has features of width √(1−c²)/|c| at these kinks, where the outer panels are graded. Exact at c = ±1.

    Parameters
    ----------
    f, g
        Entry-by-entry functions of a float64 tensor.
    c
        Correlations in [−1, 1].
    std, mean
        Of u and of v; all broadcast together with c.
    kinks
        Of f and of g.
    rtol
        Tolerance relative to E|f(u) E[g(v)|u]|.

    Raises
    ------
    DomainError
        |c| > 1, or as ``integrate``.

    Examples
    --------
    >>> import torch
    >>> from firstlight import gauss
    >>> kinks = ((0.0,), (0.0,))
    >>> result = gauss.integrate2(torch.sign, torch.sign, 0.5, kinks=kinks)  # (2/π) arcsin c
    >>> round(float(result.value), 12)
    0.333333333333
    """
    expect_function(_DOING, f, g)
    values, shape = _checked(c, std, mean)
    rho, s1, s2, m1, m2 = values
    if len(rho) > _CHUNK:
        return _chunked(f, g, values, kinks, rtol, shape)
    rest = torch.sqrt((1 - rho) * (1 + rho))
    evaluations = 0
    powers = [
        integrate(_squared(h), m, s, kinks=k, rtol=1e-3).value.sqrt()
        for h, m, s, k in ((f, m1, s1, kinks[0]), (g, m2, s2, kinks[1]))
    ]
    floor = 1e-15 * powers[0] * powers[1]

    def at(x: Tensor, owner: Tensor) -> Tensor:
        nonlocal evaluations
        o = owner[:, None]
        given = integrate(
            g, m2[o] + s2[o] * rho[o] * x, (s2 * rest)[o].expand_as(x), kinks=kinks[1], rtol=0.1 * rtol
        )
        evaluations += given.evaluations
        return f(m1[o] + s1[o] * x) * given.value

    with torch.no_grad():
        most = _MOST_OUTER * len(rho)
        result = integrate_panels(at, _outer_edges(values, rest, kinks), rtol=rtol, floor=floor, most=most)
    return Integral(result.value.reshape(shape), result.error.reshape(shape), evaluations, result.converged)


def _two(name: str, values: Any) -> tuple[Any, Any]:
    try:
        first, second = values
    except (TypeError, ValueError):
        raise ArgumentError(
            f"while {_DOING}: expected {name} to be a pair, got a {type(values).__name__}"
        ) from None
    return first, second


def _checked(
    c: Scalars, std: tuple[Scalars, Scalars], mean: tuple[Scalars, Scalars]
) -> tuple[tuple[Tensor, ...], torch.Size]:
    """Flat correlations, standard deviations and means, and the shape they broadcast to."""
    (first_std, second_std), (first_mean, second_mean) = _two("std", std), _two("mean", mean)
    given = {"c": c, "std[0]": first_std, "std[1]": second_std, "mean[0]": first_mean, "mean[1]": second_mean}
    values = torch.broadcast_tensors(*numbers(_DOING, **given))
    rho, s1, s2, m1, m2 = flat = tuple(v.reshape(-1) for v in values)
    if not bool((rho.abs() <= 1).all()):
        raise DomainError(
            f"while integrating over correlated Gaussians: expected correlations in [−1, 1], got "
            f"{rho[~(rho.abs() <= 1)][:4].tolist()}; divide a covariance by both standard deviations"
        )
    if not bool(((s1 >= 0) & (s2 >= 0) & torch.isfinite(s1 + s2 + m1 + m2)).all()):
        raise DomainError(
            "while integrating over correlated Gaussians: expected finite means and standard deviations ≥ 0, "
            f"got std {s1[:4].tolist()} and {s2[:4].tolist()}; variances must not be negative"
        )
    return flat, values[0].shape


def _outer_edges(
    values: tuple[Tensor, ...], rest: Tensor, kinks: tuple[Sequence[float], Sequence[float]]
) -> Tensor:
    """Panel edges in G₁: those of f and of the mean of g, graded where g's kinks pass, (pairs, edges)."""
    rho, s1, s2, m1, m2 = values
    edges = [edges_of(m1, s1, kinks[0]), edges_of(m2, s2 * rho, kinks[1])]
    if len(kinks[1]):
        centre = (torch.tensor(list(kinks[1]), dtype=torch.float64) - m2[:, None]) / (s2 * rho)[:, None]
        width = (rest / rho.abs())[:, None, None]
        steps = torch.tensor([-9.0, -4.0, 4.0, 9.0], dtype=torch.float64)
        edges.append((centre[:, :, None] + width * steps).reshape(len(rho), -1))
    limits = float(edges[0][0, 0]), float(edges[0][0, -1])
    return torch.nan_to_num(torch.cat(edges, 1), nan=limits[1]).clamp(*limits).sort(1).values


def _chunked(
    f: Function,
    g: Function,
    at: tuple[Tensor, ...],
    kinks: tuple[Sequence[float], Sequence[float]],
    rtol: float,
    shape: torch.Size,
) -> Integral:
    """The same in parts, so that memory does not grow with the number of pairs."""
    parts = [
        integrate2(f, g, c, std=(a, b), mean=(m, n), kinks=kinks, rtol=rtol)
        for c, a, b, m, n in zip(*(v.split(_CHUNK) for v in at))
    ]
    return Integral(
        torch.cat([p.value for p in parts]).reshape(shape),
        torch.cat([p.error for p in parts]).reshape(shape),
        sum(p.evaluations for p in parts),
        all(p.converged for p in parts),
    )


def _squared(h: Function) -> Function:
    return lambda x: h(x) ** 2


@clean
def expect2(
    f: Function,
    g: Function,
    c: Scalars,
    *,
    std: tuple[Scalars, Scalars] = (1.0, 1.0),
    mean: tuple[Scalars, Scalars] = (0.0, 0.0),
    kinks: tuple[Sequence[float], Sequence[float]] = ((), ()),
) -> Tensor:
    r"""E f(u) g(v) for Gaussians u, v of correlation c; see ``integrate2``, which also estimates the error.

    Examples
    --------
    >>> import torch
    >>> from firstlight import gauss
    >>> gauss.expect2(torch.sin, torch.sin, torch.tensor([0.5, 1.0]))  # e^{-1} sinh c
    tensor([0.1917, 0.4323], dtype=torch.float64)
    """
    return integrate2(f, g, c, std=std, mean=mean, kinks=kinks).value
