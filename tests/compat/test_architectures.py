"""Every architecture of the zoo is audited: rows, finite numbers, a gradient, and no trace left behind."""

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from zoo import CASES, SICK, Case

from firstlight import audit

pytestmark = [
    pytest.mark.compat,
    # what third-party code warns about is its own affair
    pytest.mark.filterwarnings("ignore:::(?!firstlight)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def state(model: nn.Module) -> dict[str, object]:
    """Everything about a model that an audit could change, as values to compare."""
    tensors = {name: value.detach().clone() for name, value in model.state_dict(keep_vars=True).items()}
    buffers = {name: value.detach().clone() for name, value in model.named_buffers()}
    return {
        "parameters": tensors,
        "buffers": buffers,
        "identity": [id(parameter) for parameter in model.parameters()],
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "grad": [parameter.grad for parameter in model.parameters()],
        "training": [module.training for module in model.modules()],
        "hooks": [[len(getattr(module, hook)) for hook in _HOOKS] for module in model.modules()],
        "forward": ["forward" in vars(module) for module in model.modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "random": torch.get_rng_state(),
    }


def same(before: object, after: object) -> bool:
    if isinstance(before, torch.Tensor):
        return torch.equal(before, after) or bool(
            before.is_floating_point()
            and torch.equal(before.isnan(), after.isnan())
            and torch.equal(before.nan_to_num(), after.nan_to_num())
        )
    if isinstance(before, dict):
        return before.keys() == after.keys() and all(same(before[key], after[key]) for key in before)
    return before == after


def test_the_zoo_is_as_large_as_promised():
    assert len(CASES) >= 30
    assert len({(case.library, case.name) for case in CASES}) == len(CASES)
    assert {case.library for case in CASES} >= {"transformers", "pytorchcv", "x-transformers", "torch"}


def test_the_page_lists_the_zoo():
    page = (Path(__file__).parents[2] / "docs" / "guide" / "compatibility.md").read_text()
    for case in CASES:
        assert f"| {case.name} | {case.library} |" in page, "run python docs/compat_table.py"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.library}: {case.name}")
def test_an_architecture_is_audited(case: Case):
    torch.manual_seed(0)
    model, batch = case.build(), case.batch()
    model.eval()
    before = state(model)
    result = audit(model, batch)
    after = state(model)
    for what, value in before.items():
        assert same(value, after[what]), f"the audit changed {what}"

    graver = [v.code for v in result.verdicts if v.severity == "unhealthy"]
    assert bool(graver) == ((case.library, case.name) in SICK), graver
    profile = result.profile
    weights = profile.select("weight", "recurrent", "embedding", "attention")
    assert len(weights) >= 2, "every architecture here has several weight layers"
    assert np.isfinite(profile["q"]).all() or any("finite" in verdict.code for verdict in result.verdicts)
    assert (profile["nonfinite"][np.isfinite(profile["nonfinite"])] == 0).all()
    gradient = profile.select("weight")["log_grad"]
    assert np.isfinite(gradient).mean() >= 0.5, "the backward pass reached most weight layers"
    assert not any("backward pass failed" in note for note in result.measurement.notes)
    for skipped in result.measurement.skipped:
        assert skipped.reason
    ratios = profile.select("weight")["q_ratio"]
    ratios = ratios[np.isfinite(ratios)]
    if len(ratios) >= 4:
        # theory sees each layer's own input moments, so only finite width and correlated weights part them
        assert 2 / 3 < np.median(ratios) < 3 / 2
    assert result.verdicts
    assert result.to_json()
    del result, model
    gc.collect()
