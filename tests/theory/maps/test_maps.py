import itertools
import math
import statistics

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, minimize_scalar

from firstlight import activations
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork
from firstlight.theory import (
    DualMap,
    LayerMap,
    correlation_fixed_points,
    depth_scales,
    is_scale_invariant,
    variance_fixed_points,
)

NORMAL = statistics.NormalDist()


def stable(layer, **kw):
    return [p for p in variance_fixed_points(layer, **kw) if p.stability == "stable" and p.q > 0]


def test_log_periodic_has_infinitely_many_variances():
    for omega, w2, (q_s, v_s), (q_u, v_u), ratio in [
        (2, 0.911539, (11.6752, 0.4221), (201.978, 1.677), 535.49),
        (3, 0.928317, (3.3688, None), (23.917, None), 65.943),
        (6, 0.973663, (6.5649, None), (2.2803, None), 8.1205),
    ]:
        layer = LayerMap.of(f"log_periodic(0.99, {omega})", sigma_w=math.sqrt(w2))
        points = variance_fixed_points(layer, within=(1.0, 1.0 * ratio * 1.2), per_decade=30)
        s = min((p for p in points if p.stability == "stable" and p.q > 0), key=lambda p: abs(p.q - q_s))
        u = min((p for p in points if p.stability == "unstable" and p.q > 0), key=lambda p: abs(p.q - q_u))
        # σ_w² is quoted to six digits, which moves the fixed points in their fifth
        assert s.q == pytest.approx(q_s, rel=2e-5)
        assert u.q == pytest.approx(q_u, rel=2e-5)
        assert ratio == pytest.approx(math.exp(4 * math.pi / omega), rel=2e-5)
        if v_s:
            assert (round(s.slope, 4), round(u.slope, 3)) == (v_s, v_u)
        far = float(layer.variance(s.q * math.exp(4 * math.pi / omega)))
        assert far == pytest.approx(s.q * math.exp(4 * math.pi / omega), rel=1e-10)


def test_log_periodic_depth_60():
    from firstlight.theory.maps._trajectory import variances

    layer = LayerMap.of("log_periodic(0.99, 2)", sigma_w=math.sqrt(0.911539))
    for start, end in [
        (1e-3, 0.0218027),
        (0.1, 0.0218027),
        (1, 11.6752),
        (10, 11.6752),
        (1e3, 6251.96),
        (1e4, 6251.96),
    ]:
        assert variances(layer, start, 60).q[-1] == pytest.approx(end, rel=1e-5)


@pytest.mark.parametrize("share", [1e-3, pytest.param(1e-6, marks=pytest.mark.slow), 1e-9])
def test_close_fixed_points_are_told_apart(share):
    """Just inside its window, φ_{δ,ω} has a stable and an unstable variance close together in every period."""
    phi = activations.get("log_periodic(0.99, 6)")

    def ratio(t):
        return math.exp(t) / float(activations.second(phi, math.exp(t)))

    period = 4 * math.pi / 6
    coarse = np.linspace(0.0, period, 200)
    top = coarse[np.argmax([ratio(t) for t in coarse])]
    found = minimize_scalar(lambda t: -ratio(t), bounds=(top - 0.02, top + 0.02), options={"xatol": 1e-9})
    layer = LayerMap.of(phi, sigma_w=math.sqrt(-found.fun * (1 - share)))
    points = variance_fixed_points(layer, within=(1e-3, 1e3))
    inner = [p for p in points if p.q > 0]
    # log V/q swings by ±log(.998477/.949464)/2 with frequency ω/2 in log q; a grid step is 0.058
    swing = math.log(0.998477 / 0.949464) / 2
    gaps = np.diff(np.log([p.q for p in inner]))
    assert gaps.min() == pytest.approx(2 * math.sqrt(2 * share / swing) / 3, rel=0.1)
    assert len(inner) in (2 * math.floor(6 * math.log(10) / period), 2 * math.ceil(6 * math.log(10) / period))
    assert {a.stability for a in inner[::2]} | {b.stability for b in inner[1::2]} == {"stable", "unstable"}
    assert all(a.stability != b.stability for a, b in itertools.pairwise(inner))
    for p in inner:
        assert float(layer.variance(p.q)) == pytest.approx(p.q, rel=1e-12)


