"""Attention, infinite depth, sparse tuning, random features, powers of the width: samples and quoted numbers."""

import math

import numpy as np
import pytest
import torch

import firstlight
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork
from firstlight.theory import (
    AttentionMap,
    correlator_exponent,
    deep_features,
    log_norm_drift,
    residual_growth,
    sparse_tuning,
    variance_fixed_points,
)
from firstlight.theory.maps.layer import LayerMap


def z_score(samples, expected):
    samples = np.asarray(samples)
    return (samples.mean(0) - expected) / (samples.std(0, ddof=1) / math.sqrt(len(samples)))


def attention_drawn(count, d, rho, scale, generator):
    """Mean square, mean product of two tokens, and T·Σ p² of one layer of one head."""

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x = math.sqrt(rho) * normal(1, d) + math.sqrt(1 - rho) * normal(count, d)
    query, key, value, out = (normal(d, d) * math.sqrt(c / d) for c in (scale, scale, 1.0, 1.0))
    p = torch.softmax((x @ query) @ (x @ key).T / math.sqrt(d), -1)
    gram = (p @ x @ value @ out) @ (p @ x @ value @ out).T / d
    q = float(gram.diagonal().mean())
    return q, (float(gram.mean()) * count - q) / (count - 1), count * float((p * p).sum(1).mean())


@pytest.mark.parametrize(("rho", "scale"), [(0.3, 1.0), (0.7, 1.5)])
def test_attention_against_layers_drawn(rho, scale):
    g = torch.Generator().manual_seed(0)
    found = [attention_drawn(300, 300, rho, scale, g) for _ in range(20)]
    q, c, share = AttentionMap(tokens=300, query=scale, key=scale).step(1.0, rho)
    assert np.abs(z_score(found, [q, q * c, share])).max() < 5


def test_tokens_collapse_faster_than_any_exponential_and_a_skip_holds_them():
    layer = AttentionMap(tokens=64, query=1.3)
    for gap in (1e-2, 1e-3):
        lost = 1 - layer.step(1.0, 1 - gap)[1]
        assert lost == pytest.approx(1.3 * gap**3 / 64, rel=0.03)
    held = AttentionMap(tokens=64, skip=1.0, branch=0.3).path(depth=10, correlation=0.2)
    assert (np.diff(held.correlation) > 0).all()
    assert held.correlation[-1] < 0.6
    one = AttentionMap(tokens=1).step(1.0, 1.0)
    assert one == (1.0, 1.0, 1.0)


def test_infinite_depth_against_deep_narrow_networks():
    """400 residual layers scaled by 1/√400; E log ‖φ(X₁)‖ moves by ¼ − 1/n, with the units active as counted."""
    g = torch.Generator().manual_seed(0)
    for n, count in ((4, 4000), (16, 3000)):
        y = torch.randn(count, n, generator=g, dtype=torch.float64)
        y = y[(y > 0).any(1)]
        start, active = y.clamp_min(0).norm(dim=1).log(), torch.zeros(len(y), dtype=torch.float64)
        for _ in range(400):
            h = y.clamp_min(0)
            active += (y > 0).sum(1) / 400
            # a Gaussian matrix times h is a Gaussian vector of that norm
            noise = torch.randn(y.shape, generator=g, dtype=torch.float64)
            y = y + h.norm(dim=1, keepdim=True) * noise / math.sqrt(n * 400)
        moved = y.clamp_min(0).norm(dim=1).log() - start
        # steps of 1/400 leave their square behind, 2e-3
        assert abs(float(z_score((moved - (active / (2 * n) - 1 / n)).numpy(), 0.0))) < 5
        law = log_norm_drift("relu", n)
        assert float(active.mean()) / n == pytest.approx(0.5, abs=0.03)
        assert float(moved.var()) == pytest.approx(law.variance + 1 / (16 * n), rel=0.1)
    assert log_norm_drift("relu", 3).drift < 0 < log_norm_drift("relu", 4).drift
    linear = log_norm_drift("linear", 10)
    assert linear.moment == pytest.approx(1.0)  # E‖Y‖² grows as e^t whatever the width


@pytest.mark.slow
def test_residual_growth_is_the_limit_of_layers():
    times = np.linspace(0, 2, 5)
    assert residual_growth("relu", times) == pytest.approx(np.exp(times / 2), rel=1e-8)
    net = RandomNetwork(
        depth=4001, width=8, activation="tanh", sigma_w=1.5, skip=1.0, branch=math.sqrt(2 / 4000)
    )
    deep = firstlight.predict(net, q0=1 / 2.25)["q"]
    # Euler steps of 1/2000
    assert residual_growth("tanh", times, sigma_w=1.5) == pytest.approx(deep[::1000], rel=1e-3)


@pytest.mark.parametrize(
    ("sparsity", "slope", "expected"),
    [
        (0.85, None, (math.inf, 6.667, 0.5368)),
        (0.85, 0.5, (0.8095, 8.507, 0.6605)),
        (0.85, 0.7, (1.1704, 7.335, 0.5953)),
    ],
)
def test_sparse_tuning(sparsity, slope, expected):
    found = sparse_tuning("crelu", sparsity=sparsity, slope=slope)
    digits = (round(found.m, 4), round(found.sigma_w**2, 3), round(found.sigma_b**2, 4))
    assert digits == expected
    for kind in ("crelu", "cst"):
        tuned = sparse_tuning(kind, sparsity=sparsity, slope=slope)
        layer = LayerMap.of(tuned.activation, sigma_w=tuned.sigma_w, sigma_b=tuned.sigma_b)
        variance, rate, chi = (float(v) for v in layer.moments(1.0))
        assert (variance, rate, chi) == pytest.approx((1.0, tuned.slope, 1.0), rel=1e-9)
    points = variance_fixed_points(layer_of(sparse_tuning("crelu", sparsity=0.9, slope=0.9)))
    assert [round(p.q, 3) for p in points] == [1.0, 1.399, 3.474]


