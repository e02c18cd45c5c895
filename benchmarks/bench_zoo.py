"""What a whole audit costs beside one plain forward and backward pass, over 100 tiny third-party networks."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.harness import Row, one_thread
from firstlight import audit
from firstlight.probe.trace.calling import call, primary_output

COUNT, REPEATS = 100, 2
TARGET = 3.0
# Parameters up to which a network is tiny.
TINY = 1_000_000
# Libraries whose networks the zoo makes small, by the name that each is imported by.
LIBRARIES = {
    "transformers": "transformers",
    "timm": "timm",
    "torch-geometric": "torch_geometric",
    "vit-pytorch": "vit_pytorch",
    "monai": "monai",
    "x-transformers": "x_transformers",
    "torch": "torch",
    "normflows": "normflows",
    "nflows": "nflows",
    "torchdiffeq": "torchdiffeq",
}
# Where what was measured is kept, so that a run which was ended goes on where it was.
FILE = Path(os.environ.get("FIRSTLIGHT_BENCH_ZOO", "build/bench-zoo.jsonl"))


def plain_pass_of_any(model: torch.nn.Module, batch: object) -> None:
    """One forward and one backward pass of a model of any output."""
    output = primary_output(call(model, batch))
    assert output is not None
    output.abs().square().mean().backward()
    model.zero_grad(set_to_none=True)


def cases() -> Iterator[Any]:
    """Networks of the zoo, one of each library in turn."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "compat"))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from zoo import CASES, WIDE

    shelves = [
        [case for case in (*CASES, *WIDE) if case.library == name]
        for name, module in LIBRARIES.items()
        if importlib.util.find_spec(module) is not None
    ]
    for turn in zip_longest(*shelves):
        yield from (case for case in turn if case is not None)


def tiny() -> Iterator[tuple[torch.nn.Module, object]]:
    """The networks that are tiny, built anew, each with its batch."""
    for case in cases():
        torch.manual_seed(0)
        model, batch = case.build(), case.batch()
        if sum(p.numel() for p in model.parameters()) <= TINY:
            yield model, batch


def measured(case: Any) -> dict[str, Any] | None:
    """CPU seconds of a plain pass and of an audit, each the least of two; None for a network that is not tiny."""
    torch.manual_seed(0)
    model, batch = case.build(), case.batch()
    size = sum(p.numel() for p in model.parameters())
    if size > TINY:
        return None
    seconds = {"plain": float("inf"), "audit": float("inf")}
    rows = 0
    gc.collect()
    gc.disable()
    try:
        for turn in range(-1, REPEATS):
            start = time.process_time()
            plain_pass_of_any(model, batch)
            middle = time.process_time()
            rows = len(audit(model, batch).profile)
            end = time.process_time()
            if turn >= 0:
                seconds["plain"] = min(seconds["plain"], middle - start)
                seconds["audit"] = min(seconds["audit"], end - middle)
    finally:
        gc.enable()
    return {"name": f"{case.library}: {case.name}", "parameters": size, "rows": rows, **seconds}


def records() -> list[dict[str, Any]]:
    """What was measured of the first hundred tiny networks, in one run or in several on one thread."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    lines = FILE.read_text().splitlines() if FILE.exists() else []
    known = {record["name"]: record for record in map(json.loads, lines)}
    found: list[dict[str, Any]] = []
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # third-party code warns about itself
        for case in cases():
            if len(found) == COUNT:
                break
            name = f"{case.library}: {case.name}"
            if name not in known:
                known[name] = measured(case) or {"name": name, "large": True}
                with FILE.open("a") as file:
                    file.write(json.dumps(known[name]) + "\n")
                print(f"\r{len(found) + 1:3d} of {COUNT}  {name:60.60s}", end="", file=sys.stderr, flush=True)
            if "audit" in known[name]:
                found.append(known[name])
    print(file=sys.stderr)
    return found


def run() -> list[Row]:
    """The median over the networks; about three minutes on one core. Needs what `make zoo` installs.

    A run that was ended goes on where it was; one that has come to its end is measured anew the next time.
    """
    found = records()
    claim = "tiny third-party networks: audit / plain forward+backward"
    if len(found) < COUNT:
        missing = f"{len(found)} of {COUNT} networks could be built; `make zoo` installs their libraries"
        return [Row(claim, float("nan"), TARGET, detail=missing)]
    FILE.unlink()
    ratios = {record["name"]: record["audit"] / record["plain"] for record in found}
    worst = max(ratios, key=ratios.__getitem__)
    each = median(1e3 * (record["audit"] - record["plain"]) / record["rows"] for record in found)
    detail = f"median of {len(found)}; {min(ratios.values()):.2g} to {ratios[worst]:.2g} ({worst})"
    return [
        Row(claim, median(ratios.values()), TARGET, detail=detail),
        Row("the same networks: milliseconds that an audit adds for each row", each, 0.4, detail="median"),
    ]