def test_log_periodic_windows():
    for omega, low, high in [(2, 0.486005, 1.709659), (3, 0.707971, 1.217243), (6, 0.949464, 0.998477)]:
        phi = activations.get(f"log_periodic(0.99, {omega})")
        q = torch.from_numpy(np.geomspace(1, math.exp(4 * math.pi / omega), 400))
        w2 = (q / activations.second(phi, q)).numpy()
        assert (w2.min(), w2.max()) == pytest.approx((low, high), rel=1e-3 if omega == 2 else 1e-4)


def sparse(s, v):
    tau = NORMAL.inv_cdf(s)
    m = brentq(
        lambda m: 1 - m * NORMAL.pdf(tau + m) / (NORMAL.cdf(tau + m) - s) - v, 0.05, 1.9 if v < 0.6 else 1.7
    )
    phi = activations.get(f"crelu({tau!r}, {m!r})")
    p = NORMAL.cdf(tau + m) - s
    w2 = 1 / p
    return phi, m, w2, 1 - w2 * float(activations.second(phi, 1.0))


def test_sparse_activations():
    for v, m, w2, b2 in [(0.5, 0.8095, 8.507, 0.6605), (0.7, 1.1704, 7.335, 0.5953)]:
        phi, m_, w2_, b2_ = sparse(0.85, v)
        assert (round(m_, 4), round(w2_, 3), round(b2_, 4)) == (m, w2, b2)
        layer = LayerMap.of(phi, sigma_w=math.sqrt(w2_), sigma_b=math.sqrt(b2_))
        value, slope, chi = (float(x) for x in layer.moments(1.0))
        assert (value, slope, chi) == pytest.approx((1.0, v, 1.0), rel=1e-10)
    phi, _, w2_, b2_ = sparse(0.9, 0.9)
    points = variance_fixed_points(LayerMap.of(phi, sigma_w=math.sqrt(w2_), sigma_b=math.sqrt(b2_)))
    assert [round(p.q, 3) for p in points] == [1.0, 1.399, 3.474]
    assert [p.stability for p in points] == ["stable", "unstable", "stable"]
    assert points[0].basin == (0.0, pytest.approx(points[1].q))
    assert points[2].basin[1] == math.inf


def test_unclipped_sparse_activation_explodes():
    tau = NORMAL.inv_cdf(0.85)
    phi = activations.get(f"crelu({tau!r})")
    w2 = 1 / 0.15
    b2 = 1 - w2 * float(activations.second(phi, 1.0))
    assert (round(w2, 3), round(b2, 4)) == (6.667, 0.5368)
    layer = LayerMap.of(phi, sigma_w=math.sqrt(w2), sigma_b=math.sqrt(b2))
    assert float(layer.slope(1.0)) == pytest.approx(1.0, rel=1e-10)
    assert float(layer.slope(1.1)) > 1


def test_siren_is_forward_stable_and_backward_explosive():
    """Hidden layers U(±√(6/n)/30), sin(30·): in units of the argument, V(q) = 1 − e^{−2q}, χ = 1 + e^{−2q}."""
    layer = LayerMap.of("sin(30)", sigma_w=math.sqrt(2) / 30)
    q = variance_fixed_points(layer, within=(1e-6, 1.0))[-1]
    assert round(q.q * 900, 4) == 0.7968
    assert round(q.chi, 3) == 1.203
    assert q.stability == "stable"


def test_sigmoid_is_forward_stable_and_off_the_edge():
    layer = LayerMap.of("sigmoid", sigma_w=math.sqrt(12.8))
    (q,) = stable(layer)
    assert (round(q.q, 2), round(q.chi, 3)) == (4.53, 0.354)


