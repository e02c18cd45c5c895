import math

import pytest
import torch

from firstlight.errors import DomainError
from firstlight.theory import gain, unified_view


def test_each_initialisation_keeps_what_it_is_for():
    relu = {row.name: row for row in unified_view("relu")}
    assert (relu["He"].q_ratio, relu["He"].chi) == (pytest.approx(1.0), pytest.approx(1.0))
    assert relu["LeCun / Glorot"].q_ratio == pytest.approx(0.5)
    linear = {row.name: row for row in unified_view("linear")}
    assert (linear["LeCun / Glorot"].q_ratio, linear["orthogonal"].isometric) == (pytest.approx(1.0), True)
    tanh = {row.name: row for row in unified_view("tanh")}
    assert tanh["gain / LSUV"].q_ratio == pytest.approx(1.0)
    assert tanh["edge of chaos"].chi == pytest.approx(1.0)
    assert tanh["slope at zero"].sigma_w == pytest.approx(1.0)


def test_scale_for_activations_differentiable_at_zero():
    """Sigmoid: variance 12.8/N."""
    row = {r.name: r for r in unified_view("sigmoid")}["slope at zero"]
    assert row.sigma_w**2 == pytest.approx(12.8)


def test_gain_agrees_with_torch_where_torch_is_right():
    assert gain("relu").value == pytest.approx(torch.nn.init.calculate_gain("relu"))
    assert gain("leaky_relu(0.2)").value == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", 0.2))
    assert gain("linear").value == pytest.approx(1.0)
    # torch says 5/3 for tanh
    assert abs(gain("tanh").value - 5 / 3) > 0.07
    assert gain("relu").reason.count("keeps") >= 2


@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "hardswish", "sin", "softplus"])
def test_gain_for_what_torch_does_not_know(name):
    with pytest.raises(ValueError, match="Unsupported"):
        torch.nn.init.calculate_gain(name)
    found = gain(name)
    assert found.value > 0
    assert found.chi == pytest.approx((found.value / found.backward) ** 2)
    assert math.isfinite(found.backward)


def test_vanishing_activation_is_named():
    with pytest.raises(DomainError, match="signal"):
        gain(lambda x: 0 * x)


def test_sigmoid_is_judged_where_its_signals_end():
    row = {r.name: r for r in unified_view("sigmoid")}
    # σ_w² = 12.8 keeps small signals, and the variance that it leads to is 4.535
    assert (round(row["slope at zero"].q, 3), round(row["slope at zero"].chi, 3)) == (4.535, 0.354)
    edge = row["edge of chaos"]
    assert (round(edge.q, 3), round(edge.sigma_w, 3), edge.sigma_b) == (45.624, 10.149, 0.0)
    assert edge.chi == pytest.approx(1.0)
