"""What is read of a small tensor, which is copied as a whole, is what is read of a tensor part by part."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import firstlight
from firstlight import measure
from firstlight.probe.graph._site import Site
from firstlight.probe.read import reader as reading
from firstlight.probe.read.reader import Budget, Reader

# kind, operation, shape, axis of units
KINDS = (
    ("input", "input", (12, 7), -1),
    ("weight", "linear", (40, 300), -1),
    ("activation", "relu", (3, 9, 20), -1),
    ("attention", "scaled_dot_product_attention", (2, 4, 6, 5), -1),
    ("weight", "conv2d", (5, 8, 6, 7), -3),
    ("activation", "relu", (4, 3, 11), -2),
    ("residual", "add", (1, 6), -1),
)


def _read(tensors: list[torch.Tensor]) -> list[Site]:
    reader = Reader(Budget(samples=16, units=24))
    sites = [
        Site(i, kind, kind, op, tuple(t.shape), unit, 1)
        for i, ((kind, op, _, unit), t) in enumerate(zip(KINDS, tensors, strict=True))
    ]
    for site, t in zip(sites, tensors, strict=True):
        reader.read(site, t)
    reader.finish()
    return sites


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_small_tensors_are_read_as_large_ones(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(shape, generator=generator).to(dtype) for _, _, shape, _ in KINDS]
    tensors[2][..., :5] = 0.0  # dead units
    tensors[4] = tensors[4].to(memory_format=torch.channels_last)
    whole = _read([t.clone() for t in tensors])
    monkeypatch.setattr(reading, "SMALL", 0)
    parts = _read([t.clone() for t in tensors])
    for one, other in zip(whole, parts, strict=True):
        assert one.values.keys() == other.values.keys()
        assert one.rows is not None
        assert other.rows is not None
        assert torch.equal(one.rows, other.rows)
        for name, value in one.values.items():
            # float32 has 24 bits, and the kurtosis is what is left of a difference
            if isinstance(value, float):
                assert value == pytest.approx(other.values[name], rel=1e-5, abs=1e-6), name
    assert whole[2].values["dead"] == 0.25
    assert whole[4].values["places"] == 1.0


def test_what_was_copied_is_not_what_the_model_writes_later() -> None:
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    before, reader, site = z.clone(), Reader(Budget()), Site(0, "z", "weight", "linear", (6, 5), -1, 1)
    reader.read(site, z)
    z.zero_()
    reader.finish()
    assert site.rows is not None
    assert torch.equal(site.rows, before)


def test_correlation_and_rank_of_a_row_by_hand() -> None:
    z = torch.randn(9, 20, generator=torch.Generator().manual_seed(2))
    (site,) = _one(z)
    x = z.double().numpy()
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = (unit @ unit.T)[np.triu_indices(9, 1)]
    assert site.values["correlation"] == pytest.approx(cosines.mean(), rel=1e-6)
    share = np.linalg.svd(x, compute_uv=False) ** 2 / np.sum(x * x)
    assert site.values["effective_rank"] == pytest.approx(math.exp(-(share * np.log(share)).sum()), rel=1e-9)
    assert site.values["isometry_gap"] == pytest.approx(float(measure.isometry_gap(z)), rel=1e-6)
    assert site.values["channel_var"] == pytest.approx(x.var(axis=0, ddof=1).mean(), rel=1e-6)


def _one(z: torch.Tensor) -> list[Site]:
    reader, site = Reader(Budget()), Site(0, "z", "weight", "linear", tuple(z.shape), -1, 1)
    reader.read(site, z)
    reader.finish()
    return [site]


def test_rows_that_are_not_finite_warn_nobody() -> None:
    z = torch.randn(4, 6)
    z[1, 2], z[3, 0] = math.inf, math.nan
    (site,) = _one(z)
    assert site.values["nonfinite"] == pytest.approx(2 / 24)
    assert "correlation" not in site.values
    (flat,) = _one(torch.zeros(4, 6))
    assert flat.values["effective_rank"] == 0.0


def test_double_precision_beyond_float32_is_read_without_a_warning():
    x = torch.randn(16, 8, dtype=torch.float64) * 1e60
    profile = firstlight.audit(nn.Linear(8, 8).double(), x).profile
    # second moments are read in the tensor's own precision
    assert profile["q"][0] == pytest.approx(float(x.square().mean()), rel=1e-12)
