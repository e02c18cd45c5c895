"""Making a fit: its limit, its words, its threads, and how a shipped one is found."""

from __future__ import annotations

import logging
import math

import pytest
import torch

from firstlight import pairs
from firstlight.pairs.exact.function import ExactActivation
from firstlight.pairs.exact.numbers import critical_split
from firstlight.pairs.exact.wright import weibull_partner
from firstlight.pairs.modules import _coefficients
from firstlight.pairs.modules._lawson import fit
from firstlight.weights import weibull


def test_a_fit_that_takes_too_long_is_given_up() -> None:
    exact = ExactActivation(weibull_partner(3.3), 0.5)
    with pytest.raises(pairs.FitError, match=r"less than 0 s.*shipped θ"):
        fit(exact, limit=0.0)


def test_a_fit_says_what_it_does_and_leaves_the_threads_alone(caplog: pytest.LogCaptureFixture) -> None:
    threads = torch.get_num_threads()
    with caplog.at_level(logging.INFO, logger="firstlight"):
        made = fit(ExactActivation(weibull_partner(12.0), 0.5))
    assert made.error < 2e-6
    assert "degree 4, error none yet" in caplog.messages[0]
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("theta", [2.05, 3.0])
def test_a_critical_split_that_differs_in_its_last_bits_finds_the_shipped_fit(theta: float) -> None:
    magnitude = weibull_partner(theta)
    split = critical_split(magnitude, weibull(theta).variance)
    for near in (split, math.nextafter(split, 1.0), split + 1e-14):
        for precise in (False, True):
            assert _coefficients.is_ready(ExactActivation(magnitude, near), theta, precise=precise)
    assert _coefficients._shipped_name(theta, split + 1e-9, False) is None


@pytest.mark.parametrize("theta", [2.0, 2.05, 3.0])
@pytest.mark.parametrize(("kind", "bound"), [("odd", 1e-10), ("critical", 4e-9), ("positive", 2.5e-8)])
def test_the_float64_module_is_as_accurate_as_its_page_says(theta: float, kind: str, bound: float) -> None:
    pair = pairs.weibull(theta, kind=kind)
    x = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    assert float((pair.activation(x) - torch.from_numpy(pair.exact(x.numpy()))).abs().max()) < bound
