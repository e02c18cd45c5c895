"""Random attention: means over the softmax of two queries against softmaxes drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from tests.referee.compare import Check

from firstlight.gauss.softmax import shares
from firstlight.theory import AttentionMap


def attention(seed: int, count: int = 20_000) -> Iterator[Check]:
    """E Σ p², half of E Σ (p − p')², and a step of a layer, at random tokens, logits and correlation."""
    rng = np.random.default_rng(seed)
    tokens = int(rng.integers(2, 40))
    spread, rho = float(10 ** rng.uniform(-2, 0.7)), float(rng.uniform(-1 / (tokens - 1), 0.95))
    case = f"attention: T={tokens}, t²={spread:.4g}, correlation={rho:.4g}"
    one, other = rng.standard_normal((2, count, tokens))
    two = rho * one + math.sqrt(1 - rho * rho) * other
    p, r = (np.exp(math.sqrt(spread) * z) for z in (one, two))
    p, r = (v / v.sum(axis=1, keepdims=True) for v in (p, r))
    own, apart = (p * p).sum(axis=1), 0.5 * ((p - r) ** 2).sum(axis=1)
    found = shares(tokens, spread, rho)
    for what, value, sample in (("E Σ p²", found.own, own), ("E Σ p² − E Σ pp'", found.apart, apart)):
        error = float(sample.std()) / math.sqrt(count)
        yield Check(case, what, value, float(sample.mean()), error, allowed=max(found.error, 1e-9) * value)
    layer = AttentionMap(tokens=tokens, query=spread / (1 - rho), skip=0.6, branch=0.9, value=1.3)
    q, after, _ = layer.step(1.0, rho)
    mixed = 0.36 + 0.81 * 1.3 * (rho + (1 - rho) * own)
    yield Check(case, "q'", q, float(mixed.mean()), float(mixed.std()) / math.sqrt(count), allowed=1e-6 * q)
    between = 0.36 * rho + 0.81 * 1.3 * (rho + (1 - rho) * (p * r).sum(axis=1))
    error = float(between.std()) / math.sqrt(count)
    yield Check(case, "q'ρ'", q * after, float(between.mean()), error, allowed=1e-6 * q)
