import math

import numpy as np
import pytest
import torch

import firstlight
from firstlight import activations, weights
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork
from firstlight.profile import Profile
from firstlight.theory import LayerMap, batchnorm, edgeworth_kurtosis, finite_width, matching_weight_kurtosis


@pytest.mark.parametrize(
    ("activation", "sigma_w", "sigma_b"),
    [
        ("tanh", 1.3, 0.1),
        ("relu", 2**0.5, 0.0),
        ("gelu", 1.4, 0.2),
        ("hardtanh", 1.5, 0.1),
        ("silu", 1.5, 0.0),
    ],
)
def test_rows_are_the_maps_one_after_another(activation, sigma_w, sigma_b):
    net = RandomNetwork(depth=12, width=64, activation=activation, sigma_w=sigma_w, sigma_b=sigma_b)
    profile = firstlight.predict(net, q0=0.8, c0=0.3)
    layer = LayerMap.of(net)
    q = sigma_w**2 * 0.8 + sigma_b**2
    c = (sigma_w**2 * 0.8 * 0.3 + sigma_b**2) / q
    for i in range(12):
        assert (profile["q"][i], profile["correlation"][i]) == pytest.approx((q, c), rel=1e-9, abs=1e-12)
        assert profile["chi"][i] == pytest.approx(float(layer.chi(q)), rel=1e-10)
        k = float(layer.covariance(q, q, c))
        q = float(layer.variance(q))
        c = k / q
    assert profile["log_grad"][-1] == 0
    assert profile["log_grad"][0] == pytest.approx(0.5 * np.log(profile["chi"][:-1]).sum())


def test_against_networks_drawn():
    """Mean square and covariance of width-200 networks; the correction of order 1/n is below the noise."""
    net = RandomNetwork(depth=5, width=200, activation="tanh", sigma_w=1.4, sigma_b=0.2)
    profile = firstlight.predict(net, q0=1.0, c0=0.4)
    g = torch.Generator().manual_seed(3)
    x = torch.randn(2, 200, generator=g, dtype=torch.float64)
    x[1] -= x[0] * (x[1] @ x[0]) / (x[0] @ x[0])
    x = x / x.norm(dim=1, keepdim=True) * math.sqrt(200)
    x[1] = 0.4 * x[0] + math.sqrt(1 - 0.16) * x[1]
    found = []
    for _ in range(40):
        h, rows = x, []
        for _ in range(5):
            w = torch.randn(200, 200, generator=g, dtype=torch.float64) * 1.4 / math.sqrt(200)
            z = h @ w.T + 0.2 * torch.randn(200, generator=g, dtype=torch.float64)
            rows.append([float((z[0] ** 2).mean()), float((z[0] * z[1]).mean())])
            h = torch.tanh(z)
        found.append(rows)
    found = np.array(found)
    expected = np.stack([profile["q"], profile["q"] * profile["correlation"]], 1)
    z = (found.mean(0) - expected) / (found.std(0, ddof=1) / math.sqrt(len(found)))
    assert np.abs(z).max() < 5


def test_a_pair_with_different_first_law_and_normaliser():
    net = RandomNetwork(
        depth=4, width=32, activation="relu", sigma_w=1.2, norm="layer", first_layer="uniform"
    )
    profile = firstlight.predict(net)
    assert profile["q"][0] == pytest.approx(1.44 / 3)  # U(−1, 1)
    assert profile["q"][1:] == pytest.approx(0.72)
    assert firstlight.predict(net.with_(norm="batch"))["correlation"][-1] == pytest.approx(1 / math.pi)


@pytest.mark.parametrize("law", ["normal", "uniform", "rademacher", "weibull(3)", "laplace"])
def test_a_law_by_name_is_the_law_that_networks_are_drawn_with(law):
    net = RandomNetwork(depth=3, width=8, activation="tanh", weight_law=law, first_layer=law)
    exact = weights.get(law).variance
    expected = activations.second(net.phi, torch.tensor([exact], dtype=torch.float64)) * exact
    assert firstlight.predict(net)["q"][:2] == pytest.approx([exact, float(expected)])


