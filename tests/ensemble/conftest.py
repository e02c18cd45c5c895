"""An independent second route: networks with explicit weight matrices, and tests of equality in law."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from firstlight import weights


def _explicit_weights(law: str, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    nets, rows, columns = shape
    if law == "normal":
        return torch.randn(shape, generator=generator, dtype=torch.float64)
    if law == "orthogonal":
        size = max(rows, columns)
        q, r = torch.linalg.qr(torch.randn(nets, size, size, generator=generator, dtype=torch.float64))
        q = q * torch.diagonal(r, dim1=1, dim2=2).sign()[:, None, :]
        return math.sqrt(size) * q[:, :rows, :columns]
    return weights.get(law).sample(shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def explicit() -> Callable[..., Tensor]:
    """Weight matrices (nets, rows, columns) of a law, drawn in full."""
    return _explicit_weights


def _same_law(a: Tensor, b: Tensor) -> None:
    """Two-sample KS and z-scored means, variances and fourth moments of two flat samples."""
    a, b = a.double().flatten(), b.double().flatten()
    assert len(a) > 1000
    assert len(b) > 1000
    everything = torch.cat([a, b]).sort().values
    f = torch.searchsorted(a.sort().values, everything, right=True) / len(a)
    g = torch.searchsorted(b.sort().values, everything, right=True) / len(b)
    scaled = float((f - g).abs().max()) * math.sqrt(len(a) * len(b) / (len(a) + len(b)))
    assert scaled < 2.4, f"KS {scaled}: probability below 2e-5 for equal laws"
    scale = float(torch.cat([a, b]).square().mean().sqrt())
    for power in (1, 2, 4):
        x, y = (a / scale) ** power, (b / scale) ** power
        error = math.sqrt(float(x.var()) / len(x) + float(y.var()) / len(y))
        z = (float(x.mean()) - float(y.mean())) / error if error else 0.0
        assert abs(z) < 5, f"moment {power}: z = {z}"


@pytest.fixture
def same_law() -> Callable[[Tensor, Tensor], None]:
    """Assert that two samples come from one law."""
    return _same_law


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20261122)


@pytest.fixture(autouse=True)
def _numpy_is_loud() -> object:
    with np.errstate(all="raise", under="ignore"):
        yield
