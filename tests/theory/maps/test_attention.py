"""Attention at a finite number of tokens, against softmaxes drawn."""

import math

import numpy as np
import pytest

from firstlight.errors import DomainError
from firstlight.gauss.softmax import shares
from firstlight.theory import AttentionMap


def drawn(tokens, spread, correlation, count):
    """Σp² and ½Σ(p − p')² of two queries, mean and standard error."""
    rng = np.random.default_rng(tokens)
    one = rng.standard_normal((count, tokens))
    two = correlation * one + math.sqrt(1 - correlation**2) * rng.standard_normal((count, tokens))
    p, other = (np.exp(math.sqrt(spread) * z) for z in (one, two))
    p, other = (v / v.sum(1, keepdims=True) for v in (p, other))
    for sample in ((p * p).sum(1), 0.5 * ((p - other) ** 2).sum(1)):
        yield sample.mean(), sample.std() / math.sqrt(count)


@pytest.mark.parametrize(
    ("tokens", "spread", "correlation"),
    [
        (64, 1.0, 0.0),
        (64, 2.0, 0.3),
        (16, 1.0, 0.5),
        (16, 1.0, -0.05),
        (2, 4.0, 0.3),
        (8, 12.0, 0.2),
        (16, 1e-5, 0.9),
    ],
)
def test_means_over_the_softmax_are_those_of_softmaxes_drawn(tokens, spread, correlation):
    found = shares(tokens, spread, correlation)
    assert found.error < 1e-5
    for value, (mean, error) in zip((found.own, found.apart), drawn(tokens, spread, correlation, 20_000)):
        assert abs(value - mean) < 4.5 * error


@pytest.mark.parametrize(
    ("tokens", "spread", "share", "error"),
    [(64, 1, 0.0387, 9e-4), (64, 2, 0.0742, 2.4e-3), (16, 1, 0.137, 0.011)],
)
def test_uncorrelated_tokens_keep_the_share_that_was_measured(tokens, spread, share, error):
    q, rho, participation = AttentionMap(tokens=tokens, query=spread).step(1.0, 0.0)
    assert abs(q - share) < error
    assert participation == pytest.approx(tokens * q)
    assert rho * q == pytest.approx(1 / tokens)  # two independent queries


def test_many_tokens_follow_the_limit_and_equal_tokens_stay_equal():
    found = shares(10**6, 0.5, 0.4)
    assert found.own == pytest.approx(math.exp(0.5) / 10**6, rel=1e-4)
    assert found.own - found.apart == pytest.approx(math.exp(0.4 * 0.5) / 10**6, rel=1e-4)
    layer = AttentionMap(tokens=8, query=2.0)
    assert layer.step(1.0, 1.0) == pytest.approx((1.0, 1.0, 1.0))
    lost = 1 - 1e-3
    assert 1 - layer.step(1.0, lost)[1] == pytest.approx((1 - 1 / 8) * 2 * 1e-9 / 8, rel=1e-2)


def test_both_ways_to_the_difference_meet():
    """Below t²(1 − ρ) = 1e-5 the difference is a first term; above, a difference of two integrals."""
    below, above = shares(16, 1e-4, 1 - 0.99e-1), shares(16, 1.02e-4, 1 - 0.99e-1)
    assert below.apart / 1e-4 == pytest.approx(above.apart / 1.02e-4, rel=1e-4)


def test_a_path_says_its_error_and_refuses_what_is_one_hot():
    path = AttentionMap(tokens=16, skip=1.0, branch=0.5).path(depth=3, correlation=0.1)
    assert (path.error[:-1] < 1e-5).all()
    with pytest.raises(DomainError, match="t² ≤ 100"):
        AttentionMap(tokens=16, query=1e3).step(1.0, 0.0)


@pytest.mark.parametrize("pre_norm", [True, False])
def test_one_token_attends_to_itself_whatever_its_logit(pre_norm):
    layer = AttentionMap(tokens=1, query=1e3, value=0.5, skip=0.6, branch=0.8, pre_norm=pre_norm)
    q, _, participation = layer.step(2.0, 0.3)
    assert participation == 1.0
    assert q == pytest.approx(0.36 * 2 + 0.64 * 0.5 * (1.0 if pre_norm else 2.0))