def layer_of(tuned):
    return LayerMap.of(tuned.activation, sigma_w=tuned.sigma_w, sigma_b=tuned.sigma_b)


def test_sparse_networks_of_a_hundred_layers():
    """Width 300: clipped networks stay near q = 1 and at their sparsity; without a clip the variance explodes."""
    g = torch.Generator().manual_seed(0)
    for slope in (None, 0.5, 0.7):
        tuned = sparse_tuning("crelu", sparsity=0.85, slope=slope)
        phi = layer_of(tuned).phi
        z, q, zeros = torch.randn(1, 300, generator=g, dtype=torch.float64), [], []
        for _ in range(100):
            h = phi(z)
            zeros.append(float((h == 0).double().mean()))
            w = torch.randn(300, 300, generator=g, dtype=torch.float64) * tuned.sigma_w / math.sqrt(300)
            z = h @ w.T + tuned.sigma_b * torch.randn(1, 300, generator=g, dtype=torch.float64)
            q.append(float((z * z).mean()))
        if slope is None:
            assert not q[-1] < 1e3
        else:
            # the mean square of 300 units fluctuates by √(2/300) = 8 %, and layers carry it on
            assert 0.6 < min(q) < max(q) < 1.5
            assert np.mean(zeros) == pytest.approx(0.85, abs=0.015)


def test_deep_random_features():
    tanh = deep_features("tanh", depth=2)
    assert [round(f.linear, 7) for f in tanh] == [0.6057055, 0.7635496]
    assert [round(f.noise, 7) for f in tanh] == [0.1655757, 0.0810776]
    assert round(tanh[1].r, 7) == 0.3942945
    (sign,) = deep_features("sign")
    assert (round(sign.linear, 7), round(sign.noise, 7)) == (0.7978846, 0.6028103)
    # a linear layer has no noise, and a ReLU's splits in half
    assert deep_features("linear")[0].noise == pytest.approx(0.0, abs=1e-7)
    assert deep_features("relu")[0].linear == pytest.approx(0.5)


def test_powers_of_the_width():
    """E Θ stays and Var Θ falls as 1/n, measured on two-layer tanh networks."""
    assert (correlator_exponent(2), correlator_exponent(4), correlator_exponent(2, 2)) == (0.0, -1.0, 0.0)
    assert correlator_exponent(1, 3) == -1.0
    g, means, spreads = torch.Generator().manual_seed(0), [], []
    for n in (32, 256):
        u, v = (torch.randn(4000, n, generator=g, dtype=torch.float64) for _ in range(2))
        h = torch.tanh(u)
        theta = ((h * h).sum(1) + ((v * (1 - h * h)) ** 2).sum(1)) / n
        means.append(float(theta.mean()))
        spreads.append(n * float(theta.var()))
    assert means[1] == pytest.approx(means[0], rel=0.02)
    assert spreads[1] == pytest.approx(spreads[0], rel=0.15)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: AttentionMap(tokens=0), "one token"),
        (lambda: AttentionMap(tokens=3, value=-1.0), "value ≥ 0"),
        (lambda: AttentionMap(tokens=3).step(0.0, 0.5), "q > 0"),
        (lambda: AttentionMap(tokens=3).step(1.0, -0.9), "correlation in"),
        (lambda: log_norm_drift("tanh", 4), "relu or linear"),
        (lambda: log_norm_drift("relu", 0), "width ≥ 1"),
        (lambda: residual_growth("relu", [1.0, 0.5]), "increasing"),
        (lambda: sparse_tuning("crelu", sparsity=1.5), "in \\(0, 1\\)"),
        (lambda: sparse_tuning("crelu", sparsity=0.2, slope=0.9), "σ_b² ≥ 0"),
        (lambda: deep_features("tanh", r=0.0), "r > 0"),
        (lambda: correlator_exponent(0), "clusters"),
    ],
)
def test_bad_input_is_named(call, match):
    with pytest.raises(DomainError, match=match):
        call()


@pytest.mark.parametrize(("n", "drift"), [(2, -1 / 6), (3, -0.0476), (4, 1 / 60)])
def test_narrow_relu_networks_drift_as_drawn(n, drift):
    """log ‖φ(X₁)‖ − log ‖φ(X₀)‖ over networks of 150 layers, for inputs that some unit passes."""
    assert log_norm_drift("relu", n).drift == pytest.approx(drift, abs=1e-4)
    rng, depth = np.random.default_rng(n), 150
    x = rng.standard_normal((20_000, n))
    x = x[(x > 0).any(1)]
    start = np.log(np.linalg.norm(np.maximum(x, 0), axis=1))
    for _ in range(depth):
        norm = np.linalg.norm(np.maximum(x, 0), axis=1)
        x += (norm / math.sqrt(n * depth))[:, None] * rng.standard_normal(x.shape)
    moved = np.log(np.linalg.norm(np.maximum(x, 0), axis=1)) - start
    # a finite depth adds a term of order 1/depth
    assert (
        abs(moved.mean() - log_norm_drift("relu", n).drift) < 4 * moved.std() / math.sqrt(len(x)) + 1 / depth
    )
