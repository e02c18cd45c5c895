"""Coverage over the wide zoo: every parameter that a forward used has a row, and every gap would be named."""

import importlib.util

import pytest
import torch
from zoo import CASES, SICK, WIDE, Case

from firstlight import audit

pytestmark = [
    pytest.mark.compat,
    pytest.mark.filterwarnings("ignore"),  # what third-party code warns about is its own affair
]
# the name that each library is imported by, where the two differ
MODULES = {
    "vit-pytorch": "vit_pytorch",
    "perceiver-pytorch": "perceiver_pytorch",
    "torch-geometric": "torch_geometric",
    "stable-baselines3": "stable_baselines3",
}


def test_the_wide_zoo_is_as_large_as_promised():
    assert len(CASES) + len(WIDE) >= 250
    assert len({(case.library, case.name) for case in (*CASES, *WIDE)}) == len(CASES) + len(WIDE)


@pytest.mark.parametrize("case", WIDE, ids=lambda case: f"{case.library}: {case.name}")
def test_every_used_parameter_has_a_row(case: Case):
    module = MODULES.get(case.library, case.library.replace("-", "_"))
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{case.library} is not installed: `make zoo` installs it")
    torch.manual_seed(0)
    model, batch = case.build(), case.batch()
    result = audit(model, batch)
    graver = [v.code for v in result.verdicts if v.severity == "unhealthy"]
    assert bool(graver) == ((case.library, case.name) in SICK), graver
    coverage = result.coverage
    assert coverage.share >= 0.99, coverage.gaps
    assert not coverage.blocked
    assert coverage.with_gradient
