"""Fixed points that only touch the diagonal, basins that end at them, and activations known to few digits."""

import itertools
import math

import numpy as np
import pytest
import torch

from firstlight import RandomNetwork, predict
from firstlight.theory import LayerMap, criticality, is_scale_invariant, sparse_tuning, variance_fixed_points
from firstlight.theory.maps._fixed._scan import _roots


def by_sum(layer, q):
    """V(q) by a midpoint rule on 200 000 points, which knows nothing of kinks."""
    step = 20 / 200_000
    g = -10 + step * (torch.arange(200_000, dtype=torch.float64) + 0.5)
    weight = torch.exp(-g * g / 2) * (step / math.sqrt(2 * math.pi))
    return layer.sigma_w2 * float(layer.phi(math.sqrt(q) * g) ** 2 @ weight) + layer.sigma_b2


def tuned(kind, sparsity):
    found = sparse_tuning(kind, sparsity=sparsity)
    return LayerMap.of(found.activation, sigma_w=found.sigma_w, sigma_b=found.sigma_b)


def critical(name):
    point = criticality(name)
    return LayerMap.of(name, sigma_w=math.sqrt(point.sigma_w2), sigma_b=math.sqrt(point.sigma_b2))


@pytest.mark.parametrize("kind", ["crelu", "cst"])
@pytest.mark.parametrize("sparsity", [0.7, 0.85, 0.95])
def test_the_tangent_point_of_an_unclipped_threshold_is_found(kind, sparsity):
    (point,) = variance_fixed_points(tuned(kind, sparsity))
    assert point.q == pytest.approx(1.0, abs=1e-6)  # a double root is known to the root of 1e-13
    assert point.stability == "marginal"
    assert point.slope == pytest.approx(1.0, abs=1e-6)
    assert point.depth_scale == math.inf
    assert point.basin == (0.0, point.q)


def test_basins_end_at_the_half_stable_point():
    inner, half = variance_fixed_points(critical("gelu"))
    assert (inner.stability, half.stability) == ("stable", "marginal")
    assert half.q == pytest.approx(criticality("gelu").q, rel=1e-6)
    assert inner.basin == (0.0, half.q)
    assert half.basin == (half.q, math.inf)
    # SiLU is held from below
    half, outer = variance_fixed_points(critical("silu"))
    assert (half.stability, outer.stability) == ("marginal", "stable")
    assert half.q == pytest.approx(criticality("silu").q, rel=1e-6)
    assert half.basin == (0.0, half.q)
    assert outer.basin == (half.q, math.inf)


def test_the_fixed_points_of_critical_gelu():
    inner, half = variance_fixed_points(critical("gelu"))
    assert (round(inner.q, 4), round(half.q, 4)) == (3.0350, 3.5616)


LAYERS = {
    "gelu at its half-stable point": critical("gelu"),
    "silu at its half-stable point": critical("silu"),
    "unclipped threshold": tuned("crelu", 0.85),
    "three variances": LayerMap.of("crelu(1.2815515655446008, 1.6)", sigma_w=10.2**0.5, sigma_b=0.7),
    "tanh at the edge": LayerMap.of("tanh", sigma_w=1.0),
    "chaotic tanh": LayerMap.of("tanh", sigma_w=1.5),
    "linear that shrinks": LayerMap.of("relu", sigma_w=1.0),
    "periods": LayerMap.of("log_periodic(0.99, 2)", sigma_w=1.0),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_variance_moves_towards_the_point_whose_basin_it_is_in(name):
    """These maps rise, so that V(q) on the right side of q tells where q ends."""
    layer = LAYERS[name]
    points = variance_fixed_points(layer, within=(1e-4, 1e4))
    ends = sorted({b for p in points for b in (*p.basin, p.q)})
    for low, high in itertools.pairwise(ends):
        inside = np.geomspace(max(low, 1e-4), min(high, 1e4), 7)[1:-1]
        owners = [p for p in points if p.basin[0] <= low and high <= p.basin[1]]
        for q in inside:
            moved = by_sum(layer, float(q)) - q
            if owners:
                assert np.sign(moved) == np.sign(owners[0].q - q), (q, owners[0])
            else:
                assert moved != 0


def test_every_variance_is_kept_by_relu_at_two():
    layer = LayerMap.of("relu", sigma_w=math.sqrt(2))
    assert is_scale_invariant(layer)
    (zero,) = variance_fixed_points(layer)
    assert (zero.q, zero.stability, zero.basin) == (0.0, "marginal", (0.0, 0.0))


def test_a_clip_far_out_has_no_fixed_points_where_it_is_a_line():
    layer = LayerMap.of(lambda x: torch.clamp(x, -50, 50), sigma_w=1.0)
    (zero,) = variance_fixed_points(layer)
    assert (zero.q, zero.stability, zero.basin) == (0.0, "marginal", (0.0, math.inf))


def test_the_point_of_an_activation_known_to_few_digits():
    """The activation of a pair is right to 1e-9, so that the sign of V(q) − q is not, near the fixed point."""
    net = RandomNetwork(depth=10, width=100, activation="weibull-critical(3)", weight_law="weibull(3)")
    meta = predict(net).meta
    assert meta["q_star"] == pytest.approx(1.0, abs=1e-8)
    assert meta["chi_star"] == pytest.approx(1.0, abs=1e-8)


def test_a_sign_change_that_was_rounding_gives_the_better_end():
    low, high = np.array([0.0, -1.0]), np.array([1.0, 1.0])
    found = _roots(lambda t: np.where(t < 0.5, 1e-3, 1e-12) + (t < 0) * -2.0, low, high)
    assert found[0] == 1.0
    assert found[1] == pytest.approx(0.0, abs=1e-14)


@pytest.mark.parametrize(
    ("name", "slopes"), [("relu6", (0.0, 1.0)), ("selu", (1.758099, 1.050701)), ("hardtanh", (1.0, 1.0))]
)
def test_the_slope_at_zero_is_that_of_small_variances(name, slopes):
    """χ₁ as q → 0 is σ_w² times the mean of the squared slopes on both sides of a kink at 0."""
    zero = variance_fixed_points(LayerMap.of(name, sigma_w=1.3))[0]
    assert zero.q == 0.0
    assert zero.chi == pytest.approx(1.3**2 * (slopes[0] ** 2 + slopes[1] ** 2) / 2, rel=1e-6)
    assert zero.slope == pytest.approx(zero.chi, rel=1e-6)
