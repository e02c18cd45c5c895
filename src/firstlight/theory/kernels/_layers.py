"""All layers of a kernel on one tile of pairs, in place: the arithmetic that deep kernels spend their time on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from firstlight import activations
from firstlight.activations import Activation
from firstlight.theory.maps.pair_maps import pair_maps

# (covariances, gradient kernels or None, rows, columns): both tensors are overwritten.
Advance = Callable[[Tensor, Tensor | None, slice, slice], None]

_ONE = torch.ones((), dtype=torch.float64)
# Variances outside this range go the careful way, which never divides by them.
_SAFE = (1e-280, 1e280)


@dataclass(frozen=True, eq=False)
class LayerPlan:
    """What the layers after the first do to every pair: their scales, and the variances on both sides.

    Attributes
    ----------
    phi
        The activation.
    q1, q2
        Variances before layer 2, 3, …, and after the last, (layers + 1, inputs).
    sigma_w2, sigma_b2, own, branch
        Squared scales of weights, biases, identity path and weight path.
    normed
        Whether a normaliser gives φ unit variances.
    fan_in
        Units that feed each layer in the standard parametrisation; empty in the NTK one.
    """

    phi: Activation
    q1: Tensor
    q2: Tensor
    sigma_w2: float
    sigma_b2: float
    own: float
    branch: float
    normed: bool
    fan_in: tuple[int, ...]

    @property
    def layers(self) -> int:
        """How many."""
        return len(self.q1) - 1

    @property
    def regular(self) -> bool:
        """Weights act, and no variance is zero or so large that products of two overflow."""
        low, high = _SAFE
        return self.sigma_w2 > 0 and all(bool(((q > low) & (q < high)).all()) for q in (self.q1, self.q2))


def advance(plan: LayerPlan) -> Advance:
    """The way through all layers: in place for piecewise linear activations and erf, else by pair maps."""
    if plan.phi.degree == 1.0 and plan.regular:
        return _Bent(plan)
    form = activations.closed_form(plan.phi)
    if plan.phi.name == "erf" and form is not None and not plan.normed and plan.regular:
        return _Erf(plan)
    return _Mapped(plan)


class _Outer:
    """Factors f_i g_j of a tile, kept as a number where all are equal."""

    def __init__(self, left: Tensor, right: Tensor) -> None:
        self.left, self.right = left, right
        ends = [float(v) for side in (left, right) for v in side.aminmax()]
        self.flat = bool(max(ends[1], ends[3]) - min(ends[0], ends[2]) <= 4e-16 * max(ends[1], ends[3]))
        self.number = float(left[0]) * float(right[0])

    def times(self, x: Tensor, rows: slice, columns: slice) -> Tensor:
        if self.flat:
            return x if self.number == 1.0 else x.mul_(self.number)
        return x.mul_(self.left[rows, None]).mul_(self.right[columns])

    def added(self, x: Tensor, rows: slice, columns: slice) -> Tensor:
        if self.flat:
            return x if self.number == 0.0 else x.add_(self.number)
        return x.addcmul_(self.left[rows, None], self.right[columns])


class _Bent:
    r"""φ = a·z + b·|z| in correlations: K = √(q q') c and Θ = √(q q') t, so that most factors cancel.

    .. math:: E φφ = \sqrt{q q'}\,[c\,S(c) + g \sqrt{1-c^2}], \quad S = a^2 + g \arcsin c, \quad g = 2b^2/π
    """

    def __init__(self, plan: LayerPlan) -> None:
        self.plan = plan
        at = plan.phi(torch.tensor([1.0, -1.0], dtype=torch.float64)).tolist()
        self.a, self.b = (at[0] - at[1]) / 2, (at[0] + at[1]) / 2
        roots = plan.q1.sqrt(), plan.q2.sqrt()
        seen = [torch.ones_like(r[:-1]) if plan.normed else r[:-1] for r in roots]
        w, b = math.sqrt(plan.branch * plan.sigma_w2), math.sqrt(plan.branch * plan.sigma_b2)

        def outer(top: tuple[Tensor, ...], factor: float) -> list[_Outer]:
            left, right = (factor * t / r[1:] for t, r in zip(top, roots))
            return [_Outer(x, y) for x, y in zip(left, right)]

        ones = tuple(torch.ones_like(r[1:]) for r in roots)
        self.start = _Outer(1 / roots[0][0], 1 / roots[1][0])
        self.end = _Outer(roots[0][-1], roots[1][-1])
        self.weights, self.bias = outer(tuple(seen), w), outer(ones, b)
        self.kept = outer(tuple(r[:-1] for r in roots), math.sqrt(plan.own))
        self.units = outer(ones, math.sqrt(plan.branch))

    def __call__(self, k: Tensor, theta: Tensor | None, rows: slice, columns: slice) -> None:
        at, plan = (rows, columns), self.plan
        g, a2 = 2 / math.pi * self.b**2, torch.full((), self.a**2, dtype=torch.float64)
        c, t = self.start.times(k, *at), None if theta is None else self.start.times(theta, *at)
        slope, root, old = (torch.empty_like(c) for _ in range(3))
        for i in range(plan.layers):
            c.clamp_(-1.0, 1.0)
            if plan.own:
                old.copy_(c)
            torch.addcmul(_ONE, c, c, value=-1, out=root).sqrt_()
            torch.add(a2, torch.asin(c, out=slope), alpha=g, out=slope)
            if self.weights[i].flat:
                # one factor for all pairs: one pass instead of four
                f = self.weights[i].number
                c.mul_(slope.mul_(f)).add_(root, alpha=g * f)
            else:
                self.weights[i].times(c.mul_(slope).add_(root, alpha=g), *at)
                self.weights[i].times(slope, *at)
            if t is not None:
                if plan.own:
                    self.kept[i].times(root.copy_(t), *at)
                t.mul_(slope)
                if plan.own:
                    t.add_(root)
                if plan.fan_in:
                    t.add_(c, alpha=plan.fan_in[i] / plan.sigma_w2)
                    self.units[i].added(t, *at)
            self.bias[i].added(c, *at)
            if t is not None and not plan.fan_in:
                t.add_(c)
            if plan.own:
                c.add_(self.kept[i].times(old, *at))
        self.end.times(c, *at)
        if t is not None:
            self.end.times(t, *at)


class _Erf:
    r"""The error function: K' = σ_w²(2/π) arcsin ρ + σ_b², ρ = 2K/√((1 + 2q)(1 + 2q'))."""

    def __init__(self, plan: LayerPlan) -> None:
        self.plan = plan
        left, right = (torch.sqrt(2 / (1 + 2 * q[:-1])) for q in (plan.q1, plan.q2))
        self.rho = [_Outer(x, y) for x, y in zip(left, right)]

    def __call__(self, k: Tensor, theta: Tensor | None, rows: slice, columns: slice) -> None:
        at, plan = (rows, columns), self.plan
        scale = 2 / math.pi * plan.branch * plan.sigma_w2
        bias = torch.full((), plan.branch * plan.sigma_b2, dtype=torch.float64)
        root, old = torch.empty_like(k), torch.empty_like(k)
        for i in range(plan.layers):
            if plan.own:
                old.copy_(k)
            self.rho[i].times(k, *at)
            torch.addcmul(_ONE, k, k, value=-1, out=root).sqrt_()
            k.asin_()
            if theta is not None:
                if plan.own:
                    torch.div(theta, root, out=root)
                    self.rho[i].times(root, *at)
                    theta.mul_(plan.own).add_(root, alpha=scale)
                else:
                    self.rho[i].times(theta.div_(root), *at).mul_(scale)
                if plan.fan_in:
                    theta.add_(k, alpha=2 / math.pi * plan.branch * plan.fan_in[i]).add_(plan.branch)
            torch.add(bias, k, alpha=scale, out=k)
            if theta is not None and not plan.fan_in:
                theta.add_(k)
            if plan.own:
                k.add_(old, alpha=plan.own)


class _Mapped:
    """Any activation, by a map of pairs for each layer."""

    def __init__(self, plan: LayerPlan) -> None:
        self.plan = plan
        q1, q2 = ([q[:, None] for q in plan.q1[:-1]], [q[None] for q in plan.q2[:-1]])
        if plan.normed:
            ones = [torch.ones_like(q[0]) for q in (q1, q2)]
            self.maps = pair_maps(plan.phi, *([one] for one in ones)) * plan.layers
            self.scales = [(torch.rsqrt(u), torch.rsqrt(v)) for u, v in zip(q1, q2)]
        else:
            self.maps = pair_maps(plan.phi, q1, q2)

    def __call__(self, k: Tensor, theta: Tensor | None, rows: slice, columns: slice) -> None:
        plan = self.plan
        for i, step in enumerate(self.maps):
            seen, scale = k, None
            if plan.normed:
                u, v = self.scales[i]
                scale = u[rows] * v[:, columns]
                seen = k * scale
            dual, slope = step(seen, rows, columns, theta is not None)
            if theta is not None and slope is not None:
                slope = slope.mul_(plan.branch * plan.sigma_w2)
                if scale is not None:
                    slope.mul_(scale)
                theta.mul_(slope.add_(plan.own) if plan.own else slope)
                if plan.fan_in:
                    theta.add_(dual, alpha=plan.branch * plan.fan_in[i]).add_(plan.branch)
            dual.mul_(plan.branch * plan.sigma_w2).add_(plan.branch * plan.sigma_b2)
            if theta is not None and not plan.fan_in:
                theta.add_(dual)
            torch.add(dual, k, alpha=plan.own, out=k) if plan.own else k.copy_(dual)