def test_siren_from_its_first_layer_on():
    """U(±1/n₀), then U(±√(6/n)/30): in units of the sine's argument 900/3n₀, and q → 1 − e^{−2q}, χ → 1.203."""
    net = RandomNetwork.siren(depth=40, width=256, in_features=2)
    profile = firstlight.predict(net)
    assert profile["q"][0] * 900 == pytest.approx(150.0)
    q = profile["q"][1:] * 900
    assert q[0] == pytest.approx(1.0)
    assert q[1:] == pytest.approx(1 - np.exp(-2 * q[:-1]))
    assert (round(q[-1], 4), round(profile["chi"][-1], 3)) == (0.7968, 1.203)


def test_extreme_networks():
    exploding = firstlight.predict(RandomNetwork(depth=900, width=8, activation="relu", sigma_w=3.0))
    assert exploding["q"][-1] > 1e300  # or infinite
    dead = firstlight.predict(RandomNetwork(depth=800, width=8, activation="tanh", sigma_w=0.5))
    assert dead["q"][-1] < 1e-300
    assert np.isfinite(dead["log_grad"]).all()
    # tanh is its tangent long before the end, which keeps correlations
    alive = dead["correlation"][dead["q"] > 1e-290]
    assert np.ptp(alive[100:]) < 1e-12
    assert Profile.from_json(exploding.to_json()) == exploding


@pytest.mark.parametrize("kw", [{"q0": 0.0}, {"q0": math.nan}, {"c0": 1.2}, {"level": "magic"}])
def test_bad_input_is_named(kw):
    with pytest.raises(DomainError, match="while predicting"):
        firstlight.predict(RandomNetwork(depth=2, width=4), **kw)


HE4 = {"relu": 0.625, "linear": 0.25, "tanh": 0.0784, "erf": 0.0700, "sin": 0.0806, "gelu": 0.777}


@pytest.mark.parametrize("name", HE4)
def test_edgeworth_coefficients(name):
    assert edgeworth_kurtosis(name) / 24 == pytest.approx(
        HE4[name], abs=0.5 * 10 ** -(4 if HE4[name] < 0.1 else 3)
    )


def test_kurtosis_matching():
    assert matching_weight_kurtosis("relu") is None
    k = matching_weight_kurtosis("tanh")
    assert edgeworth_kurtosis("tanh", weight_kurtosis=k) == pytest.approx(0.0, abs=1e-12)
    # uniform weights (k_w = 1.8) remove 96 % of tanh's
    left = edgeworth_kurtosis("tanh", weight_kurtosis=1.8) / edgeworth_kurtosis("tanh")
    assert round(1 - abs(left), 2) == 0.96


@pytest.mark.slow
def test_critical_vertices():
    """V/K²: linear 2(l−1)/n, ReLU 5(l−1)/n, tanh ≈ ⅔ l/n with K ~ 1/(2l)."""
    n, depth = 10**7, 400
    for name, w2, rate in [("linear", 1.0, 2.0), ("relu", 2.0, 5.0)]:
        net = RandomNetwork(depth=depth, width=n, activation=name, sigma_w=math.sqrt(w2))
        found = finite_width(net, firstlight.predict(net)["q"])
        assert found.exact
        # at this width the exact power (1 + r/n)^l and its first order agree to depth·r/n
        assert n * found.vertex == pytest.approx(rate * np.arange(depth), rel=1e-3)
    net = RandomNetwork(depth=4000, width=n, activation="tanh")
    profile = firstlight.predict(net)
    assert profile["q"][-1] * 2 * 4000 == pytest.approx(1.0, rel=0.01)
    assert n * finite_width(net, profile["q"]).vertex[-1] / 4000 == pytest.approx(2 / 3, rel=0.02)


