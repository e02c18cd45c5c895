"""Blocks of finite width: the law of a stream through attention and MLPs whose weights are drawn, by products alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.errors import DomainError

# Entries of one tensor of hidden units that are held at once.
_HELD = 8_000_000
# Tokens whose spectrum is taken for the rank.
RANKED = 64


class Scale(NamedTuple):
    """A linear layer at the start: fan-in times the variance of its weights, and the variance of its biases."""

    weight: float
    bias: float = 0.0


@dataclass(frozen=True)
class StreamNorm:
    """A layer norm (``centred``) or RMS norm with E γ² = ``gain``, E β² = ``shift`` and its ε."""

    centred: bool = True
    gain: float = 1.0
    shift: float = 0.0
    eps: float = 0.0


@dataclass(frozen=True, eq=False)
class AttentionBranch:
    """Attention of ``heads`` heads of ``size`` channels, with ``groups`` heads of keys and values.

    Attributes
    ----------
    query, key, value, output
        The four layers.
    scale
        What multiplies the products of queries and keys; size^(−½) by default.
    mask
        Added to the logits: (samples or 1, heads or 1, queries, keys) with −∞ where a key is hidden; None without.
    rotary
        The base of rotary positions, None without.
    dropout
        Share of the weights of attention that is dropped.
    """

    query: Scale
    key: Scale
    value: Scale
    output: Scale
    heads: int
    groups: int
    size: int
    scale: float | None = None
    mask: Tensor | None = None
    rotary: float | None = None
    dropout: float = 0.0


@dataclass(frozen=True, eq=False)
class MlpBranch:
    """φ between two layers with ``units`` units; times a third layer like the first one if ``gated``."""

    inner: Scale
    outer: Scale
    units: int
    phi: Callable[[Tensor], Tensor]
    gated: bool = False
    dropout: float = 0.0


@dataclass(frozen=True, eq=False)
class StreamSum:
    """One sum of the stream: x ← s·x + a·D branch(norm(x)), with D dropout; ``enters`` is a norm of x before all."""

    branch: AttentionBranch | MlpBranch
    norm: StreamNorm | None = None
    enters: StreamNorm | None = None
    skip: float = 1.0
    scale: float = 1.0
    dropout: float = 0.0


@dataclass(frozen=True, eq=False)
class DrawnStream:
    """Second moment, mean cosine of tokens and rank of tokens behind every sum, (draws, sums) each."""

    q: Float64[Tensor, "draws sums"]
    token_correlation: Float64[Tensor, "draws sums"]
    token_rank: Float64[Tensor, "draws sums"]


def token_moments(x: Float[Tensor, "*draws samples tokens units"]) -> Float64[Tensor, "*draws 3"]:
    """Mean square, mean cosine between tokens of a sample, exp of the entropy of their spectrum; mean over samples.

    The spectrum is that of at most 64 tokens.
    """
    tokens = x.shape[-2]
    square = x.double().square().mean((-1, -2, -3))
    unit = x / x.norm(dim=-1, keepdim=True).clamp_min(1e-30)
    total = unit.sum(-2).double().square().sum(-1)
    cosine = (
        ((total - tokens) / (tokens * (tokens - 1))).mean(-1)
        if tokens > 1
        else torch.full_like(square, math.nan)
    )
    some = x[..., :: -(-tokens // RANKED), :].double()
    # of fewer units than tokens the units' own matrix has the same spectrum, but for zeros
    gram = some @ some.mT if some.shape[-2] <= some.shape[-1] else some.mT @ some
    values = torch.linalg.eigvalsh(gram).clamp_min(0.0)
    share = values / values.sum(-1, keepdim=True)
    rank = torch.special.entr(share).sum(-1).exp().mean(-1)
    return torch.stack([square, cosine, rank], -1)


@clean
def draw_stream(
    sums: Sequence[StreamSum], start: Float[Tensor, "samples tokens units"], *, draws: int = 16, seed: int = 0
) -> DrawnStream:
    r"""The stream of a transformer behind every sum, over networks of this width whose weights are drawn anew.

    .. math:: Y = X W^T \;\sim\; \sqrt{C}\, L G, \qquad L L^T = X X^T/n

    with G of N(0,1) entries: the law of a layer's outputs at finite width, given its inputs, without a weight. Weights
    are independent and normal; those of another law of the same variance differ at the order of 1/width.

    Parameters
    ----------
    sums
        The sums, in order.
    start
        What enters the first one: the embedded tokens.
    draws
        Networks, at least 2.
    seed
        Of the networks.

    Raises
    ------
    DomainError
        Fewer than 2 draws, or a start that is not finite.

    Examples
    --------
    >>> import torch
    >>> from firstlight.theory.transformer import MlpBranch, Scale, StreamSum, draw_stream
    >>> x = torch.randn(1, 8, 256, generator=torch.Generator().manual_seed(0))
    >>> linear = MlpBranch(Scale(1.0), Scale(1.0), 1024, lambda z: z)
    >>> found = draw_stream([StreamSum(linear)], x, draws=32)
    >>> round(float(found.q.mean() / x.square().mean()), 1)  # the stream's own 1 and 1 of the branch
    2.0
    """
    if draws < 2 or not bool(torch.isfinite(start).all()):
        raise DomainError(
            f"while drawing a stream: expected at least 2 draws and finite tokens, got {draws} draws and "
            f"{int((~torch.isfinite(start)).sum())} entries that are not finite"
        )
    generator = torch.Generator().manual_seed(seed)
    samples, tokens, units = start.shape
    widest = max([units, *(_widest(s.branch) for s in sums)])
    step = max(1, _HELD // (samples * tokens * widest))
    parts = []
    for at in range(0, draws, step):
        x = start.float().expand(min(step, draws - at), -1, -1, -1)
        rows = []
        for one in sums:
            x = _summed(one, x, generator)
            rows.append(token_moments(x))
        parts.append(torch.stack(rows, 1))
    q, correlation, rank = torch.cat(parts).unbind(-1)
    return DrawnStream(q, correlation, rank)


def _widest(branch: AttentionBranch | MlpBranch) -> int:
    if isinstance(branch, MlpBranch):
        return branch.units * (1 + branch.gated)
    return (branch.heads + 2 * branch.groups) * branch.size


def _summed(one: StreamSum, x: Tensor, generator: torch.Generator) -> Tensor:
    x = _normed(one.enters, x, generator)
    seen = _normed(one.norm, x, generator)
    branch = _mlp if isinstance(one.branch, MlpBranch) else _attention
    y = _dropped(branch(one.branch, seen, generator), one.dropout, generator)  # type: ignore[arg-type]
    return one.skip * x + one.scale * y


def _normed(norm: StreamNorm | None, x: Tensor, generator: torch.Generator) -> Tensor:
    if norm is None:
        return x
    x = x - x.mean(-1, keepdim=True) if norm.centred else x
    x = x * (math.sqrt(norm.gain) * (x.square().mean(-1, keepdim=True) + norm.eps).rsqrt())
    if norm.shift:
        x = x + math.sqrt(norm.shift) * torch.randn(len(x), 1, 1, x.shape[-1], generator=generator)
    return x


def _dropped(x: Tensor, p: float, generator: torch.Generator) -> Tensor:
    if p <= 0.0:
        return x
    return x * (torch.rand(x.shape, generator=generator) >= p) / (1.0 - p)


def _layer(x: Tensor, parts: Sequence[tuple[Scale, int]], generator: torch.Generator) -> list[Tensor]:
    """Outputs of some linear layers with fresh weights on the same inputs."""
    draws, samples, tokens, units = x.shape
    flat = x.flatten(1, 2)
    count, outputs = flat.shape[1], sum(n for _, n in parts)
    if count < units:
        exact = flat.double()  # tokens may be the same, and the root of float32 would not exist
        gram = (exact @ exact.mT) / units
        tiny = gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-30) * 1e-9
        root = torch.linalg.cholesky(gram + torch.diag_embed(tiny[:, None].expand(-1, count))).float()
        y = root @ torch.randn(draws, count, outputs, generator=generator)
    else:
        y = flat @ (torch.randn(draws, units, outputs, generator=generator) / math.sqrt(units))
    found = []
    for (scale, n), part in zip(parts, y.split([n for _, n in parts], -1)):
        part = part * math.sqrt(scale.weight)
        if scale.bias:
            part = part + math.sqrt(scale.bias) * torch.randn(draws, 1, n, generator=generator)
        found.append(part.unflatten(1, (samples, tokens)))
    return found


def _mlp(branch: MlpBranch, x: Tensor, generator: torch.Generator) -> Tensor:
    parts = [(branch.inner, branch.units)] * (1 + branch.gated)
    inner = _layer(x, parts, generator)
    hidden = branch.phi(inner[0])
    if branch.gated:
        hidden = hidden * inner[1]
    return _layer(_dropped(hidden, branch.dropout, generator), [(branch.outer, x.shape[-1])], generator)[0]


def _attention(branch: AttentionBranch, x: Tensor, generator: torch.Generator) -> Tensor:
    own, shared = branch.heads * branch.size, branch.groups * branch.size
    parts = [(branch.query, own), (branch.key, shared), (branch.value, shared)]
    # draws, samples, heads, tokens, channels
    q, k, v = (t.unflatten(-1, (-1, branch.size)).transpose(2, 3) for t in _layer(x, parts, generator))
    if branch.rotary is not None:
        turns = rotations(x.shape[2], branch.size, branch.rotary)
        q, k = (turned(t, turns) for t in (q, k))
    k, v = (t.repeat_interleave(branch.heads // branch.groups, 2) for t in (k, v))
    logits = (q @ k.mT) * (branch.size**-0.5 if branch.scale is None else branch.scale)
    if branch.mask is not None:
        logits = logits + branch.mask
    p = _dropped(logits.softmax(-1).nan_to_num(), branch.dropout, generator)
    mixed = (p @ v).transpose(2, 3).flatten(3)
    return _layer(mixed, [(branch.output, x.shape[-1])], generator)[0]


def rotations(tokens: int, size: int, base: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """e^{i·position·frequency} of each pair of channels, (tokens, size/2)."""
    frequency = base ** (-torch.arange(0, size, 2, dtype=dtype) / size)
    angle = torch.arange(tokens, dtype=dtype)[:, None] * frequency
    return torch.polar(torch.ones_like(angle), angle)


def turned(x: Float[Tensor, "*heads tokens size"], turns: Tensor) -> Tensor:
    """Channels in pairs, each turned by its angle."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * turns
    return torch.view_as_real(pairs).flatten(-2)
