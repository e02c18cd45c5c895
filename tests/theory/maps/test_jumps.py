"""Activations with jumps: pair moments, slopes and depth scales against panels that end at every jump."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import ndtr

from firstlight import activations
from firstlight.errors import DomainError
from firstlight.theory import DualMap, LayerMap, correlation_fixed_points, depth_scales, variance_fixed_points

NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)


def panels(edges):
    """Nodes and weights of Gauss–Legendre panels."""
    low, high = np.array(sorted(edges))[:-1, None], np.array(sorted(edges))[1:, None]
    return ((low + high + (high - low) * NODES) / 2).ravel(), ((high - low) / 2 * WEIGHTS).ravel()


def pair(f, jumps, q, c):
    """E f(u) f(v) by panels in both; those in u are graded where a jump of v passes."""
    reach, wide = 9 * math.sqrt(q), math.sqrt((1 - c) * (1 + c) * q)
    inside = [j for j in jumps if abs(j) < reach]
    even = np.linspace(-reach, reach, 31)
    v, weight = panels({*even, *inside})
    near = {j + k * wide for j in inside for k in (-7, -4, -2, 0, 2, 4, 7)}
    u, own = panels({*even, *inside, *(x for x in near if abs(x) < reach)})
    values, total = weight * f(torch.from_numpy(v)).numpy(), 0.0
    for part, mass in zip(np.array_split(u, 12), np.array_split(own, 12)):
        given = (
            np.exp(-((v - c * part[:, None]) ** 2) / (2 * wide**2)) @ values / (math.sqrt(2 * math.pi) * wide)
        )
        total += float((mass * np.exp(-part * part / (2 * q)) * f(torch.from_numpy(part)).numpy()) @ given)
    return total / math.sqrt(2 * math.pi * q)


def every(step, shift=0.0):
    return [(k + shift) * step for k in range(-60, 61)]


def of_gelu(level, low, high):
    """Where GELU passes a level between two points."""
    return brentq(lambda z: z * float(ndtr(z)) - level, low, high, xtol=1e-14)


BOTTOM = -0.7517915
EIGHTHS = [of_gelu((k + 0.5) / 8, BOTTOM, 9.0) for k in range(-1, 64)] + [of_gelu(-1 / 16, -20.0, BOTTOM)]

# φ, its jumps and kinks, σ_w, σ_b
JUMPS = {
    "stairs": (lambda x: torch.floor(3 * x) / 3 + 0.1, every(1 / 3), 0.9, 0.2),
    "round": (lambda x: torch.round(2 * x) / 2, every(0.5, 0.5), 0.9, 0.4),
    "comparator": (lambda x: (x > 0.3).double() - (x < -0.7).double(), [0.3, -0.7], 1.5, 0.4),
    "sign and tanh": (lambda x: x.sign() * (1 + x.tanh() / 2), [0.0], 1.0, 0.3),
    "rounded gelu": (lambda x: torch.round(8 * x * torch.special.ndtr(x)) / 8, EIGHTHS, 1.2, 0.4),
    "sign of sine": (lambda x: torch.sin(3 * x).sign(), every(math.pi / 3), 1.3, 0.2),
    "jump beside a kink": (lambda x: torch.where(x > 1, 2 * x, -0.3 * x.abs()), [0.0, 1.0], 0.6, 0.6),
    "jump and kink in one": (lambda x: torch.where(x > 0.5, 0.9 + 0.2 * x, 0.15 - 0.9 * x), [0.5], 0.8, 0.3),
    "saw": (lambda x: x.tanh() - x.tanh().round() / 2, [math.atanh(0.5), -math.atanh(0.5)], 1.4, 0.3),
    "stairs on one side": (lambda x: torch.where(x < 0, torch.ceil(2 * x) / 2, x), every(0.5), 0.9, 0.4),
    "fractions": (lambda x: x - torch.floor(x), every(1.0), 1.5, 0.3),
    "far jump": (lambda x: x.tanh() + 5 * (x > 2.5), [2.5], 1.2, 0.3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", JUMPS)
def test_depth_scales_are_those_of_the_map_by_panels(name):
    function, jumps, sigma_w, sigma_b = JUMPS[name]
    scales = depth_scales(LayerMap.of(function, sigma_w=sigma_w, sigma_b=sigma_b))
    q, c = scales["q"], scales["c"]

    def after(x):
        return (sigma_w**2 * pair(function, jumps, q, x) + sigma_b**2) / q

    # a map known to 2e-6 where φ bends and jumps at many places; the others to 1e-10
    assert after(c) == pytest.approx(c, abs=2e-6)
    h = 0.02 * min(1 - c, 1.0)
    rise = (8 * (after(c + h) - after(c - h)) - after(c + 2 * h) + after(c - 2 * h)) / (12 * h)
    # the fourth power of h / (1 − c), and the digits that the difference loses
    assert math.exp(-1 / scales["xi_c"]) == pytest.approx(abs(rise), abs=1e-6)


# Plain readings of "quantised tanh" at σ_w = 1.5, σ_b = .5: slope and reach. An early note had .876 and 7.55, which
# are the rounded slope of trunc(10 tanh)/10 and −1/ln of that rounded slope.
QUANTISED = [
    (torch.round, 8, 0.9331, 14.43),
    (torch.round, 10, 0.9425, 16.90),
    (torch.round, 16, 0.9560, 22.24),
    (torch.floor, 10, 0.9445, 17.52),
    (torch.trunc, 8, 0.8538, 6.327),
    (torch.trunc, 10, 0.8762, 7.568),
    (torch.trunc, 16, 0.9105, 10.66),
]


@pytest.mark.parametrize(
    ("cut", "levels", "slope", "reach"), [pytest.param(*row, marks=pytest.mark.slow) for row in QUANTISED]
)
def test_quantised_tanh_by_sums_over_pairs_of_jumps(cut, levels, slope, reach):
    """C' is a sum over pairs of jumps a, b at s, t of a·b times the density of two Gaussians at (s, t)."""

    def phi(x):
        return cut(levels * torch.tanh(x)) / levels

    found = depth_scales(LayerMap.of(phi, sigma_w=1.5, sigma_b=0.5))
    assert found["xi_c"] == pytest.approx(reach, rel=5e-4)
    shift = 0.5 if cut is torch.round else 0.0
    at = np.array(
        [math.atanh((k + shift) / levels) for k in range(-levels, levels) if abs(k + shift) < levels]
    )
    at = at[at != 0] if cut is torch.trunc else at  # trunc has no jump at 0
    s, c = at / math.sqrt(found["q"]), found["c"]
    together = np.exp(-(s[:, None] ** 2 - 2 * c * s[:, None] * s + s**2) / (2 * (1 - c * c)))
    expected = 1.5**2 / found["q"] * together.sum() / levels**2 / (2 * math.pi * math.sqrt(1 - c * c))
    assert expected == pytest.approx(slope, abs=6e-5)
    assert math.exp(-1 / found["xi_c"]) == pytest.approx(expected, rel=1e-9)


