"""An independent second way to the numbers: plain hooks on the modules, one architecture at a time."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from zoo import CASES, Case

from firstlight import audit
from firstlight.probe.trace.calling import call, primary_output

pytestmark = [
    pytest.mark.compat,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
HOOKED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)
# the image-net sizes would take minutes; the same families are here in their CIFAR sizes
SMALL = [
    case for case in CASES if case.library != "pytorchcv" or "CIFAR" in case.name or "ResNet-20" in case.name
]
# in evaluation mode it writes into its own state, and torch cannot go back through that
FORWARD_ONLY = {"RWKV"}


def mean_square(output, _):
    return primary_output(output).float().square().mean()


def by_hand(model: nn.Module, batch: object) -> dict[str, tuple[float, float]]:
    """Second moment, and log rms gradient, of the output of every hooked module that is called once."""
    squares: dict[str, list[float]] = {}
    gradients: dict[str, float] = {}

    def watch(name):
        def hook(module, args, output):
            squares.setdefault(name, []).append(output.detach().double().square().mean().item())
            if output.requires_grad:
                output.register_hook(
                    lambda g: gradients.__setitem__(name, g.double().square().mean().log().item() / 2)
                )

        return hook

    hooks = [
        module.register_forward_hook(watch(name))
        for name, module in model.named_modules()
        if isinstance(module, HOOKED)
    ]
    mean_square(call(model, batch), None).backward()
    for hook in hooks:
        hook.remove()
    return {name: (q[0], gradients.get(name, math.nan)) for name, q in squares.items() if len(q) == 1}


@pytest.mark.parametrize("case", SMALL, ids=lambda case: f"{case.library}: {case.name}")
def test_the_rows_are_what_hooks_measure(case: Case):
    torch.manual_seed(0)
    model, batch = case.build().eval(), case.batch()
    result = audit(model, batch, training=False, loss=mean_square)
    rows = {row["name"]: row for row in result.profile}
    if case.name in FORWARD_ONLY:
        assert any("backward pass failed" in note for note in result.measurement.notes)
        return
    expected = by_hand(model, batch)
    missing = {name for name in expected if name not in rows}
    # projections of learned positions are made of parameters alone: no signal flows through them
    assert all(name.split(".")[-1] in ("pos_proj", "pos_q_proj") for name in missing), missing
    assert len(expected) > len(missing)
    for name in expected.keys() - missing:
        q, log_gradient = expected[name]
        row = rows[name]
        sampling = 6 * row["q_se"] if np.isfinite(row["q_se"]) else 0.0
        # float32 sums of the model's own, read in another order
        assert abs(row["q"] - q) <= sampling + 1e-4 * q, name
        if math.isfinite(log_gradient) and log_gradient > -80:  # below, float32 gradients have underflowed
            assert row["log_grad"] == pytest.approx(log_gradient, abs=1e-2), name
