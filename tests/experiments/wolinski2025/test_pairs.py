"""The pair experiments of Wolinski & Arbel against the reruns of the authors' saved data."""

import math

import numpy as np
import pytest
import torch

from firstlight import pairs, weights
from firstlight.experiments.wolinski2025 import THETAS, ks_normal, product_ks, two_layer_ks

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


SETTINGS = {  # the last two: distances of [1,1,1] and [1,2,1] in the spec's rerun, shared by the other panels
    "tanh": (torch.tanh, np.tanh, "normal", 1.46**0.5, 0.013**0.5, 0.1572, 0.1342),
    "relu": (torch.relu, lambda x: np.maximum(x, 0), "normal", 2**0.5, 0.0, 0.3773, 0.3191),
    "odd 3": (pairs.weibull(3.0).activation, pairs.weibull(3.0).exact, "weibull(3)", 1.0, 0.0, 0.0, 0.0779),
    "positive 3": (
        pairs.weibull(3.0, kind="positive").activation,
        pairs.weibull(3.0, kind="positive").exact,
        "weibull(3)", 1.0, 0.0, 0.0, 0.0233,
    ),
}  # fmt: skip


def by_numpy(phi, law, sigma_w, sigma_b, n0, n1, draws, seed):
    """The experiment again: NumPy's generator, the exact φ, weights by their definition."""
    g = np.random.default_rng(seed)

    def weight(*shape):
        if law == "normal":
            return g.standard_normal(shape)
        return g.weibull(3.0, shape) * g.choice([-1.0, 1.0], shape)

    z = math.hypot(sigma_w, sigma_b) * g.standard_normal((draws, n0))
    h = phi(z)[:, None, :]
    z = sigma_w / math.sqrt(n0) * (weight(draws, n1, n0) * h).sum(2) + sigma_b * g.standard_normal(
        (draws, n1)
    )
    z = sigma_w / math.sqrt(n1) * (weight(draws, n1) * phi(z)).sum(1) + sigma_b * g.standard_normal(draws)
    return ks_normal(torch.from_numpy(z))


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_two_layer_panels_with_many_inputs(name):
    phi, exact, law, sigma_w, sigma_b, one, two = SETTINGS[name]
    kwargs = {"sigma_w": sigma_w, "sigma_b": sigma_b, "widths": (1, 2, 5), "draws": DRAWS, "seed": 3}
    panels = two_layer_ks(phi, weights.get(law), **kwargs).panels
    # two distances of the same law, each with a standard error of at most ½/√draws
    both = 5 * math.sqrt(2) * 0.5 / math.sqrt(DRAWS)
    assert panels["[n,n,1]"][0] == pytest.approx(one, abs=SLACK)
    assert panels["[n,2,1]"][0] == pytest.approx(two, abs=SLACK)
    assert panels["[n,2,1]"][1] == pytest.approx(panels["[n,n,1]"][1], abs=both)
    for panel, n0, n1, at in (("[n,2,1]", 2, 2, 1), ("[n,2,1]", 5, 2, 2), ("[n,n,1]", 5, 5, 2)):
        again = by_numpy(exact, law, sigma_w, sigma_b, n0, n1, DRAWS, seed=n0 + 10 * n1)
        assert panels[panel][at] == pytest.approx(again, abs=both), panel


@pytest.mark.slow
@pytest.mark.parametrize("theta", THETAS)
def test_more_inputs_bring_a_pair_back_to_gaussian(theta):
    # with n₀ = 1 the two units share their only input; with many they are nearly independent
    panel = two_layer_ks(
        pairs.weibull(theta).activation, weights.weibull(theta), widths=(1, 2, 10), draws=DRAWS, seed=5
    ).panels["[n,2,1]"]
    noise = 0.5 / math.sqrt(DRAWS)
    assert panel[0] > panel[1] + 2 * noise
    assert panel[1] > panel[2] + 2 * noise or panel[2] < 5 * noise
