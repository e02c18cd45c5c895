"""Transformers before training: theory against every matrix drawn, exact integrals against drawn heads."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.theory.transformer.brute import stream

from firstlight.errors import DomainError
from firstlight.theory import AttentionMap, Transformer, predict_transformer, transformer_like

# fields of the blocks, what brute force is told besides
CASES = {
    "pre-norm": ({}, {}),
    "post-norm": ({"norm": "post"}, {}),
    "as Llama": (
        {"causal": True, "rotary": 100.0, "gated": True, "activation": "silu", "query": 1.5, "key": 1.5},
        {"groups": 4},
    ),
    "no norm, one token read": ({"query": 3.0, "key": 2.0, "norm": None, "branch": 0.5}, {"loss": "first"}),
    "attention alone, one gradient": ({"causal": True, "query": 2.0, "mlp_out": 0.0}, {"loss": "mean"}),
    "no skip": ({"skip": 0.0, "query": 2.0, "key": 2.0, "mlp_in": 2.0, "mlp_out": 2.0}, {}),
}


def equal(tokens, c):
    return torch.full((tokens, tokens), c, dtype=torch.float64).fill_diagonal_(1.0)


def cosine(k):
    scale = k.diagonal().rsqrt()
    return float((k * scale[:, None] * scale).sum() / len(k) - 1) / (len(k) - 1)


def deviates(name, *, width, networks, tokens=10):
    """Theory less mean over networks, in standard errors, of q, the cosine and the gradient; and relative to theory."""
    fields, more = CASES[name]
    blocks = Transformer(depth=3, head_dim=32, **fields)
    # theory's own heads are drawn: 8 · 50 of them know a mean to between .1 % and 3 %, which their spread tells
    profiles = [
        predict_transformer(
            blocks, tokens=tokens, c0=0.2, loss=more.get("loss", "tokens"), draws=50, seed=seed
        )
        for seed in range(8)
    ]
    found = {"q": [], "token_correlation": [], "gradient": []}
    for seed in range(networks):
        ks, gradients = stream(blocks, equal(tokens, 0.2), width=width, heads=width // 32, seed=seed, **more)
        found["q"].append([float(k.diagonal().mean()) for k in ks])
        found["token_correlation"].append([cosine(k) for k in ks])
        squares = torch.stack([g.sum() for g in gradients])
        found["gradient"].append((squares / squares[-1]).tolist())
    theory = {name: np.array([p[name] for p in profiles]) for name in ("q", "token_correlation")}
    theory["gradient"] = np.exp([2 * p["log_grad"] for p in profiles])
    for what, values in found.items():
        rows = slice(None, -1) if what == "gradient" else slice(1, None)
        sample, drawn = np.array(values)[:, rows], theory[what][:, rows]
        expected = drawn.mean(0)
        error = np.hypot(sample.std(0, ddof=1) / networks**0.5, drawn.std(0, ddof=1) / 8**0.5) + 1e-6
        yield what, (sample.mean(0) - expected) / error, sample.mean(0) / expected - 1


@pytest.mark.parametrize("name", CASES)
def test_theory_is_what_drawn_networks_do(name):
    """At width 256 with 8 heads the next order is some per cent, which the second line allows."""
    for what, z, relative in deviates(name, width=256, networks=16):
        assert (np.abs(z) < 4.5).all() or (np.abs(relative) < 0.04).all(), (what, z, relative)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["post-norm", "as Llama", "attention alone, one gradient"])
def test_what_is_left_at_width_1024_is_chance(name):
    for what, z, relative in deviates(name, width=1024, networks=16):
        assert (np.abs(z) < 4.5).all(), (what, z, relative)


def test_tokens_that_are_alike_have_the_exact_integral():
    """The covariance of blocks of attention alone is that of ``AttentionMap``, by other code around one integral."""
    blocks = Transformer(depth=3, skip=0.7, branch=0.8, mlp_out=0.0, query=1.3, norm="pre")
    profile = predict_transformer(blocks, tokens=16, c0=0.1)
    path = AttentionMap(tokens=16, skip=0.7, branch=0.8, query=1.3).path(depth=3, correlation=0.1)
    np.testing.assert_allclose(profile["q"], path.q, rtol=1e-12)
    np.testing.assert_allclose(profile["token_correlation"], path.correlation, rtol=1e-9)
    np.testing.assert_allclose(profile["participation"][1:], path.participation[:-1], rtol=1e-12)


def test_drawn_heads_are_within_their_error_of_the_integral():
    exact = predict_transformer(Transformer(depth=1, query=2.0, mlp_out=0.0), tokens=24, c0=0.1)
    # so many channels that their products are normal
    many = Transformer(depth=1, query=2.0, mlp_out=0.0, head_dim=600)
    drawn = predict_transformer(many, tokens=24, c0=0.1, draws=300)
    off = abs(drawn["q"][1] / exact["q"][1] - 1)
    assert 0 < off < 4.5 * drawn["error"][1] < 0.01


def test_the_gradient_is_the_derivative_of_the_stream():
    """One token attends to itself: attention is linear, and each gradient is C_V C_O or its chain through the MLP."""
    scales = {"value": 1.5, "output": 2.0, "mlp_in": 0.9, "mlp_out": 1.1}
    blocks = Transformer(depth=1, norm=None, skip=0.0, activation="relu", **scales)
    profile = predict_transformer(blocks, tokens=1, q0=2.0)
    np.testing.assert_allclose(profile["q"], [2.0, 6.0, 6.0 * 0.9 * 1.1 / 2], rtol=1e-12)
    np.testing.assert_allclose(np.exp(profile["growth"][:2]), [3.0, 0.9 * 1.1 / 2], rtol=1e-9)


def test_branches_of_one_over_root_depth_keep_tokens_apart_at_any_depth():
    """Noci et al. (2022): with branches of 1 the cosine goes to 1, with 1/√depth it has a limit below."""
    bare, scaled = ([], [])
    for depth in (8, 32, 128):
        for ends, branch in ((bare, 1.0), (scaled, depth**-0.5)):
            blocks = Transformer(depth=depth, branch=branch, norm=None, mlp_out=0.0, query=0.0)
            ends.append(float(predict_transformer(blocks, tokens=8)["token_correlation"][-1]))
    assert bare[0] < bare[1] < bare[2]
    assert bare[2] == pytest.approx(1.0, abs=1e-6)
    # even attention: the mean over tokens grows by 1 + 1/depth and the rest does not, so (e·m)/(e·m + rest), m = 1/8
    limit = (math.e - 1) / (math.e + 7)
    assert scaled[2] == pytest.approx(limit, abs=0.01)
    assert abs(scaled[2] - limit) < abs(scaled[1] - limit) < abs(scaled[0] - limit)


def test_a_covariance_that_is_given_is_the_start_and_the_seed_decides():
    k = torch.tensor([[1.0, 0.3, 0.1], [0.3, 2.0, 0.4], [0.1, 0.4, 0.5]], dtype=torch.float64)
    blocks = Transformer(depth=2, causal=True, norm=None)
    one, two, other = (predict_transformer(blocks, covariance=k, seed=s) for s in (0, 0, 1))
    assert one["q"][0] == pytest.approx(3.5 / 3)
    np.testing.assert_array_equal(one["log_grad"], two["log_grad"])
    assert one["q"][1] != other["q"][1]
    assert one["name"].tolist() == [
        "tokens",
        "block 1 attention",
        "block 1 mlp",
        "block 2 attention",
        "block 2 mlp",
    ]


def test_a_configuration_gives_its_scales():
    config = SimpleNamespace(
        model_type="llama", hidden_size=256, num_hidden_layers=4, num_attention_heads=8, intermediate_size=688,
        initializer_range=0.02, rms_norm_eps=1e-6, hidden_act="silu", rope_parameters={"rope_theta": 5e5},
    )  # fmt: skip
    blocks = transformer_like(config)
    assert (blocks.query, blocks.mlp_out) == pytest.approx((0.1024, 0.2752))
    assert (blocks.gated, blocks.causal, blocks.rotary, blocks.head_dim) == (True, True, 5e5, 32)
    assert (blocks.norm, blocks.final_norm) == ("pre", True)
    with pytest.raises(DomainError, match="write firstlight"):
        transformer_like(SimpleNamespace(model_type="mamba"))


@pytest.mark.parametrize(
    ("fields", "arguments", "reason"),
    [
        ({"depth": 0}, {}, "one block"),
        ({"query": -1.0}, {}, "finite query"),
        ({"norm": "layer"}, {}, "norm 'pre'"),
        ({"rotary": 1e4}, {}, "even head_dim"),
        ({}, {"tokens": 0}, "one token"),
        ({}, {"tokens": 4, "c0": -0.5}, "cosine c0"),
        ({}, {"loss": "all"}, "a loss of"),
        ({}, {"covariance": np.ones((2, 3))}, "square covariance"),
        ({}, {"covariance": np.array([[1.0, 2.0], [2.0, 1.0]])}, "no negative direction"),
    ],
)
def test_what_cannot_be_is_refused(fields, arguments, reason):
    with pytest.raises(DomainError, match=reason):
        predict_transformer(Transformer(**({"depth": 1} | fields)), **arguments)
