"""The three cases every release must get right; tools that look at the forward variance pass the first two."""

import math

import numpy as np
import pytest
from torch import nn

import firstlight


def test_deep_tanh_with_large_weights_is_chaotic_with_exploding_gradients(deep_mlp, digits, codes):
    result = firstlight.audit(deep_mlp(50, 256, nn.Tanh, 1.89), digits)
    assert not result.healthy
    assert {"chaotic", "exploding-gradients"} <= set(codes(result))
    rows = result.profile.select("weight")
    # mean field at σ_w = 1.89: q* = 1.79, χ₁ = 1.31, rms gradient ratio first/last ≈ 770
    deep = slice(10, 50)
    q = rows["q"][deep]
    assert abs(q.mean() - 1.79) < 5 * q.std() / math.sqrt(len(q) / 3)
    assert np.nanmean(rows["chi"][deep]) == pytest.approx(1.31, abs=0.02)
    gap = rows["log_grad"][0] - rows["log_grad"][49]
    assert gap == pytest.approx(math.log(770), abs=1.0)
    assert rows["correlation"][0] > 0.7
    assert rows["correlation"][49] < 0.1
    exploding = next(v for v in result.verdicts if v.code == "exploding-gradients")
    assert exploding.measured > exploding.threshold
    assert exploding.uncertainty < 0.2 * exploding.measured


def test_deep_batch_norm_explodes_and_is_named(deep_mlp, digits, codes):
    result = firstlight.audit(deep_mlp(50, 256, nn.ReLU, math.sqrt(2), norm=nn.BatchNorm1d), digits)
    assert not result.healthy
    assert codes(result)[0] == "batch-norm-explosion"
    assert "chaotic" not in codes(result)
    rows = result.profile.select("weight")
    squared = math.exp(2 * (rows["log_grad"][1] - rows["log_grad"][49]) / 48)
    assert squared == pytest.approx(1.44, abs=0.03)
    verdict = result.verdicts[0]
    assert "1.467" in verdict.evidence
    # theory from the measured moments, by row
    z, norm = result.profile.select("weight"), result.profile.select("norm")
    theory = math.exp(float(np.nanmean(z["growth_theory"][5:45]) + np.nanmean(norm["growth_theory"][5:45])))
    assert theory == pytest.approx(math.pi / (math.pi - 1), abs=0.03)


def test_the_same_network_at_the_edge_of_chaos_is_healthy(deep_mlp, digits, codes):
    # the exact edge at σ_w² = 1.46 has q* = 0.301603 and σ_b² = 0.0125418
    result = firstlight.audit(
        deep_mlp(50, 256, nn.Tanh, math.sqrt(1.46), sigma_b=math.sqrt(0.0125418)), digits
    )
    assert result.healthy, result.to_text()
    assert codes(result)[-1] == "healthy"
    assert "warning" not in {v.severity for v in result.verdicts}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_the_cases_hold_for_other_draws(deep_mlp, digits, codes, seed):
    chaotic = firstlight.audit(deep_mlp(50, 256, nn.Tanh, 1.89, seed=seed), digits)
    assert {"chaotic", "exploding-gradients"} <= set(codes(chaotic))
    normed = firstlight.audit(deep_mlp(50, 256, nn.ReLU, 2**0.5, norm=nn.BatchNorm1d, seed=seed), digits)
    assert "batch-norm-explosion" in codes(normed)
    edge = firstlight.audit(deep_mlp(50, 256, nn.Tanh, 1.46**0.5, sigma_b=0.0125418**0.5, seed=seed), digits)
    assert edge.healthy