def test_steps_of_a_sign():
    c = np.array([-1.0, -0.3, 0.5, 1 - 1e-9, 1.0])
    dual = DualMap.of(activations.get("sign"), 2.0)
    np.testing.assert_allclose(dual(c), 2 / math.pi * np.arcsin(c), atol=1e-11)


def test_many_steps_by_the_angle_and_by_the_series():
    """Two ways: an integral over the angle, and a Hermite series, which 0.3 ends to 1e-13."""
    phi = activations.get(lambda x: torch.round(4 * x) / 4)
    dual = DualMap.of(phi, 1.0)
    at = np.array([0.3, -0.6])
    np.testing.assert_allclose(dual(at), activations.dual(phi, 1.0, 1.0, torch.from_numpy(at)), atol=1e-11)
    h = 1e-3
    four = dual(np.array([0.3 + h, 0.3 - h, 0.3 + 2 * h, 0.3 - 2 * h]))
    rise = (8 * (four[0] - four[1]) - four[2] + four[3]) / (12 * h)
    # 1e-13 of the map over h
    assert float(activations.covariance_slope(phi, 1.0, 1.0, 0.3)) == pytest.approx(rise, abs=1e-9)


def test_a_jump_that_is_rarely_met_holds_inputs_next_to_one():
    """There C' is χ + (1 − χ)/2: the jump's part falls as a square root, and cancels 1 − χ at the fixed point."""
    found = depth_scales(LayerMap.of(lambda x: torch.tanh(x) + 5 * (x > 3.7), sigma_w=1.2, sigma_b=0.3))
    assert 1e-9 < 1 - found["c"] < 1e-8
    assert found["xi_c"] == pytest.approx(-1 / math.log((1 + found["chi"]) / 2), rel=1e-5)


def test_a_jump_that_is_never_met_is_refused():
    layer = LayerMap.of(lambda x: torch.tanh(x) + 5 * (x > 8), sigma_w=1.2, sigma_b=0.3)
    with pytest.raises(DomainError, match="rounding does not tell from 1"):
        depth_scales(layer)


@pytest.mark.slow
def test_more_kinks_than_a_map_can_hold_are_refused_next_to_one():
    phi = activations.get(lambda x: torch.round(300 * torch.tanh(x)) / 300)
    dual = DualMap.of(phi, 0.4)
    # rounding adds a twelfth of its square at most
    assert float(dual(np.array([0.5]))[0]) == pytest.approx(
        float(activations.dual(activations.get("tanh"), 0.4, 0.4, 0.5)), abs=1e-6
    )
    with pytest.raises(DomainError, match="too many"):
        dual(np.array([1 - 1e-6]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "expected"), [(torch.floor, 0), (lambda x: torch.sin(3 * x) + 0.1 * x, 1)]
)
def test_fixed_points_of_what_jumps_or_turns_without_end_cost_little(function, expected):
    """Where quadrature would not resolve φ, strata tell that V(q) is not q."""
    seen = 0

    def counted(x):
        nonlocal seen
        seen += x.numel()
        return function(x)

    layer = LayerMap.of(counted, sigma_w=1.2, sigma_b=0.2)
    assert len(variance_fixed_points(layer)) == expected
    # strata of 65536 values for each of some 500 variances
    assert seen < 8e7


@pytest.mark.slow
def test_what_strata_cannot_tell_is_refused():
    """V(q) = q + 1/3 + σ_b² of floor at σ_w = 1."""
    with pytest.raises(DomainError, match="look within"):
        variance_fixed_points(LayerMap.of(torch.floor, sigma_w=1.0, sigma_b=0.3))


@pytest.mark.slow
def test_correlations_of_a_function_rounded_finely():
    layer = LayerMap.of(lambda x: torch.round(200 * torch.tanh(x)) / 200, sigma_w=2.0, sigma_b=0.3)
    (point,) = variance_fixed_points(layer, within=(0.1, 10.0))
    smooth = LayerMap.of("tanh", sigma_w=2.0, sigma_b=0.3)
    (near,) = variance_fixed_points(smooth, within=(0.1, 10.0))
    found, known = (correlation_fixed_points(m, p.q)[-2].c for m, p in ((layer, point), (smooth, near)))
    assert found == pytest.approx(known, abs=1e-4)
