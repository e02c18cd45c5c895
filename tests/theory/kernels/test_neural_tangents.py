"""Kernels against those that neural-tangents computes; see reference/make_neural_tangents.py."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from firstlight.network import RandomNetwork
from firstlight.theory import kernels

REFERENCE = json.loads((Path(__file__).parents[2] / "reference/neural_tangents.json").read_text())


@pytest.mark.parametrize(
    "case", REFERENCE["cases"], ids=lambda c: f"{c['activation']}-{c['depth']}-{c['parametrisation']}"
)
def test_values_agree(case):
    net = RandomNetwork(
        width=REFERENCE["width"],
        **{k: case[k] for k in ("depth", "activation", "sigma_w", "sigma_b", "parametrisation")},
    )
    x1, x2 = (torch.tensor(REFERENCE[k], dtype=torch.float64) for k in ("x1", "x2"))
    found = kernels(net, x1, x2)
    # both work in float64; 1e-6 is asked for, and closed forms agree to rounding
    np.testing.assert_allclose(found.nngp, case["nngp"], rtol=1e-11)
    np.testing.assert_allclose(found.ntk, case["ntk"], rtol=1e-11)
