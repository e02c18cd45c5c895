import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from firstlight import gauss
from firstlight.errors import DomainError

REFERENCE = json.loads((Path(__file__).parents[1] / "reference/bivariate.json").read_text())
# function and kinks of the names in reference/make_bivariate.py
FUNCTIONS = {
    "clip": (lambda x: torch.clamp(x + 1, 0, 2), (-1.0, 1.0)),
    "shifted_relu": (lambda x: torch.relu(x - 0.3), (0.3,)),
    "bent": (lambda x: 2 * torch.relu(x + 0.7) - 3 * torch.relu(x - 0.4), (-0.7, 0.4)),
    "tanh": (torch.tanh, ()),
    "gelu": (F.gelu, ()),
}
CORRELATIONS = [-1.0, -0.999999, -0.5, 0.0, 0.3, 0.9, 0.9999, 1 - 1e-12, 1.0]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_agrees_with_mpmath(name):
    """1e-10 for smooth functions and 1e-9 with kinks, relative to √(E f(u)² E f(v)²), to which both sides round."""
    f, kinks = FUNCTIONS[name]
    cases = [case for case in REFERENCE if case["f"] == name]
    c = torch.tensor(
        [1 - 1e-12 if case["c"] == "1 - 1e-12" else float(case["c"]) for case in cases], dtype=torch.float64
    )
    s1, s2 = (
        torch.tensor([float(case[k]) for case in cases], dtype=torch.float64).sqrt() for k in ("q1", "q2")
    )
    found = gauss.expect2(f, f, c, std=(s1, s2), kinks=(kinks, kinks))
    truth = torch.tensor([float(case["value"]) for case in cases], dtype=torch.float64)
    size = torch.sqrt(
        gauss.expect(lambda x: f(x) ** 2, 0.0, s1, kinks=kinks)
        * gauss.expect(lambda x: f(x) ** 2, 0.0, s2, kinks=kinks)
    )
    tolerance = 1e-9 if kinks else 1e-10
    assert bool(((found - truth).abs() <= 1e-12 * size).all())
    plain = truth.abs() > 1e-3 * size
    assert float(((found - truth).abs() / truth.abs())[plain].max()) < tolerance


def relu_dual(c, q1=1.0, q2=1.0):
    """Cho and Saul (2009), equation 6, by degree-one homogeneity."""
    theta = math.acos(max(-1.0, min(1.0, c)))
    return math.sqrt(q1 * q2) * (math.sin(theta) + (math.pi - theta) * math.cos(theta)) / (2 * math.pi)


@pytest.mark.parametrize("c", CORRELATIONS)
@pytest.mark.parametrize(("q1", "q2"), [(1.0, 1.0), (1e-12, 3.0), (1e12, 1e12)])
def test_relu(c, q1, q2):
    s = (math.sqrt(q1), math.sqrt(q2))
    value = float(gauss.expect2(torch.relu, torch.relu, c, std=s, kinks=((0.0,), (0.0,))))
    truth = relu_dual(c, q1, q2)
    # Close to c = −1 the closed form itself cancels to 1e-16 of its terms.
    assert value == pytest.approx(truth, rel=1e-9, abs=2e-16 * s[0] * s[1])


@pytest.mark.parametrize("c", CORRELATIONS)
@pytest.mark.parametrize("q", [1e-12, 0.3, 1.0, 40.0, 1e12])
def test_erf(c, q):
    s = math.sqrt(q)
    value = float(gauss.expect2(torch.erf, torch.erf, c, std=(s, s)))
    # Williams (1997); with 1 − x² in factors, for arcsin near 1 is ill-conditioned.
    x = 2 * q * c / (1 + 2 * q)
    rest = math.sqrt((1 + 2 * q * (1 - c)) * (1 + 2 * q * (1 + c))) / (1 + 2 * q)
    assert value == pytest.approx(2 / math.pi * math.atan2(x, rest), rel=1e-10, abs=1e-15)


@pytest.mark.parametrize("c", CORRELATIONS)
def test_jumps(c):
    value = float(gauss.expect2(torch.sign, torch.sign, c, kinks=((0.0,), (0.0,))))
    assert value == pytest.approx(2 / math.pi * math.asin(c), rel=1e-10)


@pytest.mark.parametrize("c", [-0.7, 0.2, 0.99, 1 - 1e-9])
def test_different_functions_means_and_scales(c):
    """Stein's identity: E u·g(v) = m₁ E g + c s₁ s₂ E g'(v)."""
    kinks = (-1.0, 1.0)
    value = float(
        gauss.expect2(lambda x: x, F.hardtanh, c, std=(0.7, 2.0), mean=(0.3, -0.4), kinks=((), kinks))
    )
    slope = gauss.expect(lambda x: (x.abs() < 1).double(), -0.4, 2.0, kinks=kinks)
    truth = 0.3 * gauss.expect(F.hardtanh, -0.4, 2.0, kinks=kinks) + c * 1.4 * slope
    assert value == pytest.approx(float(truth), rel=1e-11)


def test_hermite_series_agrees():
    for f, kinks in [(torch.tanh, ()), (F.gelu, ()), (torch.relu, (0.0,))]:
        a = gauss.hermite_coefficients(f, 1.7, 400, kinks=kinks)
        powers = 0.6 ** torch.arange(401, dtype=torch.float64)
        s = math.sqrt(1.7)
        value = gauss.expect2(f, f, 0.6, std=(s, s), kinks=(kinks, kinks))
        assert float(value) == pytest.approx(float(a**2 @ powers), rel=1e-11)


def test_many_at_once_equal_one_by_one():
    c = torch.linspace(-1, 1, 9, dtype=torch.float64)
    together = gauss.expect2(F.gelu, F.gelu, c, std=(1.3, 0.4))
    alone = torch.stack([gauss.expect2(F.gelu, F.gelu, v, std=(1.3, 0.4)) for v in c])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("c", "std"), [(1.1, (1.0, 1.0)), (math.nan, (1.0, 1.0)), (0.5, (1.0, -1.0))])
def test_bad_input_is_named(c, std):
    with pytest.raises(DomainError, match="correlat"):
        gauss.expect2(torch.tanh, torch.tanh, c, std=std)
