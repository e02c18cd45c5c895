import math

import pytest
import torch

from firstlight import activations, gauss
from firstlight.gauss.windows import LogWindows, interpolated


@pytest.mark.parametrize(
    ("activation", "tolerance"),
    [("tanh", 1e-13), ("elu", 1e-13), (lambda x: 1.0 * torch.sin(x), 1e-13), ("hardswish", 1e-13)],
)
def test_moments_of_many_variances_are_those_of_few(activation, tolerance):
    phi = activations.get(activation)
    q = torch.logspace(-5, 4, 900, dtype=torch.float64)
    many = activations.moments(phi, q)
    few = activations.moments(phi, q[::45])  # twenty variances are integrated one by one
    for name in ("second", "slope"):
        torch.testing.assert_close(getattr(many, name)[::45], getattr(few, name), rtol=tolerance, atol=1e-300)
    size = (few.second * few.slope / few.q).sqrt()  # of the growth, in which an oscillation cancels
    assert float(((many.growth[::45] - few.growth) / size).abs().max()) < 10 * tolerance


def test_what_is_rough_in_log_q_is_not_interpolated():
    def rows(q):
        return torch.stack([torch.sin(1000 * q)], 1)

    q = torch.linspace(1.0, 2.0, 400, dtype=torch.float64)
    torch.testing.assert_close(interpolated(rows, q), rows(q), rtol=0, atol=0)
    torch.testing.assert_close(LogWindows(rows)(q), rows(q), rtol=0, atol=0)


def test_a_window_may_reach_where_the_moment_diverges():
    """E exp(x²/5) is finite for q < 2.5; the window of q = 2 in log q reaches to e."""

    def rows(q):
        return gauss.expect(lambda x: torch.exp(x * x / 5), 0.0, q.sqrt())[:, None]

    q = torch.linspace(1.9, 2.1, 60, dtype=torch.float64)
    expected = torch.rsqrt(1 - 0.4 * q)[:, None]
    torch.testing.assert_close(LogWindows(rows)(q), expected, rtol=1e-11, atol=0)


def test_silent_variances_among_many():
    q = torch.cat([torch.zeros(3), torch.linspace(0.1, 3.0, 200)]).double()
    found = activations.second(activations.get("sigmoid"), q)
    assert found[:3].tolist() == [0.25] * 3
    assert math.isfinite(float(activations.moments(activations.get("mish"), q).growth.sum()))