def test_relu_kurtosis_is_exact_at_any_width():
    net = RandomNetwork(depth=30, width=20, activation="relu", sigma_w=2**0.5)
    kurtosis = firstlight.predict(net)["kurtosis"]
    assert kurtosis + 3 == pytest.approx(3 * (1 + 5 / 20) ** np.arange(30), rel=1e-12)


def test_spread_of_the_second_moment():
    """n·Var K̂/K² at n = 32 for layer 1 … 64: tanh Gaussian starts at 2, orthogonal ReLU at 3 after one layer."""
    net = RandomNetwork(depth=64, width=32, activation="tanh", sigma_w=1.0)
    assert 32 * finite_width(net, firstlight.predict(net)["q"]).spread[0] == pytest.approx(2.0)
    relu = RandomNetwork(
        depth=3, width=1000, activation="relu", sigma_w=2**0.5, weight_law="orthogonal", in_features=1000
    )
    sphere = relu.with_(first_layer="orthogonal")
    assert 1000 * finite_width(relu, firstlight.predict(relu)["q"]).vertex[1] == pytest.approx(5.0, rel=1e-9)
    found = finite_width(sphere, firstlight.predict(sphere)["q"])
    assert 1002 * found.vertex[1] == pytest.approx(3.0, rel=1e-9)
    assert found.kurtosis[0] == pytest.approx(-6 / 1002, rel=1e-9)


def evaluations(depth, **fields):
    """At how many points `predict` evaluates the activation, a callable that nothing is known of."""
    points = 0

    def phi(x):
        nonlocal points
        points += x.numel()
        return torch.tanh(x)

    firstlight.predict(RandomNetwork(depth=depth, activation=phi, **fields))
    return points


@pytest.mark.parametrize(
    ("deep", "fields"),
    [(1000, {"width": 100, "sigma_w": 1.3, "sigma_b": 0.1}), (800, {"width": 8, "sigma_w": 0.5})],
    ids=["stationary", "vanishing"],
)
def test_a_deep_network_costs_no_quadrature_a_layer(deep, fields):
    # moments are interpolated between variances that many layers share; a quadrature a layer would cost deep/20
    assert evaluations(deep, **fields) < deep / 20 / 4 * evaluations(20, **fields)


def batch_normed(net, batch, c0, generator):
    """q, correlation and squared gradient per layer of one network with batch norm, from exchangeable samples."""
    n, depth = net.widths[0], net.depth
    shared = torch.randn(1, n, generator=generator, dtype=torch.float64)
    own = torch.randn(batch, n, generator=generator, dtype=torch.float64)
    h, zs = math.sqrt(c0) * shared + math.sqrt(1 - c0) * own, []
    for i in range(depth):
        w = torch.randn(n, n, generator=generator, dtype=torch.float64) * net.sigma_w / math.sqrt(n)
        z = h @ w.T + net.sigma_b * torch.randn(n, generator=generator, dtype=torch.float64)
        z = net.skip * zs[-1] + net.branch * z if i and net.skip else z
        z = z if i else z.detach().requires_grad_()
        z.retain_grad()
        zs.append(z)
        mean = 0.0 if net.norm == "batch-uncentred" else z.mean(0)
        h = net.phi((z - mean) / ((z - mean) ** 2).mean(0).sqrt())
    last = zs[-1]
    pull = torch.randn(last.shape, generator=generator, dtype=torch.float64)
    # behind another batch norm, a gradient sums to zero over the batch
    (last * (pull if net.norm == "batch-uncentred" else pull - pull.mean(0))).sum().backward()
    gram = [(z @ z.T / n).detach() for z in zs]
    q = [float(g.diagonal().mean()) for g in gram]
    cross = [float((g.sum() - g.diagonal().sum()) / (batch * (batch - 1))) for g in gram]
    return q, cross, [float((z.grad**2).sum()) for z in zs]


