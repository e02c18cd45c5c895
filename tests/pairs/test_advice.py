"""Advice on θ and kind: what it weighs, and what it refuses."""

import math

import pytest

from firstlight import pairs
from firstlight.errors import DomainError


@pytest.mark.slow
def test_theta_grows_with_the_width():
    thetas = [pairs.recommend(depth=100, width=n).theta for n in (3, 10, 30, 100, 1000)]
    assert thetas == sorted(thetas)
    assert thetas[0] == 2.05  # the largest χ₁ there is, against the largest loss
    assert thetas[-1] >= 5


@pytest.mark.parametrize("width", [10, 30, 100, 1000])
def test_typical_gradients_stay_within_reach(width):
    advice = pairs.recommend(depth=100, width=width)
    assert advice.kind == "odd"
    assert abs(math.log(advice.gradient_factor)) < 8
    assert "critical" in str(advice)


@pytest.mark.parametrize(("depth", "width"), [(0, 10), (10, 0), (-1, 5)])
def test_refused(depth, width):
    with pytest.raises(DomainError, match="recommending"):
        pairs.recommend(depth, width)
