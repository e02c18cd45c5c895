import math

import numpy as np
import pytest
import torch

import firstlight
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork
from firstlight.theory import propagate_density


def draw_layers(net, depth, count, seed, q1=1.0):
    """Units that are independent by construction: every summand comes from its own shuffled population."""
    g = torch.Generator().manual_seed(seed)
    z = math.sqrt(q1) * torch.randn(count, generator=g, dtype=torch.float64)
    n = net.widths[0]
    for _ in range(depth - 1):
        total = torch.zeros(count, dtype=torch.float64)
        for _ in range(n):
            w = net.law.sample((count,), generator=g, dtype=torch.float64)
            total += w * net.phi(z[torch.randperm(count, generator=g)])
        z = total * net.sigma_w / math.sqrt(n)
        z += net.sigma_b * torch.randn(count, generator=g, dtype=torch.float64)
    return z.numpy()


@pytest.mark.parametrize(
    ("activation", "width", "sigma_w", "sigma_b", "law"),
    [
        ("tanh", 10, 1.2, 0.1, "normal"),
        ("relu", 6, 2**0.5, 0.0, "normal"),
        ("tanh", 2, 1.0, 0.0, "normal"),
        ("tanh", 5, 3**0.5, 0.0, "uniform"),
        ("hardtanh", 3, 1.0, 0.3, "rademacher"),
    ],
)
def test_against_monte_carlo_of_independent_units(activation, width, sigma_w, sigma_b, law):
    net = RandomNetwork(
        depth=3, width=width, activation=activation, sigma_w=sigma_w, sigma_b=sigma_b, weight_law=law
    )
    laws = propagate_density(net, q1=1.0)
    count = 100_000
    z = draw_layers(net, 3, count, seed=5)
    size = np.sort(np.abs(z))
    mine = 2 * np.interp(size, laws.x[2], laws.cdf[2], right=1.0) - 1
    ranks = np.arange(1, count + 1) / count
    keep = size > 1e-9  # an atom at zero is compared below
    # populations are reused between layers, which doubles the variance of an independent sample at most
    assert np.abs(mine - ranks)[keep].max() < 2 * 1.95 / math.sqrt(count)
    assert np.mean(size == 0) == pytest.approx(laws.atom[2], abs=5 * math.sqrt(0.25**width / count) + 1e-6)
    square = z**2
    assert abs(square.mean() - laws.q[2]) < 5 * 2**0.5 * square.std() / math.sqrt(count)
    assert laws.lost.max() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize(
    "law",
    ["normal", "uniform", "rademacher", "student(3)", "student(5)", "weibull(0.7)", "weibull(3)", "laplace"],
)
def test_one_or_two_units_of_any_law(law, width):
    """Both ends of every tie of the drawn values, since discrete laws have atoms."""
    count = 50_000
    for index, activation in enumerate(("relu", "tanh", "abs", "step")):
        sigma_b = 0.3 * (index % 2)
        net = RandomNetwork(
            depth=4, width=width, activation=activation, sigma_w=1.3, sigma_b=sigma_b, weight_law=law
        )
        laws = propagate_density(net, q1=1.5)
        for layer in (2, 4):
            size = np.sort(np.abs(draw_layers(net, layer, count, seed=index, q1=1.5)))
            at, first, ties = np.unique(size.round(9), return_index=True, return_counts=True)
            mine = (
                2 * np.interp(at * (1 + 2e-9) + 2e-9, laws.x[layer - 1], laws.cdf[layer - 1], right=1.0) - 1
            )
            apart = np.abs(mine - (first + ties) / count)[at > 1e-8]
            # populations are reused between layers, which doubles the variance of an independent sample at most
            assert apart.max(initial=0.0) < 2 * 1.95 / math.sqrt(count) + laws.lost[layer - 1]
            atom = laws.atom[layer - 1]
            assert abs(np.mean(size == 0) - atom) < 5 * math.sqrt(
                layer * max(atom * (1 - atom), 1e-6) / count
            )


@pytest.mark.parametrize("kind", ["odd", "positive"])
@pytest.mark.parametrize("width", [1, 3])
def test_a_pair_keeps_the_whole_law(kind, width):
    """W·φ(X) ~ N(0, 1): under independence every layer is exactly Gaussian at any width."""
    net = RandomNetwork(depth=3, width=width, activation=f"weibull-{kind}(3)", weight_law="weibull(3)")
    laws = propagate_density(net, q1=1.0)
    assert laws.ks.max() < 1e-3
    assert laws.q == pytest.approx(1.0, abs=2e-3)