@pytest.mark.parametrize(
    ("kw", "batch", "c0"),
    [
        ({"activation": "relu", "norm": "batch"}, 6, 0.25),
        ({"activation": "tanh", "norm": "batch", "sigma_b": 0.5}, 12, 0.0),
        ({"activation": "relu", "norm": "batch", "skip": 1.0, "branch": 0.5}, 6, 0.3),
        ({"activation": "sin", "norm": "batch-uncentred"}, 6, 0.0),
    ],
)
def test_batch_norm_against_networks_drawn(kw, batch, c0):
    net = RandomNetwork(depth=6, width=300, sigma_w=1.3, **kw)
    profile = firstlight.predict(net, q0=1.0, c0=c0, batch=batch)
    g = torch.Generator().manual_seed(2)
    q, cross, gradient = (np.array(v) for v in zip(*(batch_normed(net, batch, c0, g) for _ in range(25))))
    growth = gradient[:, :-1] / gradient[:, 1:]
    for found, expected in (
        (q, profile["q"]),
        (cross, profile["q"] * profile["correlation"]),
        (growth, profile["chi"][:-1]),
    ):
        z = (found.mean(0) - expected) / (found.std(0, ddof=1) / math.sqrt(len(found)))
        assert np.abs(z).max() < 5


def test_batch_norm_grows_by_the_rate_of_yang_et_al():
    for batch, expected in [(None, math.pi / (math.pi - 1)), (8, batchnorm.gradient_rate("relu", 8))]:
        net = RandomNetwork(depth=5, width=8, activation="relu", sigma_w=0.7, norm="batch")
        chi = firstlight.predict(net, batch=batch)["chi"]
        assert chi[1:] == pytest.approx(expected, rel=1e-12)
    linear = RandomNetwork(depth=3, width=8, activation="linear", norm="batch")
    assert firstlight.predict(linear, batch=10)["chi"][1] == pytest.approx(8 / 7)


@pytest.mark.parametrize(
    ("kw", "batch", "match"),
    [
        ({"norm": "layer"}, 8, "only with norm"),
        ({"norm": "batch"}, 3, "at least 4"),
        ({"norm": "batch-uncentred", "activation": "relu"}, 8, "odd activation"),
    ],
)
def test_batches_theory_cannot_follow_are_refused(kw, batch, match):
    with pytest.raises(DomainError, match=match):
        firstlight.predict(RandomNetwork(depth=3, width=8, **kw), batch=batch)


def test_the_stationary_growth_of_batch_norm_is_that_of_its_rows():
    net = RandomNetwork(depth=30, width=100, activation="relu", sigma_w=1.2, norm="batch")
    meta = firstlight.predict(net, batch=8).meta
    assert round(meta["chi_star"], 3) == 1.788
    assert meta["chi_star"] == pytest.approx(batchnorm.gradient_rate("relu", 8))
    assert {point["chi"] for point in meta["fixed_points"]} == {meta["chi_star"]}
    assert firstlight.predict(net).meta["chi_star"] == pytest.approx(math.pi / (math.pi - 1))
    for change in ({"skip": 0.8}, {"skip": 0.5, "dropout": 0.3, "sigma_b": 0.4}, {"sigma_b": 1.0}):
        profile = firstlight.predict(net.with_(**change, depth=60), batch=8)
        assert profile.meta["chi_star"] == pytest.approx(float(profile["chi"][-1]), rel=1e-6)
    odd = net.with_(activation="sin", norm="batch-uncentred", skip=0.5, sigma_b=0.3, depth=60)
    profile = firstlight.predict(odd, batch=8)
    assert profile.meta["chi_star"] == pytest.approx(float(profile["chi"][-1]), rel=1e-6)


def test_an_activation_that_is_nothing_is_answered():
    profile = firstlight.predict(RandomNetwork(depth=3, width=10, activation=lambda x: 0 * x, sigma_b=0.5))
    assert profile["q"].tolist() == pytest.approx([1.25, 0.25, 0.25])
    assert profile["correlation"][1:].tolist() == pytest.approx([1.0, 1.0])
    assert firstlight.predict(RandomNetwork(depth=2, width=10, activation=lambda x: 0 * x))["q"][1] == 0.0


