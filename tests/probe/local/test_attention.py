"""Theory of attention beside its rows, against brute force at random weights."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from firstlight.probe import probe


class Attention(nn.Module):
    def __init__(self, width, gain, fused):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        for layer, size in ((self.q, gain), (self.k, gain), (self.v, 1.0)):
            nn.init.normal_(layer.weight, std=size / math.sqrt(width))
        self.width, self.fused = width, fused

    def forward(self, x):
        q, k, v = (layer(x).unsqueeze(1) for layer in (self.q, self.k, self.v))
        if self.fused:
            return F.scaled_dot_product_attention(q, k, v).squeeze(1)
        return ((q @ k.transpose(-2, -1) / math.sqrt(self.width)).softmax(-1) @ v).squeeze(1)


def rows(gain, fused, tokens, seeds=8, width=256):
    found = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        shared = torch.randn(4, 1, width)
        x = math.sqrt(0.3) * shared + math.sqrt(0.7) * torch.randn(4, tokens, width)
        row = probe(Attention(width, gain, fused), x).profile.select("attention")
        found.append(
            [
                float(row[name][0])
                for name in ("q", "q_theory", "token_correlation", "token_correlation_theory")
            ]
        )
    return np.array(found)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("gain", [0.3, 1.2])
def test_attention_rows_stand_beside_their_theory(fused, gain):
    found = rows(gain, fused, tokens=24)
    # the tokens of a softmax are its weights, whose sizes differ: theory has no mean cosine of these
    for measured, theory in ((found[:, 0], found[:, 1]), (found[:, 2], found[:, 3]))[: 1 + fused]:
        rest = measured / theory - 1.0
        error = rest.std(ddof=1) / math.sqrt(len(rest))
        # what 256 channels leave: logits and values are known to 1/√256 each
        assert abs(rest.mean()) < 5 * error + 0.02, (rest.mean(), error)


def test_masked_queries_have_no_theory():
    class Causal(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.Linear(16, 16)

        def forward(self, x):
            h = self.l(x).unsqueeze(1)
            return F.scaled_dot_product_attention(h, h, h, is_causal=True)

    row = probe(Causal(), torch.randn(4, 10, 16)).profile.select("attention")
    assert math.isnan(row["q_theory"][0])
    assert math.isnan(row["token_correlation_theory"][0])
