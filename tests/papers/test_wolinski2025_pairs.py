"""The pair experiments of Wolinski & Arbel against the reruns of the authors' saved data."""

import math

import pytest
import torch

from firstlight import pairs, weights
from firstlight.papers.wolinski2025 import THETAS, product_ks, two_layer_ks

DRAWS = 40_000
# the KS distance of a non-Gaussian law has a standard error of at most ½/√draws; the reference had 200 000
SLACK = 5 * 0.5 / math.sqrt(DRAWS) + 5 * 0.5 / math.sqrt(200_000)


@pytest.mark.parametrize(
    ("phi", "law", "sigma_w", "sigma_b", "expected"),
    [
        (torch.tanh, "normal", 1.46**0.5, 0.013**0.5, (0.1572, 0.1342, 0.1273)),
        (torch.relu, "normal", 2**0.5, 0.0, (0.3773, 0.3191, 0.2901)),
        (pairs.weibull(3.0).activation, "weibull(3)", 1.0, 0.0, (0.0, 0.0779, 0.0608)),
        (pairs.weibull(3.0, kind="positive").activation, "weibull(3)", 1.0, 0.0, (0.0, 0.0233, 0.0052)),
    ],
    ids=["tanh", "relu", "odd", "positive"],
)
def test_two_layer_panel_with_one_input(phi, law, sigma_w, sigma_b, expected):
    result = two_layer_ks(
        phi, weights.get(law), sigma_w=sigma_w, sigma_b=sigma_b, widths=(1, 2, 3), draws=DRAWS, seed=2
    )
    for got, reference in zip(result.panels["[1,n,1]"], expected, strict=True):
        assert got == pytest.approx(reference, abs=SLACK)
    if law != "normal":  # n₀ = n₁ = 1 is pure noise for an exact pair; 2.5/√n is a level of 1e-5
        assert result.panels["[1,n,1]"][0] < 2.5 / math.sqrt(DRAWS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["odd", "positive", "critical"])
@pytest.mark.parametrize("theta", THETAS)
def test_a_million_products_do_not_reject(theta, kind):
    result = product_ks(pairs.weibull(theta, kind=kind), samples=1_000_000, seed=4)
    assert result["ks"] < 2.5 / 1e3  # the level of 21 tests together is 2e-4