def test_tanh_with_bias_by_damped_iteration():
    layer = LayerMap.of("tanh", sigma_w=1.5, sigma_b=0.1)
    # a second way: products of Gauss–Hermite rules, which suit a tanh this shallow to 1e-8
    x, w = np.polynomial.hermite_e.hermegauss(100)
    w = w / math.sqrt(2 * math.pi)
    q, c = 1.0, 0.3
    for _ in range(100):
        q = 2.25 * w @ np.tanh(math.sqrt(q) * x) ** 2 + 0.01
    root = math.sqrt(q)
    for _ in range(300):
        v = np.tanh(root * (c * x[:, None] + math.sqrt(1 - c * c) * x))
        c = (2.25 * (w * np.tanh(root * x)) @ v @ w + 0.01) / q
    (point,) = stable(layer)
    assert point.q == pytest.approx(q, rel=1e-8)
    scales = depth_scales(layer)
    assert scales["c"] == pytest.approx(c, abs=1e-7)
    assert scales["xi_c"] == pytest.approx(-1 / math.log(float(layer.correlation_slope(q, c))), rel=1e-5)


def test_schoenholz_chaotic_case():
    """σ_w = 1.89: q* = 1.79, χ₁ = 1.31, and 50 layers give an rms gradient ratio near 770."""
    (point,) = stable(LayerMap.of("tanh", sigma_w=1.89))
    assert (round(point.q, 2), round(point.chi, 2)) == (1.79, 1.31)


def test_relu_is_scale_invariant():
    layer = LayerMap.of("relu", sigma_w=math.sqrt(2))
    assert is_scale_invariant(layer)
    points = variance_fixed_points(layer)
    assert [(p.q, p.stability) for p in points] == [(0.0, "marginal")]
    one = correlation_fixed_points(layer, 3.7)[-1]
    assert (one.c, one.stability, one.convergence, one.power) == (1.0, "marginal", "power law", 2.0)


SQUARED = activations.from_callable(lambda x: torch.relu(x) ** 2 / (1 + torch.relu(x)), "squared")


@pytest.mark.parametrize("name", ["tanh", "gelu", "hardtanh", "relu", "elu", SQUARED])
def test_correlation_slope_and_curvature(name):
    layer = LayerMap.of(name, sigma_w=1.3, sigma_b=0.3)
    q = stable(layer)[0].q
    h = 1e-5
    for c in (-0.5, 0.2, 0.9):
        up, down = (float(layer.correlation(q, c + s * h)) for s in (1, -1))
        assert float(layer.correlation_slope(q, c)) == pytest.approx((up - down) / (2 * h), rel=1e-7)
    assert float(layer.correlation_slope(q, 1.0)) == pytest.approx(float(layer.chi(q)), rel=1e-10)
    curvature = float(layer.curvature(q))
    if name in ("hardtanh", "relu"):
        assert math.isinf(curvature)
    else:
        # the next term is (1 - c)² C''' for a smooth φ, and of power 3/2 where φ'' jumps
        step = 1e-6 if layer.phi.kinks else 1e-4
        slopes = [float(layer.correlation_slope(q, 1 - d)) for d in (0.0, step)]
        assert curvature == pytest.approx((slopes[0] - slopes[1]) / step, rel=2e-3)


