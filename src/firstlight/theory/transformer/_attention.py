"""One attention layer as a map of the covariance of tokens, and of that of gradients back through it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from firstlight.gauss.softmax import shares
from firstlight.gauss.stream import rotations, turned
from firstlight.theory.transformer.blocks import Transformer

# Entries of attention that are held at once.
_CHUNK = 8_000_000
# A covariance whose entries differ less than this has one variance and one correlation.
_SAME = 1e-9
# Logits of a larger variance attend to single tokens, and their integrals cost seconds.
WIDEST = 100.0


@dataclass(frozen=True, eq=False)
class Through:
    """What attention makes of a covariance K of normalised tokens.

    Attributes
    ----------
    covariance
        E P K Pᵀ over heads.
    error
        Standard error of its mean diagonal, and of its mean beside the diagonal.
    participation
        T·E Σ_s p_s², mean over queries.
    """

    covariance: Tensor
    error: tuple[float, float]
    participation: float


def through(blocks: Transformer, k: Float64[Tensor, "t t"], draws: int, seed: int) -> Through:
    """E P K Pᵀ: an integral where all tokens are alike, else a mean over heads drawn in pairs of opposite logits."""
    exact = _alike(blocks, k)
    if exact is not None:
        return exact
    total, squares, rank, count = torch.zeros_like(k), torch.zeros(2, dtype=torch.float64), 0.0, 0
    own = torch.eye(len(k), dtype=torch.bool)
    sums = torch.zeros(2, dtype=torch.float64)
    for heads in _heads(blocks, k, draws, seed):
        after = heads.p @ k @ heads.p.mT
        total += after.sum(0)
        # a pair of opposite logits counts as one draw
        pairs = after.view(-1, 2, *k.shape).mean(1)
        means = torch.stack(
            [pairs[:, own].mean(1), pairs[:, ~own].mean(1) if len(k) > 1 else pairs[:, own].mean(1)]
        )
        sums, squares = sums + means.sum(1), squares + means.square().sum(1)
        rank += float(heads.p.square().sum((1, 2)).sum())
        count += len(heads.p)
    half = count // 2
    spread = ((squares / half - (sums / half).square()).clamp_min(0) / max(half - 1, 1)).sqrt().tolist()
    return Through(total / count, (spread[0], spread[1]), rank / count)


def _alike(blocks: Transformer, k: Tensor) -> Through | None:
    if blocks.causal or blocks.rotary is not None or blocks.head_dim is not None:
        return None
    n, q = len(k), float(k[0, 0])
    rho = float(k[0, 1]) / q if n > 1 else 0.0
    even = torch.full_like(k, rho * q).fill_diagonal_(q)
    if float((k - even).abs().max()) > _SAME * q:
        return None
    rho = min(1.0, rho)
    spread = blocks.query * blocks.key * q * q * (1 - rho)
    if spread > WIDEST:
        return None
    found = shares(n, spread, max(rho, -1.0))
    own = q * (rho + (1 - rho) * found.own)
    off = own - q * (1 - rho) * found.apart
    error = found.error * (1 - rho) * q * found.own
    return Through(torch.full_like(k, off).fill_diagonal_(own), (error, error), n * found.own)


@dataclass(frozen=True, eq=False)
class _Heads:
    """Attention of some heads; queries and keys with their scales, where the head's size is finite."""

    p: Tensor
    query: Tensor | None
    key: Tensor | None
    turns: Tensor | None


def _heads(blocks: Transformer, k: Tensor, draws: int, seed: int) -> Iterator[_Heads]:
    """Heads in pairs of opposite logits, of queries and keys whose channels are normal with covariance K."""
    root = _root(k)
    n, size = len(k), blocks.head_dim
    generator = torch.Generator().manual_seed(seed)
    mask = torch.full((n, n), -math.inf, dtype=torch.float64).triu(1) if blocks.causal else 0.0
    turns = None if blocks.rotary is None else rotations(n, size or 2, blocks.rotary, torch.float64)
    scale = math.sqrt(blocks.query * blocks.key)
    pairs = max(1, draws // 2)
    step = max(1, _CHUNK // (2 * n * max(n, size or 1)))
    for start in range(0, pairs, step):
        count = min(step, pairs - start)
        query = key = None
        if size is None:
            noise = torch.randn(count, n, n, generator=generator, dtype=torch.float64)
            logits = scale * (root @ noise @ root.T)
        else:
            made = torch.randn(2, count, n, size, generator=generator, dtype=torch.float64)
            query, key = math.sqrt(blocks.query) * (root @ made[0]), math.sqrt(blocks.key) * (root @ made[1])
            if turns is not None:
                query, key = turned(query, turns), turned(key, turns)
            logits = query @ key.mT / math.sqrt(size)
            query = torch.stack([query, -query], 1).flatten(0, 1)
            key = key.repeat_interleave(2, 0)
        both = torch.stack([logits, -logits], 1).flatten(0, 1)
        yield _Heads(torch.softmax(both + mask, -1), query, key, turns)


def _root(k: Tensor) -> Tensor:
    """A matrix R with R Rᵀ = K, for a K that rounding may have left a hair indefinite."""
    values, vectors = torch.linalg.eigh((k + k.T) / 2)
    return vectors * values.clamp_min(0).sqrt()


def back(
    blocks: Transformer, k: Float64[Tensor, "t t"], g: Float64[Tensor, "t t"], draws: int, seed: int
) -> tuple[Tensor, float]:
    r"""The covariance of gradients at the normalised tokens, from the one G behind the output projection.

    .. math:: C_V C_O\, E P^T G P + C_Q\, E\, δQ\, δQ^T + C_K\, E\, δK\, δK^T

    The second and third are what queries and keys get: with δo the product of gradients and values, normal of
    covariance G ⊗ K, the gradient of the logits is δA = P ∘ (δo − Σ_s p_s δo_s). Also the standard error of the trace,
    relative to the trace.
    """
    root, back_root = _root(k), _root(g)
    n, size = len(k), blocks.head_dim
    generator = torch.Generator().manual_seed(seed + 1)
    total, sums, squares, count = torch.zeros_like(k), 0.0, 0.0, 0
    through_value = math.sqrt(blocks.value * blocks.output)
    for heads in _heads(blocks, k, draws, seed):
        p = heads.p
        own = blocks.value * blocks.output * (p.mT @ g @ p)
        noise = torch.randn(len(p), n, n, generator=generator, dtype=torch.float64)
        product = through_value * (back_root @ noise @ root.T)
        logits = p * (product - (p * product).sum(-1, keepdim=True))
        if size is None:
            both = blocks.query * blocks.key
            own = own + both * (logits @ k @ logits.mT + logits.mT @ k @ logits)
        else:
            assert heads.query is not None
            assert heads.key is not None
            to_query = logits @ heads.key / math.sqrt(size)
            to_key = logits.mT @ heads.query / math.sqrt(size)
            if heads.turns is not None:
                to_query, to_key = (turned(x, heads.turns.conj()) for x in (to_query, to_key))
            own = own + blocks.query * to_query @ to_query.mT + blocks.key * to_key @ to_key.mT
        total += own.sum(0)
        traces = own.diagonal(dim1=1, dim2=2).sum(1).view(-1, 2).mean(1)
        sums, squares, count = (
            sums + float(traces.sum()),
            squares + float(traces.square().sum()),
            count + len(p),
        )
    half = count // 2
    mean = sums / half
    error = math.sqrt(max(squares / half - mean * mean, 0.0) / max(half - 1, 1)) / mean if mean > 0 else 0.0
    return total / count, error
