"""E1 and E2 against the figures that were measured for this project, within their errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from firstlight.errors import DomainError
from firstlight.experiments import wolinski2025 as paper

# 10 000 networks, one unit each, one run: raw KS at layer 30 of width 10 (standardised for tanh and ReLU).
# Such a KS distance scatters by about 0.87/√10 000 and never falls below that noise.
ONE_RUN = 0.009


@pytest.mark.parametrize(("name", "raw", "standardised"), [("tanh", 0.162, 0.016), ("relu", None, 0.387)])
def test_deep_ks_of_gaussian_weights(name: str, raw: float | None, standardised: float) -> None:
    result = paper.deep_ks(name, width=10, nets=4000, layers=(1, 30))
    assert result.raw_se[0] == 0.0
    if raw is not None:
        assert abs(result.raw[1] - raw) < 3 * ONE_RUN
    # the standard deviation of ReLU's heavy tail is itself noisy in one run
    assert abs(result.standardised[1] - standardised) < (3 if name == "tanh" else 6) * ONE_RUN


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("odd(2.05)", 0.016),
        ("odd(3)", 0.023),
        ("odd(10)", 0.167),
        ("positive(2.05)", 0.014),
        ("positive(10)", 0.013),
    ],
)
def test_deep_ks_of_pairs(name: str, raw: float) -> None:
    result = paper.deep_ks(name, width=10, nets=2000, layers=(1, 30))
    assert abs(result.raw[1] - raw) < 2 * ONE_RUN + 3 * 0.5 / math.sqrt(2000)


@pytest.mark.slow
def test_large_theta_drifts_in_narrow_networks() -> None:
    """Width 3, θ = 10, layer 100: KS .470 and standard deviation .099 in one run of 10 000 networks."""
    result = paper.deep_ks("odd(10)", width=3, nets=3000, layers=(1, 100))
    assert abs(result.raw[1] - 0.470) < 3 * ONE_RUN


def test_correlations_follow_infinite_width() -> None:
    """Two inputs at width 100: near the infinite-width map, by both estimators."""
    g = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(12, 60, generator=g), dim=1) * 60**0.5
    labels = np.arange(12) // 4
    result = paper.correlations("relu", width=100, inputs=x, labels=labels, nets=120, layers=(5, 10))
    assert result.pooled.shape == (3, 12, 12)
    assert result.classes(10).shape == (3, 3)
    from firstlight import predict

    unit = float(result.mean_pooled[0])
    want = predict(paper.network("relu", width=100, depth=10), q0=1.0, c0=unit)["correlation"][[4, 9]]
    np.testing.assert_allclose(result.mean_per_network[1:], want, atol=0.03)


def test_networks_of_the_paper() -> None:
    assert len(list(paper.deep_ks_networks())) == 19
    assert paper.network("positive(2.5)", width=3, depth=2).activation == "weibull-positive(2.5)"
    for name in ("odd", "odd(", "swish", "even(3)"):
        with pytest.raises(DomainError, match="odd"):
            paper.network(name, width=3, depth=2)


def test_figures() -> None:
    pytest.importorskip("matplotlib", reason="needs the plot extra")
    results = [paper.deep_ks("relu", width=5, nets=50, layers=(1, 5))]
    assert len(paper.draw_deep_ks(results).axes) == 2
    x = torch.eye(6)
    maps = paper.correlations(
        "tanh", width=5, inputs=x, labels=np.array([0, 0, 1, 1, 2, 2]), nets=8, layers=(2,)
    )
    assert len(paper.draw_correlations([maps]).axes) == 3