@pytest.mark.parametrize("name", ["tanh", "silu", "hardtanh", "gelu", "crelu(0.7)"])
def test_dual_maps(name):
    phi = activations.get(name)
    dual = DualMap.of(phi, 1.3)
    c = np.array([-1.0, -0.999, -0.3, 0.0, 0.77, 0.9999, 1 - 1e-9, 1.0])
    truth = activations.dual(phi, 1.3, 1.3, torch.from_numpy(c), closed=False).numpy()
    slope = activations.dual_slope(phi, 1.3, 1.3, torch.from_numpy(c), closed=False).numpy()
    # 1e-9 is asked for with kinks; the interpolants end at 1e-11, and at 1e-10 for the slope
    tolerance = 1e-10 if phi.kinks else 1e-11
    np.testing.assert_allclose(dual(c), truth, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(dual.slope(c), slope, rtol=10 * tolerance, atol=10 * tolerance)


def test_residual_dropout_norm_and_laws():
    plain = LayerMap.of("relu", sigma_w=math.sqrt(2))
    residual = LayerMap.of(
        RandomNetwork(depth=2, width=8, activation="relu", sigma_w=2**0.5, skip=1, branch=0.5)
    )
    assert float(residual.variance(3.0)) == pytest.approx(3 + 0.25 * float(plain.variance(3.0)))
    assert float(residual.chi(3.0)) == pytest.approx(1.25)
    dropped = LayerMap.of(RandomNetwork(depth=2, width=8, activation="relu", sigma_w=1.0, dropout=0.5))
    assert float(dropped.variance(3.0)) == pytest.approx(3.0)
    assert float(dropped.correlation(3.0, 1.0)) == pytest.approx(0.5)
    batch = LayerMap.of(RandomNetwork(depth=2, width=8, activation="relu", sigma_w=1.0, norm="batch"))
    q = float(batch.variance(1.0))
    c = float(batch.correlation(q, 0.3))
    # Squared gradients grow by π/(π − 1) once the batch's common part is normalised away (Yang et al., 2019)
    assert float(batch.chi(q)) / (1 - c) == pytest.approx(math.pi / (math.pi - 1))
    law = LayerMap.of(RandomNetwork(depth=2, width=8, activation="linear", weight_law="weibull(3)"))
    assert law.sigma_w2 == pytest.approx(math.gamma(1 + 2 / 3))


def test_jumps_part_equal_inputs_at_an_infinite_rate():
    layer = LayerMap.of("sign", sigma_w=1.0, sigma_b=0.5)
    assert correlation_fixed_points(layer, 1.25)[-1].slope == math.inf


@pytest.mark.parametrize(
    ("activation", "scales", "slope", "reach"),
    [
        ("step", (1.5, 0.5), 0.512, 1.49),
        ("sign", (1.5, 0.5), 0.590, 1.89),
        (lambda x: torch.round(2 * torch.tanh(x)) / 2, (1.5, 0.5), 0.838, 5.67),
        ("threshold(0.5, 0)", (0.9, 0.3), 0.585, 1.87),
    ],
)
def test_jumps_count_in_the_slope_and_the_depth_scale(activation, scales, slope, reach):
    layer = LayerMap.of(activation, sigma_w=scales[0], sigma_b=scales[1])
    found = depth_scales(layer)
    assert found["xi_c"] == pytest.approx(reach, rel=5e-3)
    assert float(layer.correlation_slope(found["q"], found["c"])) == pytest.approx(slope, rel=2e-3)
    one = correlation_fixed_points(layer, found["q"])[-1]
    assert (one.c, one.slope, one.stability) == (1.0, math.inf, "unstable")
    # a second way: the distance to the fixed point falls by the slope in every layer
    c = torch.tensor(found["c"] - 1e-3, dtype=torch.float64)
    distances = []
    for _ in range(4):
        distances.append(found["c"] - float(c))
        c = layer.correlation(found["q"], c)
    assert distances[3] / distances[2] == pytest.approx(slope, rel=0.02)


def test_no_fixed_point_and_bad_input():
    assert variance_fixed_points(LayerMap.of("exp", sigma_w=0.9)) == ()
    with pytest.raises(DomainError, match="none"):
        depth_scales(LayerMap.of("exp", sigma_w=0.9))
    with pytest.raises(DomainError, match="sigma_w"):
        LayerMap.of("tanh", sigma_w=-1.0)
    with pytest.raises(DomainError, match="stationary"):
        correlation_fixed_points(LayerMap.of("tanh", sigma_w=1.5), 1.0)
    with pytest.raises(DomainError, match="low < high"):
        variance_fixed_points(LayerMap.of("tanh"), within=(1.0, 0.5))


def test_a_map_that_is_rough_at_every_scale_says_how_exact_it_is():
    """φ_{δ,ω} is cut off by its limit of evaluations, near 1e-7; the error must tell."""
    phi = activations.get("log_periodic(0.9, 2.0)")
    dual, c = DualMap.of(phi, 1.0), np.array([-0.9, 0.0, 0.77, 0.999, 1 - 1e-5, 1 - 1e-8])
    exact = activations.dual(phi, 1.0, 1.0, torch.from_numpy(c)).numpy()
    off = float(np.abs(dual(c) - exact).max()) / float(activations.second(phi, 1.0))
    assert off < 3 * dual.error < 1e-6
