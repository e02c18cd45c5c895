"""Numbers of the literature that theory gives and no other test reproduces, to the digits they are quoted with."""

import math

import pytest
import torch

import firstlight
from firstlight import activations
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork
from firstlight.theory import deep_classifier, edge_of_chaos, finite_width, gain


def hermite(*coefficients):
    """Φ with these coefficients of the orthonormal Hermite polynomials: its dual has their squares."""
    polynomials = (
        lambda z: 1 + 0 * z,
        lambda z: z,
        lambda z: (z * z - 1) / 2**0.5,
        lambda z: (z**3 - 3 * z) / 6**0.5,
    )
    return lambda z: sum(math.sqrt(c) * h(z) for c, h in zip(coefficients, polynomials))


@pytest.mark.parametrize(
    ("dual", "dimension"),
    [((0, 1 / 2, 0, 1 / 2), 2), ((0, 1 / 4, 1 / 2, 1 / 4), 4), ((0, 1 / 16, 14 / 16, 1 / 16), 8)],
)
def test_optimal_deep_classifiers(dual, dimension):
    found = deep_classifier(hermite(*dual))
    assert found.kind == "singular kernel"
    assert found.optimal_dimension == pytest.approx(dimension, rel=1e-9)
    assert found.slope_at_one == pytest.approx(2.0, rel=1e-9)


def test_other_deep_classifiers():
    assert deep_classifier(hermite(0, 0, 1, 0)).kind == "nearest neighbour"
    vote = deep_classifier("sigmoid")
    assert (vote.kind, math.isnan(vote.order)) == ("majority vote", True)
    # χ₁ > 1 with a mean: the NTK tends to neither
    assert deep_classifier(hermite(0.1, 0, 0, 0.9)).kind == "none"
    with pytest.raises(DomainError, match="q > 0"):
        deep_classifier("tanh", q=0.0)
    with pytest.raises(DomainError, match="signal"):
        deep_classifier(lambda z: 0 * z)


@pytest.mark.parametrize("s", [0.5, 1.0, 2.0])
def test_backward_stable_scale_of_gaussian_activations(s):
    """exp(−x²/2s²) keeps both directions at σ_p = s√(1 + √2) only: σ_p² E φ'² = E φ²."""
    at = s * math.sqrt(1 + math.sqrt(2))
    m = activations.moments(
        activations.get(f"bump({s})"), torch.tensor([at**2, (1.1 * at) ** 2], dtype=torch.float64)
    )
    ratio = (m.q * m.slope / m.second).tolist()
    assert ratio[0] == pytest.approx(1.0, rel=1e-12)
    assert abs(ratio[1] - 1) > 0.02
    assert activations.gain(f"bump({s})", q=at**2) == pytest.approx(at / math.sqrt(float(m.second[0])))


def test_spread_of_orthogonal_tanh_networks_stays():
    """n·Var K̂/K² at n = 32: at most .2 by measurement, .22 in leading order, and falling; Gaussian grows to tens."""
    found = {}
    for law in ("normal", "orthogonal"):
        net = RandomNetwork(
            depth=64, width=32, activation="tanh", weight_law=law, first_layer=law, in_features=32
        )
        found[law] = 32 * finite_width(net, firstlight.predict(net)["q"]).spread
    assert found["orthogonal"][1:].max() < 0.23
    assert found["orthogonal"][-1] < 0.05
    assert found["normal"][0] == pytest.approx(2.0)
    assert found["normal"][1] == pytest.approx(2.67, abs=0.01)
    assert found["normal"][-1] > 40


def test_relu_keeps_half_of_its_mean_square_as_a_mean():
    assert float(activations.moments(activations.get("relu"), 1.0).dc_share) == pytest.approx(1 / math.pi)


def test_rates_of_batch_norm_without_an_activation():
    for batch in (5, 10, 100):
        rate = firstlight.theory.batchnorm.gradient_rate("linear", batch)
        assert rate == pytest.approx((batch - 2) / (batch - 3), rel=1e-12)


DIVERGES = [lambda x: torch.exp(x * x), lambda x: torch.exp(x**2 / 3)]


@pytest.mark.parametrize("phi", DIVERGES)
def test_activations_that_outgrow_a_gaussian_are_told_apart(phi):
    """E φ² diverges: no number may come back."""
    with pytest.raises(DomainError, match=r"diverge|finite|converge"):
        gain(phi)
    with pytest.raises(DomainError, match=r"diverge|finite|converge"):
        firstlight.predict(RandomNetwork(depth=3, width=8, activation=phi))


@pytest.mark.parametrize(
    "call",
    [
        lambda: firstlight.predict(RandomNetwork(depth=3, width=8, activation=lambda x: x * math.nan)),
        lambda: edge_of_chaos(lambda x: x * math.nan),
        lambda: activations.moments(activations.get("tanh"), -1.0),
        lambda: activations.dual(activations.get("tanh"), 1.0, 1.0, 1.5),
        lambda: firstlight.theory.kernels(RandomNetwork(depth=2, width=4), torch.full((2, 3), math.nan)),
        lambda: firstlight.theory.depth_scales(
            RandomNetwork(depth=2, width=4, activation="exp", sigma_w=0.9)
        ),
        lambda: edge_of_chaos("sign"),
        lambda: edge_of_chaos("relu").at(sigma_b=1.0),
    ],
)
def test_bad_input_gets_a_sentence_that_names_the_quantity(call):
    with pytest.raises(DomainError, match=r"expected .*got"):
        call()


@pytest.mark.parametrize(
    ("activation", "coefficient"),
    [("relu", 0.625), ("linear", 0.25), ("tanh", 0.0784), ("erf", 0.0700), ("sin", 0.0806), ("gelu", 0.777)],
)
def test_edgeworth_coefficients(activation, coefficient):
    """He₄ coefficient times n with Gaussian weights: (3 E φ⁴/(E φ²)² − 3)/24 at q = 1."""
    phi = activations.get(activation)
    ratio = float(activations.fourth(phi, 1.0) / activations.second(phi, 1.0) ** 2)
    assert (3 * ratio - 3) / 24 == pytest.approx(
        coefficient, abs=0.00051 if activation == "gelu" else 0.000051
    )
