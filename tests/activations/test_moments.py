import math

import mpmath
import pytest
import torch

from firstlight import activations
from firstlight.errors import DomainError

NAMED = {"leaky_relu": "leaky_relu(0.3)", "sin": "sin(1.7)", "snake": "snake(0.6)", "bump": "bump(0.8)"}
CLOSED = [NAMED.get(name, name) for name in activations.closed_form_names()]
GAINS = {"relu": 1.71286, "silu": 1.7872, "gelu": 1.7009, "tanh": 1.5925, "mish": 1.5920}


@pytest.mark.parametrize("name", [*CLOSED, "sin", "snake"])
@pytest.mark.parametrize(("q1", "q2"), [(1.0, 1.0), (0.3, 2.5), (1e-6, 1e-6)])
def test_closed_forms_agree_with_quadrature(name, q1, q2):
    phi = activations.get(name)
    c = torch.tensor([-1.0, -0.6, 0.0, 0.45, 0.999, 1 - 1e-12, 1.0], dtype=torch.float64)
    scale = math.sqrt(float(activations.dual(phi, q1, q1, 1.0) * activations.dual(phi, q2, q2, 1.0)))
    for pair in (activations.dual, activations.dual_slope):
        closed, numeric = pair(phi, q1, q2, c), pair(phi, q1, q2, c, closed=False)
        size = scale if pair is activations.dual else float(closed.abs().max())
        torch.testing.assert_close(closed, numeric, rtol=1e-10, atol=1e-11 * size + 1e-300)
    if name not in ("sign", "step"):
        # Price's theorem by a central difference in the covariance, error h²/6 times the third derivative
        h, k = 1e-4, 0.3
        up, down = (activations.dual(phi, 1.0, 1.0, k + s * h) for s in (1, -1))
        slope = activations.dual_slope(phi, 1.0, 1.0, k)
        assert float((up - down) / (2 * h)) == pytest.approx(float(slope), rel=2e-7, abs=1e-9)


