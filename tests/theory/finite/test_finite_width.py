"""Finite-width corrections against networks whose weight matrices are drawn entry by entry."""

import math

import numpy as np
import pytest
from tests.referee import brute

import firstlight
from firstlight.network import RandomNetwork
from firstlight.theory import finite_width

_SMALL = {"in_features": 16, "width": 16}


def measured(z):
    """Kurtosis and relative variance of the layer's second moment, each with its standard error."""
    second, fourth = z.square().mean(dim=1), z.pow(4).mean(dim=1)
    q, k4 = second.mean(), fourth.mean()
    spread = second.var() / q**2
    influence = (fourth - k4) / q**2 - 2 * k4 / q**3 * (second - q)
    wobble = (second - q) ** 2 / q**2 - 2 * spread / q * (second - q)
    root = math.sqrt(len(z))
    return (float(k4 / q**2) - 3, float(influence.std()) / root), (float(spread), float(wobble.std()) / root)


def compare(net, *, nets, seed, slack=0.0):
    """Every layer's two numbers within 4.5 standard errors, and a share ``slack`` of the spread's size."""
    found = finite_width(net, firstlight.predict(net)["q"])
    for index, z in enumerate(brute.layers(net, 1.0, nets=nets, seed=seed)):
        size = slack * (found.vertex[index] + 6 / net.widths[index])
        for name, (value, error) in zip(("kurtosis", "spread"), measured(z), strict=True):
            theory = float(getattr(found, name)[index])
            assert abs(theory - value) < 4.5 * error + size * (3 if name == "kurtosis" else 0.5) + 1e-9, (
                name,
                index,
                theory,
                value,
                error,
            )
    return found


def test_orthogonal_relu_after_a_normal_first_layer():
    """Recorded by brute force: .515, 1.10, 1.78, 2.63 within its errors; exactly 3·16/18·(21/16)(21/18)^k − 3."""
    net = RandomNetwork(depth=5, width=16, activation="relu", sigma_w=2**0.5, weight_law="orthogonal")
    found = compare(net, nets=6000, seed=1)
    assert found.exact
    exact = [3 * 16 / 18 * (21 / 16) * (21 / 18) ** k - 3 for k in range(4)]
    assert found.kurtosis == pytest.approx([0, *exact], abs=1e-12)
    assert found.kurtosis[1:] == pytest.approx([0.515, 1.10, 1.78, 2.63], abs=0.08)


def test_the_first_layer_is_respected():
    net = RandomNetwork(
        depth=2, activation="tanh", weight_law="orthogonal", first_layer="orthogonal", **_SMALL
    )
    found = compare(net, nets=4000, seed=2, slack=0.1)
    assert found.kurtosis[0] == pytest.approx(-6 / 18, rel=1e-12)
    assert found.spread[0] == pytest.approx(0.0, abs=1e-15)
    normal = compare(net.with_(first_layer="normal"), nets=4000, seed=3, slack=0.1)
    assert normal.kurtosis[0] == 0.0
    assert normal.spread[1] > 2 * found.spread[1]


@pytest.mark.parametrize(
    "fields",
    [
        {"width": 12, "weight_law": "rademacher", "sigma_b": 0.4},
        {"width": 12, "weight_law": "weibull(3)", "first_layer": "uniform", "in_features": 4, "dropout": 0.2},
        {"width": (8, 16, 5, 9), "weight_law": "orthogonal", "first_layer": "orthogonal", "in_features": 5},
        {
            "width": (8, 16, 5, 9),
            "weight_law": "orthogonal",
            "sigma_b": 0.5,
            "in_features": 12,
            "dropout": 0.3,
        },
        {"width": 3, "weight_law": "discrete(0: 0.5, 2: 0.5)", "activation": "leaky_relu(0.3)"},
    ],
)
def test_activations_of_degree_one_are_exact_for_every_law(fields):
    net = RandomNetwork(**{"depth": 4, "activation": "relu", "sigma_w": 1.3} | fields)
    assert compare(net, nets=20_000, seed=5).exact


@pytest.mark.parametrize(
    "fields",
    [
        {"weight_law": "uniform", "sigma_b": 0.2},
        {"skip": 0.8, "branch": 0.7, "sigma_b": 0.2},
        {
            "activation": "gelu",
            "skip": 1.0,
            "branch": 0.5,
            "weight_law": "orthogonal",
            "first_layer": "orthogonal",
        },
        {"activation": "gelu", "norm": "rms"},
        {"activation": "gelu", "norm": "layer"},
        {"activation": "gelu", "norm": "layer", "skip": 1.0, "sigma_b": 0.1},
        {"activation": "gelu", "dropout": 0.3},
    ],
)
def test_leading_order(fields):
    """The next order is a depth/width below the first one: 4/40 of it."""
    net = RandomNetwork(
        **{"depth": 4, "width": 40, "in_features": 40, "activation": "tanh", "sigma_w": 1.2} | fields
    )
    assert not compare(net, nets=2000, seed=6, slack=0.1).exact


def test_infinite_fourth_moments_are_said():
    net = RandomNetwork(depth=3, width=8, activation="relu", weight_law="student(3)")
    found = finite_width(net, firstlight.predict(net)["q"])
    assert found.kurtosis[0] == 0
    assert np.isinf(found.kurtosis[1:]).all()
    for fields in ({"norm": "layer"}, {"skip": 0.5}):  # nothing infinite is multiplied by no skip, in silence
        net = RandomNetwork(depth=3, width=16, activation="softsign", weight_law="student(2.5)", **fields)
        assert firstlight.predict(net)["kurtosis"].tolist() == [0.0, math.inf, math.inf]
