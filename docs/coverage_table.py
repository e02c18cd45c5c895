"""Write docs/guide/coverage_table.txt: how much of every architecture of tests/compat an audit measures.

    python docs/coverage_table.py    # prints the table and writes it to a file

Needs the `compat` extra and tests/compat/libraries.txt (`make zoo` installs both); about three minutes on one core.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
TABLE = HERE / "guide" / "coverage_table.txt"
sys.path.insert(0, str(HERE.parent / "tests" / "compat"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def leaf_share(model, gaps: tuple[str, ...], unused: list[str]) -> tuple[float, list[str]]:
    """Share of the leaf modules with used parameters of which each parameter has a row, and the other leaves."""
    leaves, without = 0, []
    for path, module in model.named_modules():
        own = {f"{path}.{name}" if path else name for name, _ in module.named_parameters(recurse=False)}
        if next(module.children(), None) is None and own - set(unused):
            leaves += 1
            if own & set(gaps):
                without.append(path)
    return (1.0 - len(without) / leaves if leaves else 1.0), without


def main() -> int:
    """Audit all, print one line per library, and name every gap."""
    from zoo import CASES, WIDE

    from firstlight import audit

    torch.set_num_threads(1)
    found = defaultdict(list)
    named = []
    for case in (*CASES, *WIDE):
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # third-party code warns about itself
            model, batch = case.build(), case.batch()
            result = audit(model, batch)
        coverage = result.coverage
        leaves, without = leaf_share(model, coverage.gaps, result.measurement.meta["unused"])
        found[case.library].append((leaves, coverage.share, coverage.gradient_share))
        named += [f"- {case.library}, {case.name}: `{gap}`" for gap in (*without, *coverage.gaps)]
    lines = ["| library | architectures | leaves with rows | entries with rows | entries with gradients |"]
    lines.append("|---|--:|--:|--:|--:|")
    rows = [*sorted(found.items()), ("all", [row for rows in found.values() for row in rows])]
    for library, shares in rows:
        means = (sum(column) / len(shares) for column in zip(*shares))
        lines.append(f"| {library} | {len(shares)} | " + " | ".join(f"{mean:.4f}" for mean in means) + " |")
    gaps = "\n".join(named) if named else "No used parameter is without a row."
    text = "\n".join(lines) + f"\n\n{gaps}\n"
    print(text)
    TABLE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