@pytest.mark.parametrize("name", CLOSED)
def test_floats_and_tensors_agree(name):
    form = activations.closed_form(activations.get(name))
    q = torch.tensor(0.7, dtype=torch.float64)
    k, rest = torch.tensor(0.5, dtype=torch.float64), torch.tensor(0.7 * 0.7 - 0.25, dtype=torch.float64)
    for f in (form.dual, form.slope):
        assert f(math, 0.7, 0.7, 0.5, 0.7 * 0.7 - 0.25) == pytest.approx(
            float(f(torch, q, q, k, rest)), rel=1e-14
        )
    mean = activations.moments(activations.get(name), 0.7, closed=False).mean
    assert form.mean(math, 0.7) == pytest.approx(float(mean), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("name", ["erf", "sin", "cos", "bump(0.8)", "gelu", "snake(0.6)"])
def test_closed_moments_agree_with_quadrature(name):
    phi = activations.get(name)
    q = torch.tensor([0.0, 1e-3, 0.4, 1.0, 7.0], dtype=torch.float64)
    closed, numeric = activations.moments(phi, q), activations.moments(phi, q, closed=False)
    for key in ("mean", "second", "slope", "growth"):
        # quadrature's limit of the growth at q = 0 is a difference, good to 1e-8
        a, b = getattr(closed, key), getattr(numeric, key)
        torch.testing.assert_close(a[1:], b[1:], rtol=1e-10, atol=1e-14)
        assert float(a[0]) == pytest.approx(float(b[0]), rel=1e-7, abs=1e-14)


@pytest.mark.parametrize(
    "name", ["tanh", "relu", "gelu", "hardtanh", "sigmoid", "crelu(1, 2)", "log_periodic"]
)
def test_growth_is_the_slope_of_the_second_moment(name):
    phi = activations.get(name)
    q, h = 0.9, 1e-5
    up, down = (float(activations.moments(phi, q + s * h).second) for s in (1, -1))
    assert float(activations.moments(phi, q).growth) == pytest.approx((up - down) / (2 * h), rel=1e-7)


def test_growth_with_a_jump():
    m = activations.moments(activations.get("hardshrink(0.5)"), 1.3)
    # d/dq ∫_{|z|>t} z² p_q = P-part: (1/2q)(E φ² z²/q − E φ²), both in closed form by incomplete moments
    t = 0.5 / math.sqrt(1.3)
    p, tail = math.exp(-t * t / 2) / math.sqrt(2 * math.pi), 0.5 * math.erfc(t / math.sqrt(2))
    second, fourth = 2 * (t * p + tail), 2 * ((t**3 + 3 * t) * p + 3 * tail)
    assert float(m.second) == pytest.approx(1.3 * second, rel=1e-12)
    assert float(m.growth) == pytest.approx((fourth - second) / 2, rel=1e-11)


@pytest.mark.parametrize("name", GAINS)
def test_gains_of_scaled_weight_standardisation(name):
    digits = 5 if name == "relu" else 4
    assert round(activations.gain(name, centred=True), digits) == GAINS[name]


@pytest.mark.parametrize(
    ("name", "limit"), [("tanh", 1.0), ("relu", 0.5), ("sigmoid", 0.0625), ("sin(30)", 900.0)]
)
def test_zero_variance_is_the_limit(name, limit):
    assert float(activations.moments(activations.get(name), 0.0).growth) == pytest.approx(limit, rel=1e-6)


def test_snake_variance():
    for a in (0.5, 1.0, 2.0):
        m = activations.moments(activations.get(f"snake({a})"), 1.0)
        truth = 1 + (1 + math.exp(-8 * a * a) - 2 * math.exp(-4 * a * a)) / (8 * a * a)
        assert float(m.second - m.mean**2) == pytest.approx(truth, rel=1e-12)


def test_dc_share_of_relu():
    assert float(activations.moments(activations.get("relu"), 3.0).dc_share) == pytest.approx(1 / math.pi)


def test_hermite_series_truncations():
    """Cutting at degree 3 keeps .976 of E φ² and .827 of E φ'²."""
    m = activations.moments(activations.get("hermite_series(3, 0)"), 1.0)
    assert (round(float(m.second), 3), round(float(m.slope), 3)) == (0.976, 0.827)
    assert float(activations.moments(activations.get("hermite_series(3)"), 1.0).second) == pytest.approx(1.0)


def test_bad_input_is_named():
    phi = activations.get("tanh")
    with pytest.raises(DomainError, match="q ≥ 0"):
        activations.moments(phi, -1.0)
    with pytest.raises(DomainError, match=r"\|c\| ≤ 1"):
        activations.dual(phi, 1.0, 1.0, 1.5)
    with pytest.raises(DomainError, match="signal"):
        activations.gain(lambda x: 0 * x)
    with pytest.raises(DomainError, match="grows faster"):
        activations.moments(activations.get(lambda x: torch.exp(x * x)), 1.0)


@pytest.mark.parametrize(
    ("function", "name", "reason"),
    [
        (lambda x: torch.exp(x * x), "superexponential", "finite values|alive"),
        (lambda x: torch.where(x > 1, torch.nan, x), "undefined past one", "NaN"),
    ],
)
def test_a_moment_that_is_no_number_is_named_with_its_activation(function, name, reason):
    phi = activations.Activation(name, function)
    for moment in (activations.moments, activations.second, lambda p, q: activations.dual(p, q, q, 0.5)):
        with pytest.raises(DomainError, match=f"moment.*of '{name}'.*({reason})"):
            moment(phi, 1.0)


def test_tanhshrink_near_zero():
    """There it is z³/3, of which z − tanh z would leave rounding noise for the integration to chase."""
    phi = activations.get(torch.nn.Tanhshrink())
    for q in (1e-12, 1e-6):
        assert float(activations.second(phi, q)) == pytest.approx(15 * q**3 / 9, rel=1e-5)
        assert float(activations.dual(phi, q, q, 0.0)) == pytest.approx(0.0, abs=1e-12 * q**3)
    z = torch.tensor([0.2499, 0.2501], dtype=torch.float64)
    torch.testing.assert_close(phi(z), z - torch.tanh(z), rtol=1e-14, atol=0)


JUMPY = {
    "step": "step",
    "sign": "sign",
    "hardshrink": "hardshrink(0.5)",
    "threshold": "threshold(0.1, 2)",
    "quantised tanh": lambda x: torch.round(4 * torch.tanh(x)) / 4,
    "steps on a slope": lambda x: torch.floor(2 * x).clamp(-3, 3) + x.sin(),
    "shifted step": lambda x: (x > 0.7).double(),
}


@pytest.mark.parametrize("name", JUMPY)
@pytest.mark.parametrize("c", [-0.7, 0.0, 0.3, 0.9, 0.99])
def test_covariance_slope_is_the_slope_of_the_dual_with_jumps(name, c):
    phi = activations.get(JUMPY[name])
    q1, q2, h = 1.3, 0.8, 1e-3 * (1 - abs(c))
    root = math.sqrt(q1 * q2)
    at = torch.tensor([c - 2 * h, c - h, c + h, c + 2 * h], dtype=torch.float64)
    far, near, up, top = activations.dual(phi, q1, q2, at, closed=False).tolist()
    expected = (8 * (up - near) - (top - far)) / (12 * h * root)
    # the differences err by h⁴ of the fifth derivative, h below 1e-3 of the distance to 1
    found = float(activations.covariance_slope(phi, q1, q2, c))
    assert found == pytest.approx(expected, rel=1e-8, abs=1e-9)


def test_two_jumps_at_the_same_place_part_equal_inputs_at_an_infinite_rate():
    assert math.isinf(float(activations.covariance_slope(activations.get("step"), 1.0, 1.0, 1.0)))
    # with other variances a jump away from zero is not reached by both at once
    phi = activations.get(lambda x: (x > 0.7).double())
    assert float(activations.covariance_slope(phi, 1.0, 2.0, 1.0)) == 0.0


@pytest.mark.parametrize("q", [1.0, 1e6, 1e10, 1e11, 1e12, 1e100, 1e300])
def test_gelu_at_large_variances(q):
    """E φ'² of xΦ(x) tends to ½ as 2.5/2π√(2q) + …, and no digit is lost on the way."""
    m = activations.moments(activations.get("gelu"), q)
    with mpmath.workdps(50):
        v = mpmath.mpf(q)
        both = mpmath.mpf(1) / 4 + mpmath.asin(v / (1 + v)) / (2 * mpmath.pi)
        d = mpmath.sqrt(1 + 2 * v)
        second = v * both + v**2 / (mpmath.pi * (1 + v) * d)
        slope = both + v * (4 / (1 + v) - 1 + 2 * v**2 / ((1 + v) * (1 + 2 * v))) / (2 * mpmath.pi * d)
    assert float(m.second) == pytest.approx(float(second), rel=1e-13)
    assert float(m.slope) == pytest.approx(float(slope), rel=1e-12)


@pytest.mark.parametrize("degree", [0.6, 0.75, 1.5, 2.0, 3.0])
def test_homogeneous_moments_are_absolute_moments(degree):
    phi = activations.get(lambda x: torch.where(x > 0, 2.0, -0.5) * x.abs() ** degree)
    assert phi.degree == pytest.approx(degree)
    m = activations.moments(phi, 1.7)
    half = (4 + 0.25) / 2
    absolute = lambda p: float(2 ** (p / 2) * mpmath.gamma((p + 1) / 2) / mpmath.sqrt(mpmath.pi))  # noqa: E731
    assert float(m.second) == pytest.approx(half * absolute(2 * degree) * 1.7**degree, rel=1e-12)
    expected = half * degree**2 * absolute(2 * degree - 2) * 1.7 ** (degree - 1)
    assert float(m.slope) == pytest.approx(expected, rel=1e-12)
    assert float(m.mean) == pytest.approx(0.75 * absolute(degree) * 1.7 ** (degree / 2), rel=1e-12)


@pytest.mark.parametrize("c", [-0.8, 0.3, 0.95])
@pytest.mark.parametrize(("q1", "q2"), [(1.0, 1.0), (0.3, 2.0), (0.05, 3.0)])
def test_pairs_of_a_slope_without_end(q1, q2, c):
    """E sgn(uv)√|uv| = (q₁q₂)^¼ √(π/2)/2π ∫ sgn·√|cos θ cos(θ − arccos c)| dθ, between the zeros by mpmath."""
    phi = activations.from_callable(lambda x: torch.sign(x) * x.abs().sqrt())
    angle, half, whole = mpmath.acos(c), mpmath.pi / 2, 2 * mpmath.pi
    ends = sorted([0, half, 3 * half, *((angle + k * half) % whole for k in (1, 3))])
    shape = lambda t: mpmath.cos(t) * mpmath.cos(t - angle)  # noqa: E731
    total = mpmath.quad(lambda t: mpmath.sign(shape(t)) * mpmath.sqrt(abs(shape(t))), [*ends, whole])
    expected = float(total * mpmath.sqrt(mpmath.pi / 2) / (2 * mpmath.pi)) * (q1 * q2) ** 0.25
    assert float(activations.dual(phi, q1, q2, c)) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("name", ["hardswish", "selu", "threshold(0.5, 0)"])
def test_series_of_pairs_are_the_integrals_over_both_gaussians(name):
    """As many correlations as variances make the series, but for those near ±1, which are left to quadrature."""
    phi = activations.get(name)
    c = torch.tensor([-1.0, -0.99, -0.6, 0.0, 0.3, 0.8, 0.9999, 1.0], dtype=torch.float64)
    q1, q2 = torch.tensor(0.4, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
    for moment in (activations.dual, activations.dual_slope):
        exact = moment(phi, q1, q2, c, closed=False)
        # the accuracy that quadrature asks for, of E|f(u) E[f(v)|u]|
        torch.testing.assert_close(moment(phi, q1, q2, c), exact, rtol=0, atol=3e-12)


def test_a_second_moment_of_noise_is_refused_as_the_others_are():
    with pytest.raises(DomainError, match="too rough"):
        activations.second(activations.get(lambda x: torch.frac(torch.sin(12345.678 * x) * 43758.5453)), 1.0)


def test_thousands_of_kinks_are_told(caplog):
    phi = activations.get(lambda x: torch.tanh(x.to(torch.bfloat16).to(x.dtype)))
    assert len(phi.kinks) > 3000
    assert "kinks: its moments may take" in caplog.text
