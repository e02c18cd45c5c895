"""What ``fix`` is worth: sick starts trained as they came and fixed, over seeds and optimisers.

``python -m benchmarks fix`` runs what its file does not hold yet and gives the shares that are better and worse;
``python -m benchmarks.bench_fix`` writes the table of the guide from the file.
"""

from __future__ import annotations

import copy
import math
import os
import sys
import warnings
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.harness import Row, one_thread
from benchmarks.short_training import last_loss
from benchmarks.sick_starts import STARTS
from firstlight import fix
from firstlight.data import load
from firstlight.files import from_json, to_json

FILE = Path(__file__).parent / "fix.jsonl"
TABLE = Path(__file__).parents[1] / "docs" / "guide" / "fixing_table.inc"
SEEDS = (0, 1, 2)
RATES = {"sgd": 0.05, "adam": 0.002}
STEPS, BATCH, AUDITED = 120, 64, 128
# a last loss within this share of the other is the same
SAME = 0.05


@dataclass(frozen=True)
class Pair:
    """One sick start by one optimiser: last losses as it came and fixed, what was kept, and what was left."""

    start: str
    seed: int
    optimiser: str
    before: float
    after: float
    kept: tuple[str, ...]
    healthy_before: bool
    healthy_after: bool

    @property
    def outcome(self) -> str:
        """better, same or worse."""
        if self.after < (1 - SAME) * self.before or (math.isinf(self.before) and math.isfinite(self.after)):
            return "better"
        return "worse" if self.after > (1 + SAME) * self.before else "same"


def trained(model: nn.Module, data: tuple[Tensor, Tensor], optimiser: str, seed: int) -> float:
    """Loss on the first 512 samples after a short training of a copy; infinite where training diverged."""
    model = copy.deepcopy(model)
    kind = torch.optim.SGD if optimiser == "sgd" else torch.optim.Adam
    steps = kind(model.parameters(), lr=RATES[optimiser])
    judged = data[0][:512], data[1][:512]
    return last_loss(model, steps, data, judged, steps=STEPS, batch=BATCH, seed=seed)


def pairs(start: str, seed: int, data: tuple[Tensor, Tensor]) -> list[Pair]:
    """A start fixed once and trained by both optimisers."""
    torch.manual_seed(seed)
    model = STARTS[start]()
    result = fix(model, data[0][:AUDITED], targets=data[1][:AUDITED], seed=seed)
    kept = tuple(a.remedy for a in result.kept)
    found = []
    for name in RATES:
        before = trained(model, data, name, seed)
        # a copy that equals the model as it came trains as that model does
        after = trained(result.model, data, name, seed) if kept else before
        found.append(Pair(start, seed, name, before, after, kept, result.before.healthy, result.healthy))
    return found


def measured(file: Path = FILE, *, only: int | None = None) -> list[Pair]:
    """All pairs, those that the file holds read from there, the others run and added."""
    known = read(file)
    done = {(p.start, p.seed) for p in known}
    digits = load("digits", seed=0)
    assert digits.targets is not None
    x = digits.inputs.float().reshape(-1, 1, 8, 8)
    data = ((x - x.mean()) / x.std(), digits.targets)
    for seed in SEEDS:
        for start in list(STARTS)[:only]:
            if (start, seed) in done:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = pairs(start, seed, data)
            known += found
            with file.open("a", encoding="utf-8") as stream:
                stream.write("".join(to_json(asdict(p)) + "\n" for p in found))
            print(f"{start} [{seed}]: " + "; ".join(said(p) for p in found), file=sys.stderr, flush=True)
    return known


def read(file: Path = FILE) -> list[Pair]:
    """The pairs in a file; none if there is no file."""
    if not file.exists():
        return []
    rows = [from_json(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
    return [Pair(**(row | {"kept": tuple(row["kept"])})) for row in rows]


def said(pair: Pair) -> str:
    kept = ", ".join(pair.kept) or "nothing kept"
    return f"{pair.optimiser} {pair.before:.3g} → {pair.after:.3g} {pair.outcome} ({kept})"


def run() -> list[Row]:
    """Shares of pairs that are better and worse, for each optimiser."""
    with one_thread():
        known = measured(Path(os.environ.get("FIRSTLIGHT_FIX_BENCH", FILE)))
    rows = []
    for name in RATES:
        mine = [p for p in known if p.optimiser == name]
        for outcome, target, low in (("better", 0.9, False), ("worse", 0.02, True)):
            share = sum(p.outcome == outcome for p in mine) / max(len(mine), 1)
            detail = f"{len(mine)} pairs ({len(STARTS)} starts × {len(SEEDS)} seeds), {STEPS} steps at {RATES[name]}"
            rows.append(
                Row(f"fixed starts {outcome}, {name}", share, target, lower_is_better=low, detail=detail)
            )
    return rows


def table(known: list[Pair]) -> str:
    """The table of the guide: medians over the seeds, and how many seeds are better, the same and worse."""
    by: dict[str, dict[str, list[Pair]]] = defaultdict(lambda: defaultdict(list))
    for pair in known:
        by[pair.start][pair.optimiser].append(pair)
    heads = ["start", "kept", "healthy then"]
    for name in ("SGD", "Adam"):
        heads += [f"{name}: loss before → after", "better, same, worse"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for start, mine in by.items():
        first = mine["sgd"]
        kept = sorted({", ".join(p.kept) or "nothing" for p in first})
        cells = [start, " / ".join(kept), f"{sum(p.healthy_after for p in first)} of {len(first)}"]
        for name in RATES:
            group = mine[name]
            ends = (_loss(median(getattr(p, side) for p in group)) for side in ("before", "after"))
            counts = (sum(p.outcome == o for p in group) for o in ("better", "same", "worse"))
            cells += [" → ".join(ends), ", ".join(map(str, counts))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _loss(value: float) -> str:
    return "diverged" if not math.isfinite(value) else f"{value:.2f}" if value < 100 else f"{value:.0e}"


if __name__ == "__main__":
    TABLE.write_text(table(read()), encoding="utf-8")
    print(TABLE)
