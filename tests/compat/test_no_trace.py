"""Audit, audit again, deep-copy, save: over every architecture of the zoo, with gradients in place."""

import copy
import io
import sys
from pathlib import Path

import pytest
import torch
from zoo import CASES, Case

from firstlight import audit

sys.path.insert(0, str(Path(__file__).parents[1] / "probe" / "guard"))

from snapshots import differences, snapshot

pytestmark = [
    pytest.mark.compat,
    # what third-party code warns about is its own affair
    pytest.mark.filterwarnings("ignore:::(?!firstlight)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.library}-{case.name}")
def test_two_audits_are_one_and_leave_the_model_as_it_was(case: Case) -> None:
    torch.manual_seed(0)
    model, batch = case.build(), case.batch()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    before = snapshot(model, batch, versions=True)
    first, second = audit(model, batch).profile, audit(model, batch).profile
    left = differences(before, snapshot(model, batch, versions=True))
    assert not left, left[:8]
    assert first == second
    copied = copy.deepcopy(model)
    torch.save(copied.state_dict(), io.BytesIO())
    assert audit(copied, batch).profile == first
