import math

import numpy as np
import pytest
import torch

import firstlight
from firstlight import activations
from firstlight.errors import DomainError
from firstlight.theory import PHASES, LayerMap, criticality, phase_diagram


def test_numbers_of_the_tanh_edge():
    edge = firstlight.edge_of_chaos("tanh")
    (point,) = edge.at(sigma_b=math.sqrt(0.013))
    assert round(point.sigma_w, 4) == 1.2108
    (exact,) = edge.at(sigma_w=math.sqrt(1.46))
    assert (round(exact.q, 6), round(exact.sigma_b**2, 7)) == (0.301603, 0.0125418)
    assert exact.stable
    # The setting (1.46, 0.013) of the paper is close by, and not on it.
    layer = LayerMap.of("tanh", sigma_w=math.sqrt(1.46), sigma_b=math.sqrt(0.013))
    q = 1.0
    for _ in range(300):
        q = float(layer.variance(q))
    assert (round(q, 5), round(float(layer.chi(q)), 5)) == (0.30294, 0.99886)


@pytest.mark.parametrize(
    "name", ["tanh", "erf", "gelu", "silu", "sin", "elu", "hardswish", "log_periodic(0.5, 6)"]
)
def test_every_point_is_stationary_and_critical(name):
    edge = firstlight.edge_of_chaos(name, points=60)
    assert edge.kind == "curve"
    for i in range(0, len(edge.q), 11):
        if edge.q[i] == 0:
            continue
        layer = LayerMap.of(name, sigma_w=edge.sigma_w[i], sigma_b=edge.sigma_b[i])
        value, slope, chi = (float(x) for x in layer.moments(edge.q[i]))
        assert (value, chi, slope) == pytest.approx((edge.q[i], 1.0, edge.slope[i]), rel=1e-9)


def test_degenerate_edges():
    relu = firstlight.edge_of_chaos("relu")
    assert relu.kind == "point"
    (point,) = relu.at(sigma_b=0.0)
    assert (point.sigma_w**2, point.slope) == (pytest.approx(2.0), pytest.approx(1.0))
    with pytest.raises(DomainError, match="within"):
        relu.at(sigma_b=0.1)
    assert firstlight.edge_of_chaos("relu_squared").kind == "curve"
    assert firstlight.edge_of_chaos("sigmoid", q_range=(1e-6, 1.0)).kind == "none"
    with pytest.raises(DomainError, match="jump"):
        firstlight.edge_of_chaos("sign")
    with pytest.raises(DomainError, match="both or neither"):
        relu.at()
    # the start of tanh's curve: σ_b = 0, q → 0
    assert firstlight.edge_of_chaos("tanh").at(sigma_b=0.0)[0].sigma_w == pytest.approx(1.0)


def test_universality_classes():
    gelu = criticality("gelu")
    assert (round(gelu.sigma_b2, 6), round(gelu.sigma_w2, 6)) == (0.172922, 1.983058)
    assert gelu.q == pytest.approx((3 + math.sqrt(17)) / 2, rel=1e-10)
    swish = criticality("silu")
    assert (round(swish.sigma_b2, 6), round(swish.sigma_w2, 6), round(swish.q, 4)) == (
        0.555143,
        1.988005,
        14.3202,
    )
    tanh = criticality("tanh")
    assert (tanh.universality, tanh.sigma_w2) == ("K*=0", pytest.approx(1.0))
    assert tanh.decay == pytest.approx(2.0, rel=1e-3)
    assert criticality("relu").universality == "scale-invariant"
    assert criticality("leaky_relu(0.1)").sigma_w2 == pytest.approx(2 / 1.01)
    assert criticality("sigmoid").universality == "none"
    assert criticality("softplus").universality == "none"


def test_hermite_series_reach_the_edge():
    """With c_k ∝ k^{−3/2}, E φ² and E φ'² both tend to one."""
    m = activations.moments(activations.get("hermite_series(60, 0)"), 1.0)
    assert 0.999 < float(m.second) < 1
    assert float(m.slope) == pytest.approx(6 / math.pi**2 * sum(k**-2 for k in range(1, 61)), rel=1e-10)


def test_phase_diagrams():
    diagram = phase_diagram("tanh", sigma_w=np.array([0.5, 0.9, 1.5, 3.0]), sigma_b=np.array([0.0, 0.5]))
    named = [[PHASES[i] for i in row] for row in diagram.phase]
    assert named == [
        ["vanishing", "vanishing", "chaotic", "chaotic"],
        ["ordered", "ordered", "ordered", "chaotic"],
    ]
    i = 2
    layer = LayerMap.of("tanh", sigma_w=1.5)
    # linear interpolation in log q on 40 points a decade
    assert float(layer.variance(diagram.q[0, i])) == pytest.approx(diagram.q[0, i], rel=1e-3)
    assert float(layer.chi(diagram.q[0, i])) == pytest.approx(diagram.chi[0, i], rel=1e-3)
    relu = phase_diagram("relu", sigma_w=np.array([1.0, 1.6]), sigma_b=np.array([0.0, 0.3]))
    assert [[PHASES[i] for i in row] for row in relu.phase] == [
        ["vanishing", "exploding"],
        ["ordered", "exploding"],
    ]
    with pytest.raises(DomainError, match="≥ 0"):
        phase_diagram("tanh", sigma_w=np.array([-1.0]))


