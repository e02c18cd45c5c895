"""What a whole audit costs beside one plain forward and backward pass, over 100 tiny third-party networks."""

from __future__ import annotations

import importlib.util
import os
import sys
import warnings
from pathlib import Path
from statistics import median

import torch

from benchmarks.harness import Row, interleaved
from firstlight import audit
from firstlight.probe.trace.calling import call, primary_output

COUNT, REPEATS = 100, 3
TARGET = 3.0
# libraries whose networks the zoo makes small, in order, by the name that each is imported by
LIBRARIES = {
    "transformers": "transformers",
    "x-transformers": "x_transformers",
    "torch": "torch",
    "vit-pytorch": "vit_pytorch",
}


def _plain(model: torch.nn.Module, batch: object) -> None:
    output = primary_output(call(model, batch))
    assert output is not None
    output.abs().square().mean().backward()
    model.zero_grad(set_to_none=True)


def ratios() -> dict[str, float]:
    """CPU time of an audit over that of a plain pass, in one run on one thread, of each network by its name."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "compat"))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from zoo import CASES, WIDE

    here = [name for name, module in LIBRARIES.items() if importlib.util.find_spec(module) is not None]
    cases = [case for name in here for case in (*CASES, *WIDE) if case.library == name][:COUNT]
    found = {}
    for case in cases:
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # third-party code warns about itself
            model, batch = case.build(), case.batch()
            seconds = interleaved(
                {
                    "plain": lambda model=model, batch=batch: _plain(model, batch),
                    "audit": lambda model=model, batch=batch: audit(model, batch),
                },
                repeats=REPEATS,
            )
        found[f"{case.library}: {case.name}"] = seconds["audit"] / seconds["plain"]
    return found


def run() -> list[Row]:
    """The median over the networks; about three minutes on one core. Needs what `make zoo` installs."""
    found = ratios()
    if len(found) < COUNT:
        missing = f"{len(found)} of {COUNT} networks could be built; `make zoo` installs their libraries"
        return [
            Row(
                "tiny third-party networks: audit / plain forward+backward",
                float("nan"),
                TARGET,
                detail=missing,
            )
        ]
    middle, worst = median(found.values()), max(found, key=found.__getitem__)
    detail = f"median of {len(found)}; {min(found.values()):.2g} to {found[worst]:.2g} ({worst})"
    return [Row("tiny third-party networks: audit / plain forward+backward", middle, TARGET, detail=detail)]