@pytest.mark.parametrize(
    ("name", "second", "c"),
    [
        ("tanh", 1.0, 1 / 3),
        ("gelu", 5e299, 0.6089977810442294),
        ("relu", 5e299, 0.6089977810442294),
        ("sin", 0.5, 0.0),
        ("cos", 0.5, 0.0),
    ],
)
def test_inputs_as_large_as_numbers_go(name, second, c):
    """At infinite variance tanh is the sign, with correlation (2/π) arcsin ½, GELU is ReLU, and waves are unrelated."""
    profile = firstlight.predict(RandomNetwork(depth=3, width=8, activation=name), q0=1e300)
    assert profile["q"][1] == pytest.approx(second)
    assert profile["correlation"][1] == pytest.approx(c)
    assert np.isfinite(profile["q"]).all()
    assert np.isfinite(profile["correlation"]).all()


def test_what_is_too_rough_for_a_huge_input_is_refused_and_does_not_overflow():
    net = RandomNetwork(depth=3, width=8, activation=lambda x: torch.sin(2 * x) + 0.2)
    with pytest.raises(DomainError, match="too rough"):
        firstlight.predict(net, q0=1e300)
    assert (
        firstlight.predict(RandomNetwork(depth=2, width=8, activation="square"), q0=1e300)["q"][1] == math.inf
    )


@pytest.mark.parametrize("q0", [1e-12, 1e-20, 1e-60])
@pytest.mark.parametrize(
    ("activation", "power", "size"),
    [
        ("tanhshrink", 3, 1 / 3),
        (lambda x: x - torch.tanh(x), 3, 1 / 3),  # rounding alone at 1e-8
        (lambda x: x - torch.sin(x), 3, 1 / 6),
        (lambda x: x**3, 3, 1.0),
        (lambda x: x * torch.tanh(x), 2, 1.0),
        (lambda x: x.square(), 2, 1.0),
    ],
)
def test_a_function_without_a_slope_at_zero_is_its_leading_power(activation, power, size, q0):
    """E (aG^m)² = a²(2m − 1)!!, and its correlation and slope by the moments of two Gaussians."""
    net = RandomNetwork(depth=2, width=8, activation=activation)
    profile = firstlight.predict(net, q0=q0, c0=0.5)
    second = {2: 3.0, 3: 15.0}[power] * size**2
    slope = {2: 4.0, 3: 27.0}[power] * size**2
    c = {2: (1 + 2 * 0.25) / 3, 3: (9 * 0.5 + 6 * 0.125) / 15}[power]
    assert profile["q"][1] / q0**power == pytest.approx(second, rel=1e-7)
    assert profile["chi"][0] / q0 ** (power - 1) == pytest.approx(slope, rel=1e-7)
    assert profile["correlation"][1] == pytest.approx(c, rel=1e-7)


def test_a_rough_function_keeps_its_variances_and_says_why_it_has_no_correlations():
    """Trunc has 200 kinks within reach: its series does not end at .999, and at ±1 one Gaussian is enough."""
    net = RandomNetwork(depth=3, width=3, activation=torch.trunc, sigma_w=0.3405)
    profile = firstlight.predict(net, q0=1.2e3, c0=0.999)
    assert np.isfinite(profile["q"]).all()
    assert np.isnan(profile["correlation"][1:]).all()
    assert "so alike" in profile.meta["correlation_missing"]
    for c0 in (1.0, -1.0):
        profile = firstlight.predict(net, q0=1.2e3, c0=c0)
        assert profile["correlation"] == pytest.approx(np.full(3, c0))
        assert "correlation_missing" not in profile.meta


def test_a_sawtooth_of_opposite_inputs():
    """E frac(u)frac(−u) = E (U − U²) = 1/6 with U uniform, E frac² = 1/3."""
    net = RandomNetwork(depth=2, width=3, activation=lambda x: x - torch.floor(x))
    assert firstlight.predict(net, q0=1600.0, c0=-1.0)["correlation"][1] == pytest.approx(0.5)