@pytest.mark.parametrize(
    ("name", "q", "sigma_w"),
    [
        ("bump", 1 + math.sqrt(2), 1 + math.sqrt(2)),
        ("gaussian", 1 + math.sqrt(2), 1 + math.sqrt(2)),
        ("exp", 1.0, math.exp(-1)),
        ("cos", 1.199678640257734, 1.483131360841),  # q = coth q
        ("sigmoid", 45.6242778, 10.14926371),
        ("apa", 45.6242778, 10.14926371),
        ("hermite_series(3)", 1.67042332, 0.88080997),
        ("hardsigmoid", 47.2736512, 10.3294825),
        (torch.sinc, 0.50085277, 1.04056858),
    ],
)
def test_the_curve_reaches_the_end_without_biases(name, q, sigma_w):
    edge = firstlight.edge_of_chaos(name)
    (point,) = edge.at(sigma_b=0.0)
    assert (point.q, point.sigma_w) == pytest.approx((q, sigma_w), rel=1e-8)
    assert edge.sigma_b[0] == 0.0
    # a second way: both conditions by a plain sum over the Gaussian
    g, step = np.linspace(-12, 12, 400_001, retstep=True)
    weight = np.exp(-g * g / 2) * step / math.sqrt(2 * math.pi)
    phi, z = activations.get(name), torch.from_numpy(math.sqrt(point.q) * g)
    assert point.sigma_w**2 * float((phi(z) ** 2).numpy() @ weight) == pytest.approx(point.q, rel=1e-7)
    # a kink of the slope between two points of the sum costs half a step
    assert point.sigma_w**2 * float((phi.derivative(z) ** 2).numpy() @ weight) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.slow
def test_no_point_lies_between_two_pieces_of_a_curve():
    edge = firstlight.edge_of_chaos(lambda x: torch.sin(3 * x) + 0.3 * x)
    for i in range(0, len(edge.q), 40):
        for point in edge.at(sigma_w=float(edge.sigma_w[i])):
            assert point.sigma_b >= 0
            layer = LayerMap.of(edge.phi, sigma_w=point.sigma_w, sigma_b=point.sigma_b)
            assert float(layer.variance(point.q)) == pytest.approx(point.q, rel=1e-9)


@pytest.mark.parametrize(
    "name", ["crelu(1.0364333894937898)", "cst(1.0)", "softshrink(0.5)", "softshrink(2)"]
)
def test_thresholds_are_critical_along_their_whole_edge(name):
    assert criticality(name).universality == "edge"
    slope = firstlight.edge_of_chaos(name, q_range=(0.1, 100.0)).slope
    np.testing.assert_allclose(slope, 1.0, rtol=1e-10)


@pytest.mark.parametrize(("name", "w2"), [("hardtanh", 1.0), ("relu6", 2.0), ("hardtanh(-50, 50)", 1.0)])
def test_what_is_a_line_near_zero_is_critical_at_zero(name, w2):
    found = criticality(name)
    assert (found.universality, found.sigma_b2, found.q, found.decay) == ("K*=0", 0.0, 0.0, 0.0)
    assert found.sigma_w2 == pytest.approx(w2)
    layer = LayerMap.of(name, sigma_w=math.sqrt(w2))
    q = (max(abs(k) for k in layer.phi.kinks) / 3) ** 2
    assert float(layer.variance(q)) < q


def test_a_slope_without_a_mean_square_is_said():
    root = lambda x: torch.sign(x) * x.abs().sqrt()  # noqa: E731
    phi = activations.get(root)
    assert phi.singular == (0.0,)
    m = activations.moments(phi, 2.0)
    assert math.isinf(float(m.slope))
    assert float(m.second) == pytest.approx(math.sqrt(2 * 2 / math.pi))  # E |z|
    for verb in (firstlight.edge_of_chaos, criticality):
        with pytest.raises(DomainError, match="E φ'²"):
            verb(root)
    assert math.isinf(
        firstlight.predict(firstlight.RandomNetwork(depth=3, width=8, activation=root))["chi"][0]
    )


@pytest.mark.slow  # the search for kinks in single precision
def test_a_function_of_single_precision_has_its_edge():
    """σ_b² of a rectifier in float32 is rounding, whose sign changes from one variance to the next by chance."""
    edge = firstlight.edge_of_chaos(lambda x: torch.relu(x.float()).double(), q_range=(0.1, 10.0), points=30)
    assert edge.sigma_w == pytest.approx(np.full(len(edge.q), 2**0.5), rel=1e-6)
    assert (edge.sigma_b**2 <= 1e-6 * edge.q).all()
