"""Write docs/guide/compatibility.md: audit every architecture of tests/compat and tell what came out.

    python docs/compat_table.py          # rewrites the page
    python docs/compat_table.py --check  # fails if an architecture on the page is missing, or one too many

Needs the `compat` extra; about two minutes on one core. Nothing is fetched: every network has random weights.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
PAGE = HERE / "guide" / "compatibility.md"
sys.path.insert(0, str(HERE.parent / "tests" / "compat"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

INTRODUCTION = """# Compatibility

Every release audits the {count} architectures below, built offline from random weights in small configurations,
each on a batch of the shape it really takes. `make test-compat` runs them: it asserts that every one has rows for
its weight layers, finite numbers, a gradient in its weight layers, and that parameters, buffers, `.grad`, hooks,
training flags, module attributes and the random state are as they were. For all but the largest it also compares
every row with what plain hooks on the modules measure: some 1400 second moments and gradients agree.
`python docs/compat_table.py` writes this page from the same list.

How to read a line:

rows
: weight layers, normalisers, activations, residual sums, attention, embeddings and recurrent layers that were
  measured, one row per call.

theory
: rows with a second moment predicted by Gaussian theory from the rows before.

q ratio
: measured over predicted second moment, the median over the weight layers; 1 where theory is right.

verdicts
: codes of the [verdicts](verdicts.md) graver than a note; all of them are warnings. Small networks with random weights
  on normal images and random tokens do trip some of them, rightly: σ = 0.02 is far below 1/√fan-in at these widths, a
  few samples are soon alike behind many ReLU layers without a normaliser, and batch norms that see a few entries
  distort gradients. The mode is training: a block that stochastic depth dropped in this pass has no gradient in it.

left out
: what was not measured, and why. Nothing is left out silently.

"""

LIMITS = """
## What the audit cannot follow

- **Fused attention and recurrent layers** (`scaled_dot_product_attention`, `nn.LSTM`, `nn.GRU`) are one row each:
  what happens inside the kernel is not seen. Their inputs, outputs and gradients are.
- **Attention weights, gates and scans** are products of two signals, not a weight law on one: the rows behind
  them have measurements and no forward theory.
- **Steps written by hand on raw tensors** (rotary positions, state-space scans) are followed for their gradient
  and give no rows of their own, unless an activation begins on them or they read a parameter.
- **Inside `torch.vmap` and other transforms** layers are measured on the tensors behind the wrappers, beside
  theory; where `vmap` runs over stacked weights too, a step stands for several layers, and no theory is computed.
- **Relative-position scores** (DeBERTa) are sums of products that share an input, so they count as residual sums.
- **Scripted modules** (`torch.jit.script`) cannot be entered; they are listed as left out.

```{include} held_out.txt
```

## Coverage

A row stands for a parameter if the operation of the row reads the parameter. Over the architectures above and a wider
zoo of networks (built by `tests/compat/zoo`, tested for coverage by `make test-compat`), `make zoo` counts the
share of the leaf modules with used parameters of which every parameter has a row, the share of the entries of all used
parameters with a row, and with a measured gradient; a parameter without a row is named below
the table. Gradients are missing where a network makes several outputs and the first of them is differentiated, and
where training draws a path that leaves layers out. Each network is audited twice: below stand what differed between the
two, what was left behind in a model, and every verdict graver than a note. What is unhealthy is so for the reason that
stands beside it, which a training shows.

```{include} coverage_table.txt
```
"""


def line(case, result) -> str:
    profile = result.profile
    ratios = profile.select("weight")["q_ratio"]
    ratios = ratios[np.isfinite(ratios)]
    grave = [v.code for v in result.verdicts if v.severity in ("unhealthy", "warning")]
    reasons = sorted({f"{skipped.name}: {skipped.reason}" for skipped in result.skipped})
    cells = [
        case.name,
        case.library,
        f"{result.measurement.meta['parameters']:,}".replace(",", "\u202f"),
        str(len(profile)),
        str(int(np.isfinite(profile["q_theory"]).sum())),
        f"{statistics.median(ratios):.2f}" if len(ratios) else "–",
        ", ".join(grave) or "–",
        "; ".join(reason.replace("|", "/") for reason in reasons) or "–",
    ]
    return "| " + " | ".join(cells) + " |"


def table() -> str:
    from zoo import CASES

    from firstlight import audit

    lines = [
        "| architecture | library | parameters | rows | theory | q ratio | verdicts | left out |",
        "|---|---|--:|--:|--:|--:|---|---|",
    ]
    for case in CASES:
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # third-party code warns about itself
            model, batch = case.build(), case.batch()
            lines.append(line(case, audit(model, batch)))
        print(lines[-1], flush=True)
    libraries = ("torch", "transformers", "pytorchcv", "x-transformers")
    versions = ", ".join(f"{name} {version(name).split('+')[0]}" for name in libraries)
    return "\n".join(lines) + f"\n\nMeasured with {versions}.\n"


def listed(page: str) -> set[tuple[str, str]]:
    rows = [row.split(" | ") for row in page.splitlines() if row.startswith("| ") and "|--" not in row]
    return {(cells[0].removeprefix("| "), cells[1]) for cells in rows[1:]}


def main() -> int:
    from zoo import CASES

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        missing = listed(PAGE.read_text()) ^ {(case.name, case.library) for case in CASES}
        print(f"out of date: {sorted(missing)}" if missing else f"{PAGE.name} lists all {len(CASES)}")
        return int(bool(missing))
    torch.set_num_threads(1)
    PAGE.write_text(INTRODUCTION.format(count=len(CASES)) + table() + LIMITS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
