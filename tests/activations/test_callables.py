"""Callables that look like something simpler on a few points: nothing is trusted that does not hold everywhere."""

import math
from functools import cache

import numpy as np
import pytest
import torch

from firstlight import RandomNetwork, activations, predict
from firstlight.errors import DomainError
from firstlight.theory import edge_of_chaos

CASES = {
    # name: function, parity, degree
    "clip far out": (lambda x: torch.clamp(x, -6, 8), None, None),
    "symmetric clip far out": (lambda x: torch.clamp(x, -50, 50), "odd", None),
    "clip beyond a million": (lambda x: torch.clamp(x, -3e6, 3e6), "odd", None),
    "clip near zero": (lambda x: torch.clamp(x, -1e-3, 1e-3), "odd", None),
    "lopsided clip near zero": (lambda x: torch.clamp(x, -1e-6, 2e-6), None, None),
    "relu far out": (lambda x: torch.relu(x - 50), None, None),
    "relu shifted a little": (lambda x: torch.relu(x + 1e-4), None, None),
    "steep": (lambda x: torch.tanh(1000 * x), "odd", None),
    "line with a bump": (lambda x: x + torch.exp(-(((x - 3) / 1e-2) ** 2)), None, None),
    "line with a narrow bump": (lambda x: x + torch.exp(-(((x - 2.345) / 2e-3) ** 2)), None, None),
    "line with a box": (lambda x: x + ((x > 0.2) & (x < 0.21)).double(), None, None),
    "quantised": (lambda x: torch.round(4 * x) / 4, "odd", None),
    "quantised tanh": (lambda x: torch.round(4 * torch.tanh(x)) / 4, "odd", None),
    "floor": (lambda x: torch.floor(x), None, None),
    "bent line": (lambda x: torch.where(x > 0, 2 * x, 3 * x), None, 1.0),
    "quadratic halves": (lambda x: x * x.abs(), "odd", 2.0),
    "root": (lambda x: torch.sign(x) * x.abs() ** 0.75, "odd", 0.75),
    "small relu": (lambda x: 1e-20 * torch.relu(x), None, 1.0),
    "nothing": (lambda x: 0 * x, "even", None),
}


@cache
def phi_of(name):
    return activations.get(CASES[name][0])


@pytest.mark.parametrize("name", CASES)
def test_parity_and_degree_are_those_of_the_whole_function(name):
    _, parity, degree = CASES[name]
    phi = phi_of(name)
    assert phi.parity == parity
    assert phi.degree == pytest.approx(degree)


@pytest.mark.parametrize("q", [1e-12, 1e-6, 1.0, 2500.0])
@pytest.mark.parametrize("name", CASES)
def test_second_moments_are_those_of_a_plain_sum(name, q):
    f = CASES[name][0]
    # a midpoint rule that is as fine at 1e-9 as at 10, relative to the place
    step = 47 / 400_000
    t = -23.5 + step * (torch.arange(400_000, dtype=torch.float64) + 0.5)
    g = 1e-9 * torch.sinh(t)
    weight = torch.exp(-g * g / 2) * 1e-9 * torch.cosh(t) * (step / math.sqrt(2 * math.pi))
    value = f(math.sqrt(q) * g) ** 2
    expected = float(value @ weight)
    # the rule is exact to a step's share of the change of f² over it
    change = float((value[1:] - value[:-1]).abs() @ weight[1:])
    found = float(activations.second(phi_of(name), q))
    assert found == pytest.approx(expected, rel=1e-9, abs=min(change, 1e-4 * expected))


@pytest.mark.parametrize(
    ("f", "sigma_w", "q0", "q"),
    [
        (lambda x: torch.clamp(x, -6, 8), 1.3, 100.0, 60.13),
        (lambda x: torch.clamp(x, -50, 50), 1.0, 2500.0, 1290.15),
        (lambda x: torch.relu(x - 50), 1.2, 2500.0, 559.39),
        (lambda x: torch.clamp(x, -1e-3, 1e-3), 1.0, 1e-8, 1e-8),
        (lambda x: torch.tanh(1000 * x), 1.0, 1e-6, 0.39429),
    ],
)
def test_the_second_layer_is_the_average_over_the_first(f, sigma_w, q0, q):
    found = predict(RandomNetwork(depth=3, width=400, activation=f, sigma_w=sigma_w), q0=q0)["q"][1]
    assert found == pytest.approx(q, rel=2e-5)
    z = np.random.default_rng(0).standard_normal(100_000) * sigma_w * math.sqrt(q0)
    sample = sigma_w**2 * f(torch.from_numpy(z)).numpy() ** 2
    assert abs(sample.mean() - found) < 5 * sample.std() / math.sqrt(len(sample))


