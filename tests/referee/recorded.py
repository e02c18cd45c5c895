"""Numbers that were wrong once: each is put in theory's place, and the referee has to reject it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from tests.referee import brute
from tests.referee.compare import Check, _batch, _finite, correlation_slope, density, recursion, stationary
from tests.referee.draw import Case

from firstlight import RandomNetwork


def _case(q0: float = 1.0, batch: int | None = None, **fields) -> Case:
    return Case(
        str(fields.get("activation")), RandomNetwork(**{"depth": 2, "width": 400} | fields), q0, 0.5, batch
    )


def parity_and_degree() -> Iterator[Check]:
    """Row 1: callables read at a few points."""
    for function, sigma_w, q0, wrong in (
        (lambda x: torch.clamp(x, -6, 8), 1.3, 100.0, 74.04),
        (lambda x: torch.clamp(x, -50, 50), 1.0, 2500.0, 2500.0),
        (lambda x: torch.relu(x - 50), 1.2, 2500.0, 1118.8),
        (lambda x: torch.clamp(x, -1e-3, 1e-3), 1.0, 1e-8, 9.99e-7),
        (lambda x: torch.tanh(1000 * x), 1.0, 1e-6, 0.9992),
    ):
        case = _case(q0, activation=function, sigma_w=sigma_w)
        yield from recursion(case, 1, np.array([sigma_w**2 * q0, wrong]))


def refined_fixed_point() -> Iterator[Check]:
    """Row 2: the wrong end of an interval."""
    case = _case(activation="weibull-critical(3)", weight_law="weibull(3)")
    yield from stationary(case, 0.96466, 2)


def discrete_and_heavy_weights() -> Iterator[Check]:
    """Row 3: the law at small width; for degree one, q follows from q."""
    case = _case(depth=3, width=3, activation="relu", sigma_w=2**0.5, weight_law="rademacher")
    yield from (c for c in density(case, 3, np.array([0.0, 1.0, 4.56])) if c.what == "density kurtosis[3]")
    heavy = _case(depth=3, width=3, activation="relu", weight_law="student(3)").network
    share, error = brute.mean(torch.relu(brute.normals(3)).square())
    yield Check(
        "student(3)", "q[3]", 2.177, heavy.law.variance * share * 1.5, 4.5 * error, brute.REPLICATES - 1
    )
    one = _case(depth=5, width=1, activation="relu", sigma_w=2**0.5).network
    fourth, error = brute.mean(torch.relu(brute.normals(4)).pow(4))
    grown = (3 * one.sigma_w**4 * fourth / 3) ** 4
    yield Check("n = 1", "kurtosis[5] + 3", 2037.0, 3 * grown, 12 * grown * error, brute.REPLICATES - 1)


def orthogonal_after_normal() -> Iterator[Check]:
    """Row 4: the first layer taken for a sphere."""
    case = _case(
        depth=3, width=16, in_features=16, activation="relu", sigma_w=2**0.5, weight_law="orthogonal"
    )
    for check in _finite(case, 5):
        for what, wrong in (("kurtosis[2]", 0.229), ("kurtosis[3]", 0.792)):
            if check.what == what:
                yield Check(case.label, what, wrong, check.measured, check.error)


def jumps() -> Iterator[Check]:
    """Row 5: C' of functions with jumps, as 0."""
    for name, function, sigma_w, sigma_b in (
        ("step", lambda x: (x > 0).to(x.dtype), 1.5, 0.5),
        ("sign", torch.sign, 1.5, 0.5),
        ("quantised tanh", lambda x: torch.round(4 * torch.tanh(x)) / 4, 1.5, 0.5),
    ):
        case = _case(activation=function, sigma_w=sigma_w, sigma_b=sigma_b)
        yield replace(correlation_slope(case, 1.0, 0.3, 0.0, 6), case=name)


def batch_rate() -> Iterator[Check]:
    """Row 6: χ of batch norm that forgets the batch."""
    yield from _batch(_case(activation="relu", norm="batch", batch=8), 7, 1.0)


def fixed_points() -> Iterator[Check]:
    """Row 7: a basin that is too large. V of critical GELU touches the diagonal at 3.5616, and q stays above it."""
    g = brute.normals(8)
    phi = RandomNetwork(depth=2, width=2, activation="gelu").phi
    touching = 3.5616
    w2 = 1 / float(phi.derivative(math.sqrt(touching) * g).square().mean())
    b2 = touching - w2 * float(phi(math.sqrt(touching) * g).square().mean())
    q, error = 4.0, 0.0
    for _ in range(400):
        second, error = brute.mean(phi(math.sqrt(q) * g).square())
        q = w2 * second + b2
    assert q > touching
    yield Check(
        "critical gelu", "q after 400 layers from 4", 3.035, q, w2 * error + 5e-3, brute.REPLICATES - 1
    )


def attention() -> Iterator[Check]:
    """Row 8: the mean over the softmax's denominator as its limit of many tokens."""
    g = torch.Generator().manual_seed(9)
    for tokens, t2, wrong in ((64, 1.0, 0.0425), (64, 2.0, 0.1155), (16, 1.0, 0.170)):
        p = torch.softmax(
            math.sqrt(t2) * torch.randn(20_000, tokens, generator=g, dtype=torch.float64), dim=1
        )
        share = p.square().sum(dim=1)
        error = float(share.std()) / math.sqrt(len(share))
        yield Check(f"T={tokens}, t²={t2}", "E Σ p²", wrong, float(share.mean()), error)


ROWS: dict[str, Callable[[], Iterator[Check]]] = {
    "1 parity and degree of callables": parity_and_degree,
    "2 refined fixed point": refined_fixed_point,
    "3 discrete and heavy-tailed weights, one unit": discrete_and_heavy_weights,
    "4 orthogonal weights after a normal layer": orthogonal_after_normal,
    "5 activations with jumps": jumps,
    "6 batch norm": batch_rate,
    "7 fixed points and basins": fixed_points,
    "8 attention": attention,
}
