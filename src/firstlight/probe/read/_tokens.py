"""Tokens: how alike the tokens or the places of one sample are, and how sharply attention picks among them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from firstlight.gauss.stream import token_moments
from firstlight.probe.graph._site import Site
from firstlight.probe.read._places import places, stride
from firstlight.probe.read._statistics import alike
from firstlight.probe.read._whole import whole

# Samples, tokens and units that are read of each tensor.
SAMPLES, TOKENS, UNITS = 4, 32, 256
# Queries whose attention is read, and the least number of keys that attention can be sharp among.
QUERIES, KEYS = 256, 4
# Logits below are those of a mask.
MASKED = -1e4


@dataclass(eq=False, frozen=True)
class TakenTokens:
    """Some samples of a tensor, each with some of its tokens or places (samples × tokens × units)."""

    site: Site
    rows: Tensor


def take_places(site: Site, t: Tensor) -> TakenTokens | None:
    """Some places of a map of samples × channels × places (up to three axes of places), or None for other tensors."""
    if t.dim() < 3 or site.unit != 1 - t.dim() or not t.is_floating_point() or not t.numel():
        return None
    spread = tuple(t.shape[2:])
    if math.prod(spread) < 2:
        return None
    samples, units = (
        slice(None, None, max(1, -(-size // most))) for size, most in zip(t.shape, (SAMPLES, UNITS))
    )
    some = t[samples, units]
    if math.prod(spread) > TOKENS:
        spots: tuple[slice | Tensor, ...] = (slice(None), slice(None), *places(spread, TOKENS, t.device))
        some = some[spots]
    site.values["places"] = 1.0
    return TakenTokens(site, some.flatten(2).transpose(1, 2).to(torch.float32, copy=True))


def take_tokens(site: Site, t: Tensor, axis: int) -> TakenTokens | None:
    """Some tokens of a tensor of samples × tokens × units (or tokens first), or None for any other tensor."""
    if t.dim() != 3 or site.unit not in (-1, 2) or t.shape[axis] < 2 or not t.is_floating_point():
        return None
    moved = t if axis == 1 else t.transpose(0, 1)
    samples, tokens, units = (
        slice(None, None, max(1, -(-size // most)))
        for size, most in zip(moved.shape, (SAMPLES, TOKENS, UNITS))
    )
    return TakenTokens(site, moved[samples, tokens, units].to(torch.float32, copy=True))


def measure_tokens(taken: list[TakenTokens]) -> None:
    """Fill in the mean cosine between the tokens of one sample, and their effective rank, of every site.

    Both as `firstlight.gauss.stream.token_moments` takes them. ``apart`` is the variance over samples, of each unit of
    each token, beside the mean square: what the samples tell, beside what all of them share.
    """
    for group in alike(taken, lambda t: (t.rows.shape, t.rows.device)):
        rows = torch.stack([t.rows for t in group]).cpu()
        size = rows.norm(dim=3)
        known = ((size > 0) & size.isfinite()).flatten(1).all(dim=1).tolist()
        found = token_moments(rows.where(rows.isfinite(), 0.0)).tolist()
        for t, (_, c, rank), full in zip(group, found, known, strict=True):
            if full and math.isfinite(c):
                t.site.values |= {"token_correlation": c, "token_rank": rank}
                if len(t.rows) > 1:
                    t.site.values["apart"] = float(t.rows.var(dim=0).mean() / t.rows.square().mean())


def read_attention(site: Site, weights: Tensor) -> None:
    """Fill in the mean of the largest weight, and of the entropy over its largest value, of queries × keys."""
    if weights.shape[-1] < KEYS or not weights.numel():
        return
    rows = whole(weights.detach()).reshape(-1, weights.shape[-1])
    p = rows[:: stride(-(-len(rows) // QUERIES), weights.shape[:-1])].float()
    entropy = -(p * p.clamp_min(1e-30).log()).sum(dim=1).mean() / math.log(p.shape[1])
    site.values |= {"attention_max": float(p.amax(dim=1).mean()), "attention_entropy": float(entropy)}


def later(weights: Tensor) -> Tensor:
    """The later half of the queries: under a causal mask the first ones have few keys."""
    return weights[..., weights.shape[-2] // 2 :, :] if weights.dim() > 1 else weights


def logits_again(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """The logits that a fused kernel does not show, for some samples and queries of its arguments."""
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given = {**dict(zip(names, args)), **kwargs}
    query, key, mask = given["query"], given["key"], given.get("attn_mask")
    if query.is_nested or query.dim() < 3 or query.shape[-2] < 1 or key.shape[-2] < KEYS:
        return None
    queries = torch.arange(query.shape[-2] // 2, query.shape[-2], device=query.device)[:TOKENS]
    q = whole(query.detach())[:SAMPLES][..., queries, :].float()
    k = whole(key.detach())[:SAMPLES].float()
    if q.dim() == 4 and k.shape[1] != q.shape[1]:
        k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    scale = given.get("scale")
    logits = q @ k.transpose(-2, -1) * (scale if scale is not None else q.shape[-1] ** -0.5)
    if given.get("is_causal"):
        later = torch.arange(key.shape[-2], device=key.device) > queries.unsqueeze(1)
        logits = logits.masked_fill(later, -math.inf)
    if isinstance(mask, Tensor):
        shown = mask.detach().expand(*query.shape[:-1], key.shape[-2])[:SAMPLES][..., queries, :]
        logits = (
            logits.masked_fill(~shown, -math.inf) if shown.dtype == torch.bool else logits + shown.float()
        )
    return logits


def weights_of(logits: Tensor) -> Tensor:
    """Attention weights; zero where every key of a query is masked."""
    return logits.softmax(dim=-1).nan_to_num()


def read_logits(site: Site, logits: Tensor, values: Tensor | None) -> None:
    """Fill in what theory needs: the logits' variance over keys, their queries' correlation, and facts of the values.

    Nothing where logits are masked, since theory is for queries that see every key.
    """
    keys = logits.shape[-1]
    if logits.dim() < 3 or keys < KEYS or logits.shape[-2] < 2:
        return
    rows = whole(logits.detach()).flatten(0, -3)[: SAMPLES * SAMPLES, :TOKENS].float()
    if not rows.numel() or float(rows.amin()) < MASKED or not bool(torch.isfinite(rows).all()):
        return
    rows = rows - rows.mean(dim=-1, keepdim=True)
    site.values["keys"] = float(keys)
    site.values["logit_variance"] = float(rows.square().sum(dim=-1).mean()) / (keys - 1)
    site.values["query_correlation"] = _alike(rows)
    if values is not None and values.dim() == 4 and values.shape[-2] == keys:
        v = whole(values.detach())[:SAMPLES].float().flatten(0, -3)
        square = float(v.square().mean())
        shared = float(v.mean(dim=-2).square().mean())  # over T tokens: q (1 + (T − 1) ρ)/T
        site.values["value_q"] = square
        if square > 0:
            site.values["value_correlation"] = (keys * shared / square - 1.0) / (keys - 1)


def _alike(rows: Tensor) -> float:
    """Mean cosine between the rows of each group."""
    unit = rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-30)
    count = rows.shape[-2]
    return float((unit.sum(dim=-2).square().sum(dim=-1).mean() - count) / (count * (count - 1)))
