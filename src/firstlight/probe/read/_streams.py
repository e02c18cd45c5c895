"""Streams: what theory of whole blocks needs of a pass: the tokens that enter, and how attention is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from firstlight.clean_room import apart
from firstlight.gauss.stream import token_moments
from firstlight.probe.graph._site import Site
from firstlight.probe.read._groups import alike
from firstlight.probe.read._taking import SMALL
from firstlight.probe.read._whole import whole

# Tokens of all samples together that are followed, and tokens of one sample.
TOGETHER, LONGEST = 128, 256


@dataclass(frozen=True, eq=False)
class Tokens:
    """A residual sum: the stream that enters it, some samples and the first tokens, and what came out of it.

    ``out`` is a copy of what came out, or the moments of it where a copy would be large.
    """

    stream: Tensor
    out: Tensor
    tokens: int


@dataclass(frozen=True, eq=False)
class Heads:
    """A call of attention: its heads, its mask for the same samples and tokens, and whether queries were changed.

    ``batch`` and ``tokens`` are those of the call; ``size`` is 0 where the call does not show it.
    """

    batch: int
    tokens: int
    heads: int
    size: int = 0
    scale: float | None = None
    mask: Tensor | None = None
    dropout: float = 0.0


@dataclass
class Streams:
    """What was kept of the sums and the attention of one forward pass, by the number of the row."""

    sums: dict[int, Tokens] = field(default_factory=dict)
    heads: dict[int, Heads] = field(default_factory=dict)

    @apart
    def add(self, site: Site, stream: Tensor, out: Tensor, token_axis: int) -> None:
        """Keep the stream that enters a sum of samples × tokens × units, and measure what comes out."""
        t, before = whole(out.detach()), whole(stream.detach())
        if t.dim() != 3 or site.unit not in (-1, 2) or t.shape != before.shape or not t.is_floating_point():
            return
        if token_axis == 0:
            t, before = t.transpose(0, 1), before.transpose(0, 1)
        batch, tokens, _ = t.shape
        if tokens < 2 or not t.numel():
            return
        part = slice(kept(batch, tokens)), slice(LONGEST)
        rows, entered = t[part], before[part]
        if bool(torch.isfinite(rows).all()):
            if rows.numel() > SMALL:
                out = token_moments(rows.to("cpu", torch.float32))
            else:
                out = rows.to("cpu", torch.float32, copy=True)
            # a copy, since an in-place sum may follow
            self.sums[site.index] = Tokens(entered.to("cpu", torch.float32, copy=True), out, tokens)

    def moments(self, indices: Sequence[int]) -> dict[int, list[float]]:
        """What `token_moments` gives of what came out of some sums, by the number of the row."""
        found: dict[int, list[float]] = {}
        for group in alike(indices, lambda index: self.sums[index].out.shape):
            together = torch.stack([self.sums[index].out for index in group])
            moments = together if together.dim() == 2 else token_moments(together)
            found |= dict(zip(group, moments.tolist()))
        return found

    def drop(self, site: Site, p: float) -> None:
        """Note that weights of attention are dropped behind a softmax."""
        if site.index in self.heads and site.op == "softmax":
            self.heads[site.index] = replace(self.heads[site.index], dropout=p)

    @apart
    def attend(self, site: Site, result: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Keep the shape of a call of attention, and who sees whom."""
        if site.op == "scaled_dot_product_attention":
            names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
            given = {**dict(zip(names, args)), **kwargs}
            query, key = given["query"], given["key"]
            if query.is_nested or query.dim() != 4 or key.shape[-2] != query.shape[-2]:
                return
            batch, heads, tokens, size = query.shape
            mask = given.get("attn_mask")
            shown = None if mask is None else _some(_added(whole(mask.detach())), batch, tokens)
            if given.get("is_causal"):
                most = min(tokens, LONGEST)
                shown = torch.full((1, 1, most, most), -torch.inf).triu(1)
            scale, dropout = given.get("scale"), float(given.get("dropout_p") or 0.0)
            self.heads[site.index] = Heads(batch, tokens, heads, size, scale, shown, dropout)
            return
        if result.dim() != 4 or result.shape[-1] != result.shape[-2]:
            return
        batch, heads, tokens, _ = result.shape
        hidden = (whole(result.detach()) == 0.0).all(dim=1, keepdim=True)
        mask = torch.zeros(hidden.shape).masked_fill(hidden.cpu(), -torch.inf) if bool(hidden.any()) else None
        shown = None if mask is None else _some(mask, batch, tokens)
        self.heads[site.index] = Heads(batch, tokens, heads, mask=shown)


def kept(batch: int, tokens: int) -> int:
    """How many samples are followed."""
    return min(batch, max(1, TOGETHER // tokens))


def _added(mask: Tensor) -> Tensor:
    """A mask as what is added to logits."""
    mask = mask.to("cpu")
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
    return mask.float()


def _some(mask: Tensor, batch: int, tokens: int) -> Tensor:
    """The part of a mask for the samples and tokens that are followed, with four axes."""
    while mask.dim() < 4:
        mask = mask[None]
    mask = mask.expand(*mask.shape[:2], tokens, tokens)
    return mask[: kept(batch, tokens), :, :LONGEST, :LONGEST]
