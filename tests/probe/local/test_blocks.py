"""Whole blocks beside an audit: recognised in models written in many ways, and right about fresh networks."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import firstlight

WIDTH = 64


class Written(nn.Module):
    """A transformer as people write one; the switches are the ways in which they differ."""

    def __init__(
        self, *, packed=True, fused=True, norm="pre", bias=True, gated=False, depth=2, causal=False, p=0.0
    ):
        super().__init__()
        self.packed, self.fused, self.place, self.causal, self.p, self.gated = (
            packed,
            fused,
            norm,
            causal,
            p,
            gated,
        )
        n = WIDTH

        def block():
            parts = {"n1": nn.LayerNorm(n), "n2": nn.LayerNorm(n), "o": nn.Linear(n, n, bias=bias)}
            parts |= (
                {"qkv": nn.Linear(n, 3 * n, bias=bias)} if packed else {k: nn.Linear(n, n) for k in "qkv"}
            )
            parts |= {"a": nn.Linear(n, 2 * n), "b": nn.Linear(2 * n, n), "up": nn.Linear(n, 2 * n)}
            return nn.ModuleDict(parts)

        self.table, self.blocks = nn.Embedding(40, n), nn.ModuleList(block() for _ in range(depth))

    def attend(self, block, x):
        heads = (x.shape[0], x.shape[1], 4, -1)
        many = block["qkv"](x).chunk(3, -1) if self.packed else [block[k](x) for k in "qkv"]
        q, k, v = (t.reshape(heads).transpose(1, 2) for t in many)
        if self.fused:
            y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        else:
            logits = q @ k.mT / math.sqrt(WIDTH // 4)
            if self.causal:
                logits = logits.masked_fill(torch.ones(x.shape[1], x.shape[1]).triu(1).bool(), -math.inf)
            y = nn.functional.dropout(logits.softmax(-1), self.p, self.training) @ v
        return block["o"](y.transpose(1, 2).flatten(2))

    def mlp(self, block, x):
        hidden = nn.functional.gelu(block["a"](x))
        return block["b"](hidden * block["up"](x) if self.gated else hidden)

    def forward(self, t):
        x = self.table(t)
        for block in self.blocks:
            for norm, part in (("n1", self.attend), ("n2", self.mlp)):
                seen = block[norm](x) if self.place == "pre" else x
                x = x + nn.functional.dropout(part(block, seen), self.p, self.training)
                x = block[norm](x) if self.place == "post" else x
        return x


WAYS = [
    {},
    {"packed": False, "gated": True, "causal": True},
    {"fused": False, "causal": True, "bias": False},
    {"norm": "post", "packed": False, "p": 0.2},
    {"norm": None, "fused": False, "p": 0.3},
]


def deviations(make, draws):
    """z of every row and quantity, over fresh networks and the seeds of the drawn ones."""
    found = []
    for seed in range(draws):
        torch.manual_seed(seed)
        profile = firstlight.audit(make(), torch.randint(0, 40, (2, 9)), seed=seed).profile
        rows = np.isfinite(profile["q_blocks"])
        names = ("q_blocks_z", "token_correlation_blocks_z", "token_rank_blocks_z")
        found.append([profile[name][rows] for name in names])
    return np.array(found)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_fresh_networks_are_where_theory_says(way):
    """Every sum has theory; z of 16 drawn networks follows Student's t with 15 degrees: |z| > 6 in 2e-5 of cases."""
    z = deviations(lambda: Written(**way), 2)
    assert z.shape == (2, 3, 4)
    assert (np.abs(z) < 6).all(), z


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_z_has_mean_zero_and_deviation_one(way):
    z = deviations(lambda: Written(**way), 40)
    # rows of one network go together, so that each row and quantity stands for itself
    mean, spread = z.mean(0), z.std(0, ddof=1)
    assert (np.abs(mean) < 4.5 * spread / math.sqrt(40) + 0.2).all(), mean
    assert (np.abs(np.log(spread)) < 0.6).all(), spread  # t of 15 degrees has 1.07; 40 draws know it to 11 %


def test_the_page_the_text_and_the_json_show_theory_of_whole_blocks():
    torch.manual_seed(0)
    result = firstlight.audit(Written(), torch.randint(0, 40, (2, 9)))
    text, page = result.to_text(), result.to_html()
    assert "Whole blocks beside theory" in text
    assert "Whole blocks beside theory" in page
    assert "16 networks were drawn" in page
    assert result.to_dict()["meta"]["blocks"] == {"networks": 16, "left": {}}
    assert "token_correlation_blocks_z" in result.to_json()


def test_copies_of_one_layer_are_told_apart_from_independent_blocks():
    """``nn.TransformerEncoder`` copies its layer, so that the second block is not independent of the first."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(128, 4, 256, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    x = torch.randn(4, 12, 128)
    copied = firstlight.audit(model, x)
    assert "independent blocks" in copied.measurement.meta["blocks"]["left"]["layers.1.add"]
    for part in model.modules():
        if isinstance(part, nn.MultiheadAttention):
            part._reset_parameters()
        elif isinstance(part, nn.Linear):
            part.reset_parameters()
    fresh = firstlight.audit(model, x)
    assert fresh.measurement.meta["blocks"]["left"] == {}
    largest = [np.nanmax(np.abs(r.profile["q_blocks_z"])) for r in (copied, fresh)]
    assert largest[1] < 6 < largest[0]


def test_a_sum_that_is_no_block_says_why_and_other_models_have_no_such_theory():
    class Parallel(Written):
        def forward(self, t):
            x = self.table(t)
            for block in self.blocks:
                seen = block["n1"](x)
                x = x + self.attend(block, seen) + self.mlp(block, seen)
            return x

    torch.manual_seed(0)
    left = firstlight.audit(Parallel(), torch.randint(0, 40, (2, 9))).measurement.meta["blocks"]["left"]
    assert set(left.values()) == {"its branch does not read the stream, or a norm of it"}
    plain = firstlight.audit(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), torch.randn(4, 8))
    assert "blocks" not in plain.measurement.meta
    assert "q_blocks" not in plain.profile.columns
