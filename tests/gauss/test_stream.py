"""Streams of finite width: drawn products against networks whose every matrix is drawn, and against the limit."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from firstlight.errors import DomainError
from firstlight.theory import Transformer, predict_transformer
from firstlight.theory.transformer import (
    AttentionBranch,
    MlpBranch,
    Scale,
    StreamNorm,
    StreamSum,
    draw_stream,
    token_moments,
)

CAUSAL = torch.full((6, 6), -math.inf).triu(1)


def attention(width, heads, **more):
    scales = [Scale(c, 0.05) for c in (1.5, 1.2, 0.8, 1.1)]
    return AttentionBranch(*scales, heads, heads, width // heads, **more)


def by_matrices(x, width, heads, *, causal, dropout):
    """The same block with matrices, biases and masks of torch's own functions."""

    def layer(z, c, out):
        return nn.functional.linear(
            z, torch.randn(out, z.shape[-1]) * math.sqrt(c / z.shape[-1]), torch.randn(out) * math.sqrt(0.05)
        )

    seen = nn.functional.layer_norm(x, (width,))
    q, k, v = (layer(seen, c, width).unflatten(-1, (heads, -1)).transpose(1, 2) for c in (1.5, 1.2, 0.8))
    mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, dropout_p=dropout)
    x = x + 0.7 * layer(mixed.transpose(1, 2).flatten(2), 1.1, width)
    inner = nn.functional.gelu(layer(nn.functional.layer_norm(x, (width,)), 1.3, 3 * width))
    y = nn.functional.dropout(layer(inner, 0.9, width), dropout)
    return x, x + y


@pytest.mark.parametrize(("causal", "dropout"), [(True, 0.0), (False, 0.2)])
def test_drawn_streams_have_the_law_of_networks_with_matrices(causal, dropout):
    """At width 24 for 12 tokens: the mean and the deviation of each number, both from 300 networks."""
    width, heads, count = 24, 3, 300
    torch.manual_seed(0)
    x = torch.randn(2, 6, width)
    norm = StreamNorm(True, 1.0, 0.0, 1e-5)
    mlp = MlpBranch(Scale(1.3, 0.05), Scale(0.9, 0.05), 3 * width, nn.functional.gelu)
    branch = attention(width, heads, mask=CAUSAL if causal else None, dropout=dropout)
    sums = [StreamSum(branch, norm, scale=0.7), StreamSum(mlp, norm, dropout=dropout)]
    drawn = draw_stream(sums, x, draws=count, seed=1)
    nets = [by_matrices(x, width, heads, causal=causal, dropout=dropout) for _ in range(count)]
    for at in (0, 1):
        own = torch.stack([token_moments(net[at]) for net in nets])
        ours = torch.stack([t[:, at] for t in (drawn.q, drawn.token_correlation, drawn.token_rank)], 1)
        error = ((own.var(0) + ours.var(0)) / count).sqrt()
        assert ((own.mean(0) - ours.mean(0)).abs() < 4.5 * error).all()
        # a deviation of n normal numbers is known to 1/√(2n) of itself; theirs are a little heavier tailed
        assert ((own.std(0) / ours.std(0)).log().abs() < 4.5 / math.sqrt(count)).all()


def test_wide_streams_meet_the_limit_and_tokens_that_are_the_same_have_a_root():
    blocks = Transformer(depth=2, causal=True, head_dim=32, rotary=100.0, gated=True, activation="silu")
    x = torch.randn(1, 6, 512, generator=torch.Generator().manual_seed(0))
    x[0, 3] = x[0, 1]
    limit = predict_transformer(blocks, covariance=(x[0].double() @ x[0].double().T) / 512, draws=400)
    one = Scale(1.0)
    heads = AttentionBranch(one, one, one, one, 16, 8, 32, mask=CAUSAL, rotary=100.0)
    mlp = MlpBranch(one, one, 1024, nn.functional.silu, gated=True)
    norm = StreamNorm(centred=False)
    found = draw_stream([StreamSum(heads, norm), StreamSum(mlp, norm)] * 2, x, draws=24)
    for name, values in (("q", found.q), ("token_correlation", found.token_correlation)):
        mean, error = values.mean(0).numpy(), (values.std(0) / math.sqrt(24)).numpy()
        # the next order of the limit is 1/heads of what a block adds
        assert (np.abs(mean - limit[name][1:]) < 4.5 * error + 0.01 * mean).all()


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(DomainError, match="at least 2 draws"):
        draw_stream([], torch.zeros(1, 2, 4), draws=1)
