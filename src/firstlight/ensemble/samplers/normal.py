"""Gaussian weights without a weight matrix: the next layer is Gaussian given the activations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.ensemble.samplers._draws import fill_normal
from firstlight.ensemble.samplers.base import Sampler, normals, project_out
from firstlight.ensemble.samplers.streamed import StreamedWeights

Route = Literal["norm", "qr", "direct"]


@dataclass(frozen=True)
class NormalWeights(Sampler):
    r"""Weights and biases with independent N(0,1) entries.

    Stack A = [σ_w/√n H; σ_b 1ᵀ]. With A = QR (thin), [W B] Q has independent N(0,1) entries E whatever the
    rank of A, so Z = E R, and the part of [W B] outside the span of Q is still fresh: given the forward pass,
    [W B]ᵀΔ = Q EᵀΔ + (1 − QQᵀ) G T with Δ = UT (thin QR) and fresh normals G. A Cholesky factor of AᵀA would
    fail where activations are nearly parallel or of very different size.

    Parameters
    ----------
    sigma_w, sigma_b
        Scales, ≥ 0.
    route
        ``"norm"`` (one input), ``"qr"``, ``"direct"`` (draw the matrix), or None: the cheapest for the shape.
    """

    sigma_w: float = 1.0
    sigma_b: float = 0.0
    route: Route | None = None

    def forward(
        self,
        h: Float[Tensor, "nets fan_in inputs"],
        fan_out: int,
        generator: torch.Generator,
        *,
        keep: bool = False,
    ) -> tuple[Float[Tensor, "nets fan_out inputs"], Any]:
        """Pre-activations, and what ``backward`` needs (None unless ``keep``)."""
        nets, fan_in, inputs = h.shape
        shared = nets > 1 and h.stride(0) == 0  # one matrix for all networks: the raw inputs
        route = self.route or cheapest(fan_in, fan_out, inputs, keep=keep, shared=shared)
        if route == "direct":
            direct = StreamedWeights(None, self.sigma_w, self.sigma_b)
            z, memo = direct.forward(h, fan_out, generator, keep=keep)
            return z, (direct, memo)
        if shared:
            h = h[:1]
        if route == "norm":
            v = self.conditional_variance(h)[:, None]
            if not keep and fan_out < nets and not shared:
                # networks next to each other in memory: scaling and summing then run along the longer axis
                z = fill_normal(h.new_empty(fan_out, nets), generator, scale=v[:, 0, 0].sqrt())
                return z.T[..., None], None
            e = normals((nets, fan_out, 1), h, generator)
            if not keep:
                return e.mul_(v.sqrt()), None
            a = self._stack(h)
            length = v.sqrt()
            # where A vanishes any unit vector spans it
            first = torch.zeros_like(a)
            first[:, 0] = 1
            q = torch.where(length > 0, a / length, first)
            return e * length, (q, e, fan_in)
        a = self._stack(h)
        q, r = torch.linalg.qr(a, mode="reduced" if keep else "r")
        # inputs by inputs in memory: then the next layer's QR copies nothing
        e = normals((nets, r.shape[-2], fan_out), h, generator)
        return (r.mT @ e).mT, (q, e.mT, fan_in) if keep else None

    def backward(
        self, memo: Any, delta: Float[Tensor, "nets fan_out inputs"], generator: torch.Generator
    ) -> Float[Tensor, "nets fan_in inputs"]:
        """Gradients by ``h`` from gradients by the pre-activations; call once per ``memo``."""
        if len(memo) == 2:
            direct, inner = memo
            return direct.backward(inner, delta, generator)
        q, e, fan_in = memo
        t = torch.linalg.qr(delta, mode="r").R
        fresh = normals((*q.shape[:2], t.shape[-2]), delta, generator) @ t
        grad = q @ (e.mT @ delta) + project_out(q, fresh)
        return grad[:, :fan_in] * (self.sigma_w / math.sqrt(fan_in))

    def conditional_variance(self, h: Float[Tensor, "nets fan_in inputs"]) -> Float[Tensor, "nets inputs"]:
        """Variance σ_w²|h|²/n + σ_b² of every next pre-activation given the activations."""
        if h.shape[2] == 1:
            # a matrix times a vector is the fastest way to sum short rows
            share = h.new_full((h.shape[1],), self.sigma_w**2 / h.shape[1])
            square = h[..., 0].square()
            # along contiguous columns where networks are next to each other, where MKL is twice as fast
            total = square @ share if square.is_contiguous() else share @ square.mT
            return total.add_(self.sigma_b**2)[:, None]
        return h.square().mean(dim=1).mul_(self.sigma_w**2).add_(self.sigma_b**2)

    def conditional_covariance(
        self, h: Float[Tensor, "nets fan_in inputs"]
    ) -> Float[Tensor, "nets inputs inputs"]:
        """Covariance σ_w² HᵀH/n + σ_b² of the rows of Z given the activations."""
        return (h.mT @ h).mul_(self.sigma_w**2 / h.shape[1]).add_(self.sigma_b**2)

    def _stack(self, h: Tensor) -> Tensor:
        a = h * (self.sigma_w / math.sqrt(h.shape[1]))
        if self.sigma_b == 0:
            return a
        return torch.cat([a, torch.full_like(a[:, :1], self.sigma_b)], dim=1)


# Cost of one network's layer in nanoseconds on one core, fitted to runs of benchmarks/bench_ensemble.py.
_NORMAL, _MULTIPLY, _CALL, _REFLECT, _COLUMN = 3.0, 0.04, 250.0, 0.16, 90.0


def cheapest(fan_in: int, fan_out: int, inputs: int, *, keep: bool = False, shared: bool = False) -> Route:
    """The fastest exact route for a layer of this shape; ``shared``: one H for all networks.

    Examples
    --------
    >>> from firstlight.ensemble.samplers.normal import cheapest
    >>> cheapest(1000, 1000, 1), cheapest(1000, 1000, 10), cheapest(10, 10, 10)
    ('norm', 'qr', 'direct')
    """
    if inputs == 1:
        return "norm"
    rank = min(fan_in, inputs)
    direct = fan_in * fan_out * (_NORMAL + _MULTIPLY * inputs) + _CALL
    factor = (
        0.0 if shared else _CALL + _COLUMN * rank + _REFLECT * fan_in * inputs * rank * (3 if keep else 1)
    )
    qr = factor + fan_out * rank * (_NORMAL + _MULTIPLY * inputs)
    return "qr" if qr < direct else "direct"