def test_moments_agree_with_the_recursion():
    """ReLU under independence: kurt' = 3 + (6 kurt − 3 − 3)/n, as E φ⁴/(E φ²)² = 2 kurt."""
    net = RandomNetwork(depth=20, width=12, activation="relu", sigma_w=2**0.5)
    laws = propagate_density(net, q1=1.0)
    excess = 0.0
    for i in range(1, 20):
        excess = (6 * (excess + 3) - 3) / 12
        assert laws.kurtosis[i] == pytest.approx(excess, rel=2e-3)
    # each inversion on 4096 points is good to a few 1e-6, and the variance is marginal
    assert laws.q == pytest.approx(1.0, rel=1e-4)
    assert laws.atom[1:] == pytest.approx(0.5**12, rel=0.05)


def test_wide_networks_approach_mean_field():
    net = RandomNetwork(depth=8, width=2000, activation="tanh", sigma_w=1.4, sigma_b=0.2)
    laws, profile = propagate_density(net, q1=2.0), firstlight.predict(net, q0=(2.0 - 0.04) / 1.96)
    assert laws.q == pytest.approx(profile["q"], rel=2e-3)
    assert laws.ks_standardised.max() < 1e-3


def test_predict_at_this_level():
    net = RandomNetwork(depth=30, width=10, activation="tanh", sigma_w=1.2, sigma_b=0.1)
    profile = firstlight.predict(net, level="density")
    assert np.isfinite(profile["ks"]).all()
    assert profile["ks_standardised"][-1] < profile["ks"][-1]


def test_relu_with_signs_for_weights():
    """Width 3: excess kurtosis 2 + 2K/3 − 3 from K = 3, and atoms where all or some units are off."""
    net = RandomNetwork(depth=5, width=3, activation="relu", sigma_w=2**0.5, weight_law="rademacher")
    laws = propagate_density(net, q1=2.0)
    raw = [3.0]
    for _ in range(4):
        raw.append(2 + 2 * raw[-1] / 3)
    assert laws.kurtosis + 3 == pytest.approx(raw, rel=1e-12)
    assert laws.kurtosis[2:] == pytest.approx([1.667, 2.111, 2.407], abs=5e-4)
    assert laws.q == pytest.approx(2.0, rel=1e-12)
    assert laws.atom[1] == pytest.approx(1 / 8, rel=1e-9)


def test_relu_with_infinite_fourth_moments():
    net = RandomNetwork(depth=5, width=3, activation="relu", weight_law="student(3)")
    laws = propagate_density(net, q1=1.0)
    assert laws.q == pytest.approx([1, 1.5, 2.25, 3.375, 5.0625], rel=1e-12)
    assert np.isinf(laws.kurtosis[1:]).all()
    assert laws.lost.max() < 0.01


def test_one_unit_a_layer():
    """ReLU, n = 1: E z⁴ grows by 6 a layer, half of the mass goes to 0, and the rest is |G₁ … G_l| in law."""
    net = RandomNetwork(depth=5, width=1, activation="relu", sigma_w=2**0.5)
    laws = propagate_density(net, q1=1.0)
    assert laws.kurtosis[-1] == pytest.approx(3885, rel=1e-12)
    assert laws.atom == pytest.approx(1 - 0.5 ** np.arange(5), rel=1e-9)
    g = np.random.default_rng(0).standard_normal((200_000, 3))
    size = np.sort(np.abs(2 * g.prod(axis=1)))
    mine = (2 * np.interp(size, laws.x[2], laws.cdf[2]) - 1 - 0.75) / 0.25
    assert np.abs(mine - np.arange(1, 200_001) / 200_000).max() < 1.95 / math.sqrt(200_000)


