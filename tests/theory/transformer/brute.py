"""Transformers written out: every matrix drawn, gradients by autograd."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firstlight.theory import Transformer


def stream(
    blocks: Transformer,
    k: Tensor,
    *,
    width: int,
    heads: int,
    groups: int | None = None,
    loss: str = "tokens",
    seed: int,
) -> tuple[list[Tensor], list[Tensor]]:
    """Covariances of tokens at every sum, and squared gradients of each token, for an input of covariance K."""
    g = torch.Generator().manual_seed(seed)
    n, size = len(k), width // heads

    def weights(rows: int, columns: int, scale: float) -> Tensor:
        return torch.randn(rows, columns, generator=g) * math.sqrt(scale / columns)

    def norm(x: Tensor) -> Tensor:
        x = x - x.mean(1, keepdim=True) if blocks.rotary is None else x
        return x * (x.square().mean(1, keepdim=True) + blocks.eps).rsqrt()

    def attention(x: Tensor) -> Tensor:
        few = groups or heads
        q = (x @ weights(width, width, blocks.query).T).view(n, heads, size).transpose(0, 1)
        key = (x @ weights(few * size, width, blocks.key).T).view(n, few, size).transpose(0, 1)
        v = (x @ weights(few * size, width, blocks.value).T).view(n, few, size).transpose(0, 1)
        key, v = (t.repeat_interleave(heads // few, 0) for t in (key, v))
        if blocks.rotary is not None:
            q, key = (turned(t, blocks.rotary) for t in (q, key))
        logits = q @ key.mT / math.sqrt(size)
        if blocks.causal:
            logits = logits + torch.full((n, n), -math.inf).triu(1)
        mixed = (torch.softmax(logits, -1) @ v).transpose(0, 1).reshape(n, width)
        return mixed @ weights(width, width, blocks.output).T

    def mlp(x: Tensor) -> Tensor:
        inner = 2 * width
        hidden = blocks.phi(x @ weights(inner, width, blocks.mlp_in).T)
        if blocks.gated:
            hidden = hidden * (x @ weights(inner, width, blocks.mlp_in).T)
        return hidden @ weights(width, inner, blocks.mlp_out).T

    values, vectors = torch.linalg.eigh(k)
    basis = torch.linalg.qr(torch.randn(width, n, generator=g, dtype=torch.float64))[0].T * math.sqrt(width)
    x = ((vectors * values.clamp_min(0).sqrt()) @ basis).float().requires_grad_()
    rows = [x]
    for _ in range(blocks.depth):
        for part in (attention, mlp) if blocks.mlp_out else (attention,):
            inner = part(norm(x) if blocks.norm == "pre" else x)
            x = blocks.skip * x + blocks.branch * inner
            x = norm(x) if blocks.norm == "post" else x
            x.retain_grad()
            rows.append(x)
    noise = torch.randn(n, width, generator=g)
    if loss == "first":
        noise[1:] = 0
    if loss == "mean":
        noise = noise[:1].expand(n, width)
    (x * noise).sum().backward()
    kept = [r.detach().double() for r in rows]
    return [r @ r.T / width for r in kept], [
        r.grad.double().square().sum(1) for r in rows if r.grad is not None
    ]


def turned(x: Tensor, base: float) -> Tensor:
    """Rotary positions as they are written: pairs of channels turn by position times frequency."""
    n, size = x.shape[-2:]
    frequency = base ** (-torch.arange(0, size, 2) / size)
    angle = torch.arange(n)[:, None] * frequency
    a, b = x[..., ::2], x[..., 1::2]
    return torch.stack([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1).flatten(-2)
