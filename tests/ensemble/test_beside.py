"""Theory beside simulation: wide networks follow it, and what theory does not cover is said."""

from __future__ import annotations

import numpy as np
import torch

import firstlight
from firstlight.ensemble.runs.sweep import correlated_inputs


def test_wide_networks_follow_theory() -> None:
    net = firstlight.RandomNetwork(depth=8, width=1000, activation="tanh", sigma_w=1.5, sigma_b=0.3)
    x = correlated_inputs(20, count=2, correlation=0.3)
    p = firstlight.simulate(net, x, nets=64, layers=[1, 3, 8], gradients=True)
    # corrections are O(depth/width): 1 % here, more than the standard errors
    np.testing.assert_allclose(p["q"], p["q_theory"], rtol=0.02)
    np.testing.assert_allclose(p["correlation"], p["correlation_theory"], rtol=0.02)
    np.testing.assert_allclose(p["growth"][:2], p["growth_theory"][:2], atol=0.02)
    assert "infinite width" in p.meta["theory"]


def test_networks_that_theory_does_not_cover_say_so() -> None:
    net = firstlight.RandomNetwork(depth=3, width=8, activation="relu", norm="batch", weight_law="orthogonal")
    p = firstlight.simulate(net, torch.eye(4), nets=20)
    assert ("q_theory" in p.columns) == p.meta["theory"].startswith("infinite width")


def test_batch_norm_is_judged_by_its_own_batch() -> None:
    net = firstlight.RandomNetwork(depth=5, width=400, activation="relu", norm="batch")
    x = correlated_inputs(20, count=8, correlation=0.2)
    p = firstlight.simulate(net, x, nets=60, gradients=True)
    np.testing.assert_allclose(p["q"], p["q_theory"], rtol=0.02)
    np.testing.assert_allclose(p["correlation"], p["correlation_theory"], rtol=0.05)
    # the last layer's gradient does not sum to zero over the batch yet
    np.testing.assert_allclose(p["growth"][:3], p["growth_theory"][:3], atol=0.06)
    few = firstlight.simulate(net, x[:3], nets=20)
    assert "at least 4" in few.meta["theory"]
