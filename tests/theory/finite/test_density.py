import math
import time

import numpy as np
import pytest
import torch

import firstlight
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork
from firstlight.theory import propagate_density


def draw_layers(net, depth, count, seed):
    """Units that are independent by construction: every summand comes from its own shuffled population."""
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(count, generator=g, dtype=torch.float64)
    n = net.widths[0]
    for _ in range(depth - 1):
        total = torch.zeros(count, dtype=torch.float64)
        for _ in range(n):
            if net.weight_law == "normal":
                w = torch.randn(count, generator=g, dtype=torch.float64)
            elif net.weight_law == "uniform":
                w = 2 * torch.rand(count, generator=g, dtype=torch.float64) - 1
            else:
                w = torch.randint(0, 2, (count,), generator=g).double() * 2 - 1
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


def test_predict_at_this_level_and_its_time():
    net = RandomNetwork(depth=100, width=10, activation="tanh", sigma_w=1.2, sigma_b=0.1)
    start = time.process_time()
    profile = firstlight.predict(net, level="density")
    assert time.process_time() - start < 5.0
    assert np.isfinite(profile["ks"]).all()
    assert profile["ks_standardised"][-1] < profile["ks"][-1]


def test_bad_input_is_named():
    with pytest.raises(DomainError, match="plain layers"):
        propagate_density(RandomNetwork(depth=2, width=4, norm="layer"), q1=1.0)
    with pytest.raises(DomainError, match="q1 > 0"):
        propagate_density(RandomNetwork(depth=2, width=4), q1=0.0)
