"""Shares of signals and gradients beyond the range of number formats, against a count."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import firstlight
from firstlight.diagnosis.rules._formats import below


def told(model, batch):
    return {v.code: v for v in firstlight.audit(model, batch).verdicts}.get("number-range")


def test_the_share_beyond_float16_and_float8_is_counted():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 4)), torch.randn(64, 64)
    assert told(model, x) is None
    model[0].weight.data *= 2e5
    z = model[0](x).detach().abs()
    found = told(model, x)
    assert found.severity == "note"
    assert f"{float((z > 65504).float().mean()):.1%} of a row" in found.evidence
    assert f"{float((z > 448).float().mean()):.1%} of a row" in found.evidence


def test_gradients_below_the_models_own_format():
    torch.manual_seed(0)
    model, x = (
        nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4)).half(),
        torch.randn(64, 64).half(),
    )
    assert told(model, x) is None
    model[2].weight.data *= 3e-6
    found = told(model, x)
    assert found.severity == "warning"
    assert "of the gradients' entries lie below" in found.evidence


@pytest.mark.parametrize("size", [1e-8, 1e-7, 1e-6])
def test_the_share_below_is_that_of_drawn_entries(size):
    g = torch.Generator().manual_seed(0)
    drawn = (size * torch.randn(100_000, generator=g, dtype=torch.float64)).abs()
    share = float((drawn < 2.0**-24).double().mean())
    error = math.sqrt(share * (1 - share) / 1e5)
    assert abs(float(below(np.log([size]), 2.0**-24)[0]) - share) < 5 * error + 1e-6  # none of 10⁵ draws
