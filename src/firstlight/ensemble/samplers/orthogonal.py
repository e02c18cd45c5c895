"""Haar-orthogonal weights without a matrix: the conditional law on the Stiefel manifold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.ensemble.samplers.base import Sampler, normals, project_out


@dataclass(frozen=True)
class OrthogonalWeights(Sampler):
    r"""√m times an n_out × n_in corner of a Haar matrix of size m = max(n_out, n_in), so that E W² = 1.

    With H = Q_H R (thin QR, any rank), W Q_H is √m times the first n_out rows of a uniform orthonormal
    frame S of r = min(n_in, inputs) vectors in ℝᵐ, so Z = σ_w √(m/n_in) S R + σ_b B. Given the forward pass
    the rest of the matrix is Haar between the complements: Wᵀ Δ = √m (Q_H SᵀΔ + F T), with T from a thin QR
    of the part of Δ outside S, and F a uniform frame orthogonal to Q_H.
    """

    sigma_w: float = 1.0
    sigma_b: float = 0.0

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
        if nets > 1 and h.stride(0) == 0:  # one matrix for all networks: the raw inputs
            h = h[:1]
        size = max(fan_in, fan_out)
        scale = self.sigma_w * math.sqrt(size / fan_in)
        if inputs == 1:
            length = torch.linalg.vector_norm(h, dim=1, keepdim=True)
            frame = _frame(normals((nets, size, 1), h, generator))
            r, q = length, None
            if keep:
                first = torch.zeros_like(h)
                first[:, 0] = 1
                q = torch.where(length > 0, h / length, first)
        else:
            if keep and 2 * inputs > size:
                # the complements would be too small for the gradients' frames: reveal the whole matrix
                q, r = torch.eye(fan_in, dtype=h.dtype, device=h.device).expand(len(h), -1, -1), h
            elif keep:
                q, r = torch.linalg.qr(h)
            else:
                q, r = None, torch.linalg.qr(h, mode="r").R
            # inputs by inputs in memory: then the next layer's QR copies nothing
            fresh = normals((nets, r.shape[-2], size), h, generator).mT
            if not keep and 4 * r.shape[-2] <= size:
                # S = G T⁻¹ with GᵀG = TᵀT: a Cholesky factor is safe here, where G is Gaussian and tall
                t = torch.linalg.cholesky(fresh.mT @ fresh, upper=True)
                frame, r = fresh, torch.linalg.solve_triangular(t, r.expand(nets, -1, -1), upper=True)
            else:
                frame = _frame(fresh)
        z = ((r * scale).mT @ frame[:, :fan_out].mT).mT
        if self.sigma_b != 0:
            z += normals((nets, fan_out, 1), h, generator).mul_(self.sigma_b)
        return z, (q, frame, scale, fan_in) if keep else None

    def backward(
        self, memo: Any, delta: Float[Tensor, "nets fan_out inputs"], generator: torch.Generator
    ) -> Float[Tensor, "nets fan_in inputs"]:
        """Gradients by ``h`` from gradients by the pre-activations; call once per ``memo``."""
        q, frame, scale, fan_in = memo
        nets, size, rank = frame.shape
        fan_out = delta.shape[1]
        # the corner is a corner of a square matrix: pad both sides to the full size
        full = torch.nn.functional.pad(delta, (0, 0, 0, size - fan_out))
        basis = torch.nn.functional.pad(q, (0, 0, 0, size - fan_in))
        grad = basis @ (frame.mT @ full)
        if rank < fan_in:
            rest = project_out(frame, project_out(frame, full))
            t = torch.linalg.qr(rest, mode="r").R
            fresh = normals((nets, size, t.shape[-2]), delta, generator)
            grad = grad + _frame(project_out(basis, project_out(basis, fresh))) @ t
        return grad[:, :fan_in] * scale


def _frame(x: Float[Tensor, "nets n r"]) -> Float[Tensor, "nets n r"]:
    """Orthonormal frames of Gaussian columns, uniform on the Stiefel manifold.

    QR with the diagonal of R made positive, which makes the factorisation unique and its law invariant.
    """
    if x.shape[-1] == 1:
        return x / torch.linalg.vector_norm(x, dim=1, keepdim=True)
    q, r = torch.linalg.qr(x)
    sign = torch.where(torch.diagonal(r, dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(x.dtype)
    return q * sign[:, None, :]