def test_sums_of_signs_are_binomial():
    net = RandomNetwork(depth=4, width=3, activation="sign", weight_law="rademacher")
    laws = propagate_density(net, q1=1.0)
    places = np.array([-1e-9, 1e-9]) + 1 / math.sqrt(3)
    assert np.diff(np.interp(places, laws.x[3], laws.cdf[3])) == pytest.approx(3 / 8, abs=1e-9)
    even = propagate_density(net.with_(width=4), q1=1.0)
    # with 4 signs, P(z = 0) = 6/16 in layer 2; then each term is 0 with that probability
    off = 6 / 16
    third = sum(
        math.comb(4, k) * (1 - off) ** k * off ** (4 - k) * (math.comb(k, k // 2) / 2**k if k % 2 == 0 else 0)
        for k in range(5)
    )
    assert even.atom[:3] == pytest.approx([0, 0.375, third], rel=1e-9)


@pytest.mark.parametrize(
    ("fields", "q1"),
    [
        ({"width": 2, "activation": "gelu", "weight_law": "student(3)"}, 1.0),
        ({"width": 3, "activation": lambda x: torch.clamp(x, -6, 8), "sigma_w": 1.3}, 100.0),
        ({"width": 3, "activation": lambda x: (x > 0.5).to(x.dtype), "sigma_w": 1.5, "sigma_b": 0.5}, 1.0),
        (
            {
                "width": 3,
                "activation": "tanh",
                "sigma_w": 1.5,
                "weight_law": "discrete(0: 0.5, 1: 0.25, 3: 0.25)",
            },
            1.0,
        ),
        ({"width": 2, "activation": "hardtanh", "sigma_w": 2.0, "weight_law": "rademacher"}, 1.0),
        ({"width": 1, "activation": "gelu", "sigma_w": 1.5, "sigma_b": 0.3, "weight_law": "arcsine"}, 1.0),
        ({"width": 2, "activation": "erf", "sigma_w": 3.0, "weight_law": "arcsine"}, 1.0),
        ({"width": 1, "activation": "tanh", "sigma_w": 1.5, "weight_law": "uniform"}, 1.0),
    ],
)
def test_odd_laws_and_functions_against_monte_carlo(fields, q1):
    net, count = RandomNetwork(depth=4, **fields), 60_000
    laws, z = propagate_density(net, q1=q1), draw_layers(net, 4, count, seed=2, q1=q1)
    square = z**2
    heavy = not math.isfinite(laws.kurtosis[3])
    assert heavy or abs(square.mean() - laws.q[3]) < 5 * 2**0.5 * square.std() / math.sqrt(count)
    # between atoms: no quantile stands on one
    at = np.quantile(np.abs(z), np.linspace(0.005, 0.995, 200)) + 1.3e-5 * math.sqrt(q1)
    drawn = np.searchsorted(np.sort(np.abs(z)), at, side="right") / count
    mine = 2 * np.interp(at, laws.x[3], laws.cdf[3], right=1.0) - 1
    assert np.abs(mine - drawn).max() < 2 * 1.95 / math.sqrt(count) + laws.lost[3]
    assert abs(np.mean(z == 0) - laws.atom[3]) < 2 * 2 / math.sqrt(count) + 1e-6


def test_the_first_layer_has_its_own_law():
    net = RandomNetwork(depth=2, width=5, activation="tanh", first_layer="rademacher", in_features=3)
    laws = propagate_density(net, q1=3.0)
    # three signs: |z| = 3 with probability 1/4, else 1
    assert laws.q[0] == 3.0
    assert laws.kurtosis[0] == pytest.approx(-2 / 3)
    inside = np.interp([0.999, 1.001, 2.999, 3.001], laws.x[0], laws.cdf[0])
    assert inside == pytest.approx([0.5, 0.875, 0.875, 1.0], abs=1e-6)


def test_a_law_that_crowds_near_zero():
    """ReLU at width 2, layer 8: half of the mass within a hundredth of a standard deviation of 0, atom apart."""
    net = RandomNetwork(depth=8, width=2, activation="relu", sigma_w=2**0.5)
    laws, count = propagate_density(net, q1=1.0), 60_000
    size = np.sort(np.abs(draw_layers(net, 8, count, seed=3)))
    at = np.quantile(size[size > 0], np.linspace(0.02, 0.98, 60))
    drawn = np.searchsorted(size, at, side="right") / count
    mine = 2 * np.interp(at, laws.x[7], laws.cdf[7]) - 1
    assert np.abs(mine - drawn).max() < 2 * 1.95 / math.sqrt(count)
    assert laws.lost.max() < 5e-3


def test_values_that_are_next_to_nothing_are_refused_in_one_sentence():
    """Sigmoid at q = 2e4: a quarter of the values lies below 1e-40, more decades than the grid has."""
    net = RandomNetwork(depth=3, width=3, activation="sigmoid", sigma_w=2.968, weight_law="laplace")
    with pytest.raises(DomainError, match="more decades than the grid"):
        propagate_density(net, q1=2e4)


def test_what_the_grid_cannot_hold_is_refused():
    cubes = RandomNetwork(depth=4, width=2, activation=lambda x: x**3, sigma_w=0.5)
    with pytest.raises(DomainError, match=r"spans more decades than the grid; .* simulate the network"):
        firstlight.predict(cubes, level="density")


def test_predict_shows_what_was_lost():
    profile = firstlight.predict(RandomNetwork(depth=4, width=4, activation="gelu"), level="density")
    assert (profile["lost"] < 0.01).all()
    assert "error estimate" in profile.meta["assumptions"]["lost"]


def test_bad_input_is_named():
    with pytest.raises(DomainError, match="plain layers"):
        propagate_density(RandomNetwork(depth=2, width=4, norm="layer"), q1=1.0)
    with pytest.raises(DomainError, match="q1 > 0"):
        propagate_density(RandomNetwork(depth=2, width=4), q1=0.0)
