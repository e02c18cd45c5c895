"""The MLP of a block as a map of the covariance of tokens, and of that of gradients back through it."""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from firstlight.theory.maps.pair_maps import pair_maps
from firstlight.theory.transformer.blocks import Transformer

_WHOLE = slice(None)


def _moments(blocks: Transformer, inner: Tensor, want: bool) -> tuple[Tensor, Tensor | None]:
    """E φφ and E φ'φ' at all pairs of tokens."""
    q = inner.diagonal()
    # one computation for each different pair, which are few where tokens are alike
    keys = torch.stack([q[:, None].expand_as(inner), q.expand_as(inner), inner], -1).flatten(0, 1)
    found, where = torch.unique(keys, dim=0, return_inverse=True)
    if len(found) < len(keys) // 4:
        parts = [
            pair_maps(blocks.phi, [u.view(1, 1)], [v.view(1, 1)])[0](c.view(1, 1), _WHOLE, _WHOLE, want)
            for u, v, c in found
        ]
        value = torch.cat([p[0].flatten() for p in parts])[where].view_as(inner)
        slopes = [p[1].flatten() for p in parts if p[1] is not None]
        return value, torch.cat(slopes)[where].view_as(inner) if slopes else None
    return pair_maps(blocks.phi, [q[:, None]], [q[None]])[0](inner, _WHOLE, _WHOLE, want)


def through(blocks: Transformer, k: Float64[Tensor, "t t"]) -> Tensor:
    """C₂ E φφ at the covariance C₁K, times C₁K once more if gated."""
    inner = blocks.mlp_in * k
    value, _ = _moments(blocks, inner, False)
    return blocks.mlp_out * (value * inner if blocks.gated else value)


def back(blocks: Transformer, k: Float64[Tensor, "t t"], g: Float64[Tensor, "t t"]) -> Tensor:
    """The covariance of gradients at the normalised tokens, from the one behind the MLP."""
    inner = blocks.mlp_in * k
    value, slope = _moments(blocks, inner, True)
    assert slope is not None
    factor = slope * inner + value if blocks.gated else slope
    return blocks.mlp_in * blocks.mlp_out * factor * g