def test_a_clip_has_a_curve_for_an_edge():
    clip = lambda x: torch.clamp(x, -50, 50)  # noqa: E731
    edge = edge_of_chaos(clip)
    assert edge.kind == "curve"
    assert edge.at(sigma_w=1.2)[0].q == pytest.approx(edge_of_chaos("hardtanh").at(sigma_w=1.2)[0].q * 2500)


def test_the_detection_is_made_once_for_a_network():
    net = RandomNetwork(depth=2, width=3, activation=lambda x: torch.relu(x - 1))
    assert net.phi is net.phi


@pytest.mark.parametrize("steps", [20, 100])
def test_a_fine_quantiser_is_answered_in_bounded_work(steps):
    """Rounding to 1/n adds 1/12n² of noise that inputs do not share, but for e^{−2π²n²q}."""
    fine = lambda x: torch.round(steps * x) / steps  # noqa: E731
    profile = predict(RandomNetwork(depth=3, width=400, activation=fine))
    noise = 1 / (12 * steps**2)
    assert profile["q"] == pytest.approx([1, 1 + noise, 1 + 2 * noise], rel=1e-12)
    assert profile["correlation"] == pytest.approx([0.5, 0.5 / (1 + noise), 0.5 / (1 + 2 * noise)], rel=1e-9)


def test_noise_is_refused_in_one_sentence():
    noise = lambda x: torch.frac(torch.sin(x * 12.9898) * 43758.5453)  # noqa: E731
    with pytest.raises(DomainError, match="too rough"):
        predict(RandomNetwork(depth=3, width=400, activation=noise))


@pytest.mark.parametrize("levels", [2, 5, 7])
def test_the_slope_of_levels_is_the_sum_of_their_densities(levels):
    """Price's theorem for a step function: h² times the density of the two Gaussians at each pair of jumps."""
    phi = activations.from_callable(lambda x: torch.floor(torch.tanh(x) * levels) / levels)
    at, q, c = np.arctanh(np.arange(1 - levels, levels) / levels), 1.218, 0.9477
    form = at[:, None] ** 2 - 2 * c * at[:, None] * at + at**2
    density = np.exp(-form / (2 * q * (1 - c * c))) / (2 * math.pi * q * math.sqrt(1 - c * c))
    found = float(activations.covariance_slope(phi, q, q, c))
    assert found == pytest.approx(density.sum() / levels**2, rel=1e-12)


@pytest.mark.parametrize(("at", "width", "c"), [(0.03, 0.002, 0.6), (0.2, 0.005, 0.2), (-0.2, 0.005, -0.4)])
def test_correlations_meet_a_bump_that_is_narrow_beside_the_signal(at, width, c):
    """The bump is a Gaussian: each of the three parts of the product has a closed form."""
    q = 0.576
    wide, area = q + width**2 / 2, math.sqrt(math.pi) * width
    rest = wide**2 - (c * q) ** 2
    line = area * math.exp(-at * at / 2 / wide) / math.sqrt(2 * math.pi * wide) * c * q * at / wide
    both = area**2 * math.exp(-at * at * (wide - c * q) / rest) / (2 * math.pi * math.sqrt(rest))
    phi = activations.get(lambda x: x / 8 + torch.exp(-(((x - at) / width) ** 2)))
    found = float(activations.dual(phi, q, q, c))
    assert found == pytest.approx(c * q / 64 + 2 * line / 8 + both, rel=1e-9)


def test_a_slope_that_the_nodes_do_not_resolve_is_not_given():
    phi = activations.get(lambda x: torch.sin(3 * x) + x / 5)
    far = activations.moments(phi, 1e12)
    assert float(far.second) == pytest.approx(0.5 + 1e12 / 25, rel=1e-6)
    assert math.isnan(far.slope)
    assert float(activations.moments(phi, 2.0).slope) == pytest.approx(
        4.54 + 4.5 * math.exp(-36) + 1.2 * math.exp(-9), rel=1e-12
    )
