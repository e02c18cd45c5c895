import math

import pytest
import torch

from firstlight import gauss
from firstlight.errors import DomainError


def test_relu_coefficients():
    """a_k of max(0, g): 1/√2π, 1/2, then (−1)^{k/2+1} (k−3)!!/√(2π k!) at even k."""
    a = gauss.hermite_coefficients(torch.relu, 1.0, 60, kinks=(0.0,)).tolist()
    assert a[:4] == pytest.approx([1 / math.sqrt(2 * math.pi), 0.5, 0.5 / math.sqrt(math.pi), 0.0], abs=1e-15)
    for k in range(4, 61, 2):
        log = math.lgamma(k - 1) - math.lgamma(k / 2) - (k / 2 - 1) * math.log(2)  # (k−3)!!
        size = math.exp(log - 0.5 * (math.log(2 * math.pi) + math.lgamma(k + 1)))
        assert a[k] == pytest.approx((-1) ** (k // 2 + 1) * size, rel=1e-11)
    assert a[3::2] == pytest.approx([0.0] * len(a[3::2]), abs=1e-15)


@pytest.mark.parametrize("q", [1e-6, 1.0, 30.0])
def test_parseval(q):
    a = gauss.hermite_coefficients(torch.sin, q, 300)
    assert float((a**2).sum()) == pytest.approx(0.5 * -math.expm1(-2 * q), rel=1e-12)


def test_thousand_orders_stay_bounded_and_batch():
    a = gauss.hermite_coefficients(torch.sign, torch.tensor([0.5, 4.0]), 1000, kinks=(0.0,))
    assert a.shape == (2, 1001)
    torch.testing.assert_close(a[0], a[1], rtol=1e-12, atol=1e-14)
    # Σ_{k ≤ K} a_k² of a step approaches 1 as 1 − O(K^{−1/2}).
    assert 0.97 < float((a[0] ** 2).sum()) < 1


def test_undeclared_kink():
    declared = gauss.hermite_coefficients(torch.relu, 1.0, 40, kinks=(0.0,))
    found = gauss.hermite_coefficients(lambda x: torch.relu(x - 0.3), 1.0, 0)
    p = math.exp(-0.045) / math.sqrt(2 * math.pi)
    assert float(found[0]) == pytest.approx(p - 0.3 * 0.5 * math.erfc(0.3 / math.sqrt(2)), rel=1e-12)
    assert float(declared[1]) == pytest.approx(0.5, rel=1e-14)


def test_bad_input_is_named():
    with pytest.raises(DomainError, match="q"):
        gauss.hermite_coefficients(torch.tanh, -1.0, 3)
    with pytest.raises(DomainError, match="undefined"):
        gauss.hermite_coefficients(torch.log, 1.0, 3)
