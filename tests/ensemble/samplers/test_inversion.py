"""Characteristic-function inversion against drawn weights, against closed forms, and its fallbacks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from firstlight import weights
from firstlight.ensemble.samplers import InvertedWeights, StreamedWeights
from firstlight.ensemble.samplers._characteristic import log_characteristic, table

LAWS = ["weibull(2.05)", "weibull(3)", "weibull(10)", "uniform", "laplace", "symmetric_gamma(2)"]


@pytest.mark.parametrize("name", LAWS)
def test_log_characteristic_against_moments(name: str) -> None:
    """The coefficients begin with the cumulants −κ₂/2!, κ₄/4!: a polynomial fit to 3e-11 gives them."""
    law = weights.get(name)
    reach, c, variance = log_characteristic(law)
    assert variance == pytest.approx(law.variance, rel=1e-12)
    assert c[0] == pytest.approx(-variance * reach**2 / 2, rel=1e-8)
    fourth = law.moment(4) - 3 * law.variance**2
    assert c[1] == pytest.approx(fourth * reach**4 / 24, rel=1e-5)


def test_log_characteristic_of_a_uniform_is_its_closed_form() -> None:
    reach, c, _ = log_characteristic(weights.uniform())
    t = np.linspace(0.01, reach, 7)
    got = sum(cm * (t / reach) ** (2 * m) for m, cm in enumerate(c, start=1))
    assert got == pytest.approx(np.log(np.sin(t) / t), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "closed"),
    [
        ("uniform", lambda t: torch.sin(t) / t),
        ("laplace", lambda t: 1 / (1 + t.square())),
        ("normal", lambda t: torch.exp(-0.5 * t.square())),
    ],
)
def test_table_of_characteristic_function(name: str, closed: Callable[[Tensor], Tensor]) -> None:
    """A Taylor step of half a spacing leaves E|W|³ (δ/2)³/6, of all the range that inversion reads."""
    law = weights.get(name)
    psi = table(law)
    t = torch.linspace(1e-9, 7.1 / math.sqrt(law.variance), 5001, dtype=torch.float64)
    third = {"uniform": 1 / 4, "laplace": 6.0, "normal": 1.6}[name]
    assert float((psi(t) - closed(t)).abs().max()) < third * (psi.step / 2) ** 3 / 6 * 1.01 + 1e-12


@pytest.mark.parametrize("sigma_b", [0.0, 0.5])
@pytest.mark.parametrize("name", ["weibull(2.05)", "weibull(10)", "uniform", "student(5)"])
def test_same_law_as_drawn_weights(
    name: str, sigma_b: float, same_law: Callable[[Tensor, Tensor], None], generator: torch.Generator
) -> None:
    """Activations of unequal size, some beyond the polynomial's reach, at a fan-in where non-Gaussianity shows."""
    law, n = weights.get(name), 100
    h = torch.linspace(-1.0, 1.2, n)[None, :, None] ** 3
    h[0, :3] *= 3
    units = 4000 if name.startswith("student") else 200_000  # its draws invert an incomplete beta function
    inverted, _ = InvertedWeights(law, 1.3, sigma_b).forward(h, units, generator)
    drawn, _ = StreamedWeights(law, 1.3, sigma_b).forward(h, units, generator)
    same_law(inverted, drawn)


def test_networks_keep_their_own_law(generator: torch.Generator) -> None:
    """Variance and fourth cumulant of every network of a chunk, against the power sums that fix them."""
    law, n, out = weights.uniform(), 256, 40_000
    h = (
        torch.rand(6, n, 1, generator=generator)
        * torch.tensor([1e-6, 0.1, 1.0, 2.0, 50.0, 1e6])[:, None, None]
    )
    z, _ = InvertedWeights(law).forward(h, out, generator)
    variance = law.variance * h.double().square().mean(dim=1)[:, 0]
    x = z[..., 0].double() / variance.sqrt()[:, None]
    kurtosis = law.excess_kurtosis * h.double().pow(4).sum(1)[:, 0] / h.double().square().sum(1)[:, 0] ** 2
    assert float((x.square().mean(1) - 1).abs().max()) < 5 * math.sqrt(2 / out)
    assert float((x.pow(4).mean(1) - 3 - kurtosis).abs().max()) < 5 * math.sqrt(96 / out)
    # units of one network are independent, and so are networks
    assert float(torch.corrcoef(x)[0, 1:].abs().max()) < 5 / math.sqrt(out)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("weibull(3)", (4, 20, 1)), ("weibull(3)", (4, 100, 2)), ("student(4)", (4, 100, 1))],
    ids=["narrow", "two inputs", "no expansion"],
)
def test_falls_back_to_drawing(name: str, shape: tuple[int, int, int], generator: torch.Generator) -> None:
    """The same stream of random numbers gives the very numbers of the drawn route."""
    h = torch.randn(shape, generator=generator)
    state = generator.get_state()
    one, _ = InvertedWeights(weights.get(name)).forward(h, 7, generator)
    generator.set_state(state)
    other, _ = StreamedWeights(weights.get(name)).forward(h, 7, generator)
    assert torch.equal(one, other)


def test_only_the_networks_that_need_it_are_drawn(
    same_law: Callable[[Tensor, Tensor], None], generator: torch.Generator
) -> None:
    """One activation outweighs the others in one network of three: that one is drawn, all have their law."""
    law, n, out = weights.weibull(3.0), 200, 30_000
    h = torch.randn(3, n, 1, generator=generator)
    h[1] = torch.linspace(0.5, 1.0, n)[:, None]
    h[1, 5] = 40.0
    z, _ = InvertedWeights(law).forward(h, out, generator)
    for one in range(3):
        drawn, _ = StreamedWeights(law).forward(h[one : one + 1], out, generator)
        same_law(z[one], drawn)


def test_dead_and_single_activations_fall_back(generator: torch.Generator) -> None:
    h = torch.zeros(2, 100, 1)
    h[1, 0] = 1.0
    z, _ = InvertedWeights(weights.weibull(3.0)).forward(h, 50_000, generator)
    assert bool((z[0] == 0).all())
    fourth = float((z[1] * 10).double().pow(4).mean())
    want = weights.weibull(3.0).moment(4)
    assert abs(fourth - want) < 5 * math.sqrt((weights.weibull(3.0).moment(8) - want**2) / 50_000)
