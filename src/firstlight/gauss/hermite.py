"""Hermite coefficients of f(√q·G): the expansion in which correlations act as powers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.errors import ArgumentError, DomainError
from firstlight.gauss._arguments import expect_function, numbers
from firstlight.gauss._rules import rule
from firstlight.gauss.integral import Scalars, edges_of

_REACH = 13.0
_ROUNDS = 40
# Values of all polynomials that are kept for one product: 80 MB.
_MOST_AT_ONCE = 10_000_000


@clean
def hermite_coefficients(
    f: Callable[[Tensor], Tensor], q: Scalars, order: int, *, kinks: Sequence[float] = ()
) -> Float64[Tensor, "*shape k"]:
    r"""Coefficients of f(√q G) in normalised Hermite polynomials.

    .. math:: a_k = E\, f(\sqrt q\, G)\, \mathrm{He}_k(G)/\sqrt{k!}, \qquad
        E f(\sqrt q\, u) f(\sqrt q\, v) = \sum_k a_k^2 c^k

    Parameters
    ----------
    f
        Entry-by-entry function of a float64 tensor, E f² finite.
    q
        Variances, number or tensor.
    order
        Highest degree; the recursion is stable for thousands.
    kinks
        Points where f or a derivative of it jumps.

    Returns
    -------
    Tensor
        Shape ``q.shape + (order + 1,)``.

    Raises
    ------
    DomainError
        q negative, order negative, or f not finite.
    ArgumentError
        Something else than a function, numbers and a whole number.

    Examples
    --------
    >>> import torch
    >>> from firstlight import gauss
    >>> gauss.hermite_coefficients(lambda x: x**2, 1.0, 3).round(decimals=6) + 0.0
    tensor([1.0000, 0.0000, 1.4142, 0.0000], dtype=torch.float64)
    """
    doing = "expanding in Hermite polynomials"
    expect_function(doing, f)
    (variances,) = numbers(doing, q=q)
    if not isinstance(order, int):
        raise ArgumentError(
            f"while {doing}: expected order to be a whole number, got a {type(order).__name__}"
        )
    if order < 0 or not bool(((variances >= 0) & torch.isfinite(variances)).all()):
        raise DomainError(
            "while expanding in Hermite polynomials: expected finite q ≥ 0 and order ≥ 0, got "
            f"q = {variances.flatten()[:4].tolist()}, order = {order}"
        )
    flat = variances.reshape(-1)
    if len(flat) == 0:
        return torch.zeros(*variances.shape, order + 1, dtype=torch.float64)
    with torch.no_grad():
        if kinks:
            # A kink sits at another place in g for every variance.
            result = torch.cat([_shared(f, v[None], order, kinks) for v in flat])
        else:
            result = _shared(f, flat, order, kinks)
    return result.reshape(*variances.shape, order + 1)


def _shared(f: Callable[[Tensor], Tensor], q: Tensor, order: int, kinks: Sequence[float]) -> Tensor:
    """Coefficients (variances, order + 1) on the nodes that resolve the largest variance, the steepest one."""
    g, weights = _sampled(f, math.sqrt(float(q.max())), order, kinks)
    weighted = f(q.sqrt()[:, None] * g) * weights
    # ψ_k = He_k/√k! · e^{−g²/4} stays bounded, and f takes the other half of the Gaussian weight.
    before, now = torch.zeros_like(g), torch.exp(-g * g / 4)
    if len(g) * order > _MOST_AT_ONCE:
        found = torch.empty(len(q), order + 1, dtype=torch.float64)
        for k in range(order + 1):
            found[:, k] = weighted @ now
            before, now = now, (g * now - math.sqrt(k) * before) / math.sqrt(k + 1)
        return found
    psi = torch.empty(order + 1, len(g), dtype=torch.float64)
    for k in range(order + 1):
        psi[k] = now
        before, now = now, (g * now - math.sqrt(k) * before) / math.sqrt(k + 1)
    return weighted @ psi.T


def _sampled(
    f: Callable[[Tensor], Tensor], std: float, order: int, kinks: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Nodes g and weights of ∫ · e^{−g²/4} dg/√(2π), on panels that resolve f(std·g)."""
    r = rule()
    count = 2 * math.ceil(_REACH * max(1.0, math.sqrt(order) / 8) / 2)
    grid = torch.linspace(-_REACH, _REACH, count + 1, dtype=torch.float64)
    own = edges_of(torch.zeros(1, dtype=torch.float64), torch.tensor([std], dtype=torch.float64), kinks)[0]
    edges = torch.cat([grid, own]).unique() if kinks or std > 1.5 else grid
    low, high = edges[:-1], edges[1:]
    nodes, weights = [], []
    scale = 0.0
    for turn in range(_ROUNDS):
        half = (high - low)[:, None] / 2
        g = (high + low)[:, None] / 2 + half * r.nodes
        w = half * r.weights * torch.exp(-g * g / 4) / math.sqrt(2 * math.pi)
        y = f(std * g)
        if not bool(torch.isfinite(y).all()):
            raise DomainError(
                "while expanding in Hermite polynomials: expected finite values, got NaN or infinity for "
                f"|z| ≤ {_REACH * std:.6g}; the activation is undefined there or grows too fast"
            )
        y = y * torch.exp(-g * g / 4) / math.sqrt(2 * math.pi)
        mass = half[:, 0] * (y.abs() @ r.weights)
        scale = max(scale, float(mass.sum()))
        tail = half[:, 0] * (y @ r.tail).abs().amax(-1)
        # The rule integrates twice the degree that the series shows: its error is near the tail's square.
        split = (tail > 1e-9 * scale) & (tail > 1e-13 * mass) & (half[:, 0] > 1e-14)
        if kinks == ():
            split |= (tail > 1e-12 * scale) & (tail > 3e-3 * mass)
        if turn == _ROUNDS - 1 or int(split.sum()) > 20_000:
            split = torch.zeros_like(split)
        done = ~split
        nodes.append(g[done].reshape(-1))
        weights.append(w[done].reshape(-1))
        if not bool(split.any()):
            break
        middle = (low[split] + high[split]) / 2
        low, high = torch.cat([low[split], middle]), torch.cat([middle, high[split]])
    return torch.cat(nodes), torch.cat(weights)
