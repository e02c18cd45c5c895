"""Tokens: how alike the tokens or the places of one sample are, and how sharply attention picks among them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firstlight.probe.graph._site import Site
from firstlight.probe.read._groups import alike
from firstlight.probe.read._places import places, stride
from firstlight.probe.read._whole import whole

# Samples, tokens and units that are read of each tensor.
SAMPLES, TOKENS, UNITS = 4, 32, 256
# Queries whose attention is read, and the least number of keys that attention can be sharp among.
QUERIES, KEYS = 256, 4
# Logits below are those of a mask.
MASKED = -1e4


@dataclass(eq=False, frozen=True)
class TakenTokens:
    """Some samples of a tensor, each with some of its tokens or, of maps, its places (samples × tokens × units)."""

    site: Site
    rows: NDArray[np.float32]
    places: bool


def some_places(t: Tensor, unit: int) -> Tensor | None:
    """Some places of a map of samples × channels × places (up to three axes of places), or None for other tensors."""
    if t.dim() < 3 or unit != 1 - t.dim() or not t.numel():
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
    return some.flatten(2).transpose(1, 2)


def some_tokens(t: Tensor, unit: int, axis: int) -> Tensor | None:
    """Some tokens of a tensor of samples × tokens × units (or tokens first), or None for any other tensor."""
    if t.dim() != 3 or unit not in (-1, 2) or t.shape[axis] < 2:
        return None
    moved = t if axis == 1 else t.transpose(0, 1)
    samples, tokens, units = (
        slice(None, None, max(1, -(-size // most)))
        for size, most in zip(moved.shape, (SAMPLES, TOKENS, UNITS))
    )
    return moved[samples, tokens, units]


def measure_tokens(taken: list[TakenTokens]) -> None:
    """Fill in the mean cosine between the tokens of one sample, and their effective rank, of every site.

    Both as `firstlight.gauss.stream.token_moments` takes them. ``apart`` is the variance over samples, of each unit of
    each token, beside the mean square: what the samples tell, beside what all of them share.
    """
    for t in taken:
        t.site.values |= {"places": 1.0} if t.places else {}
    for group in alike(taken, lambda t: t.rows.shape):
        rows = np.stack([t.rows for t in group]).astype(np.float64)
        with np.errstate(all="ignore"):
            _measure_alike([t.site for t in group], rows)


def _measure_alike(sites: list[Site], rows: NDArray[np.float64]) -> None:
    """The columns of `measure_tokens` for sites of one shape (sites × samples × tokens × units)."""
    samples, tokens, units = rows.shape[1:]
    gram = rows @ rows.swapaxes(-1, -2)
    size = np.sqrt(gram.diagonal(axis1=-2, axis2=-1))
    known = np.asarray(np.logical_and(size > 0, np.isfinite(size)).all(axis=(1, 2)))
    cosine = (gram / (size[..., None] * size[..., None, :])).sum(axis=(-1, -2))
    cosines = ((cosine - tokens) / (tokens * (tokens - 1))).mean(axis=1)
    # of fewer units than tokens the units' own matrix has the same spectrum, but for zeros
    gram = gram if tokens <= units else rows.swapaxes(-1, -2) @ rows
    values = np.linalg.eigvalsh(np.where(known[:, None, None, None], gram, 0.0)).clip(0.0)
    share = values / values.sum(axis=-1, keepdims=True)
    logs = np.log(share, out=np.zeros_like(share), where=share > 0.0)
    ranks = np.exp(-(share * logs).sum(axis=-1)).mean(axis=1)
    centred = rows - rows.mean(axis=1, keepdims=True)
    spread, square = (np.einsum("lstu,lstu->l", t, t) for t in (centred, rows))
    apart = spread / max(samples - 1, 1) * samples / square
    for i, site in enumerate(sites):
        if known[i] and math.isfinite(cosines[i]):
            site.values |= {"token_correlation": float(cosines[i]), "token_rank": float(ranks[i])}
            if samples > 1:
                site.values["apart"] = float(apart[i])


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
