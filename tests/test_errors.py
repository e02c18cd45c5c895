"""Messages that every room shares."""

from __future__ import annotations

import pytest

from firstlight.errors import did_you_mean

NAMES = ("relu", "leaky_relu", "gelu", "tanh", "sphere_marginal")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("gellu", "gelu"),
        ("ReLu", "relu"),
        ("leaky-relu(0.3)", "leaky_relu"),
        ("sphere marginal(3)", "sphere_marginal"),
        ("tanhh", "tanh"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(name: str, found: str) -> None:
    assert did_you_mean(name, NAMES) == f"; did you mean {found!r}?"


@pytest.mark.parametrize("name", ["", "zebra", "???"])
def test_a_name_that_is_near_nothing_is_answered_with_nothing(name: str) -> None:
    assert did_you_mean(name, NAMES) == ""
    assert did_you_mean(name, ()) == ""
