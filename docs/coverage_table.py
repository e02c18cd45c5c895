"""Write docs/guide/coverage_table.txt: what an audit measures and says of every architecture of tests/compat.

    python docs/coverage_table.py                 # prints the tables and writes them to the file
    python docs/coverage_table.py --lines FILE    # keeps each network's line there, and goes on where it stopped

Every network is audited twice: both must give the same numbers, and leave nothing behind. Needs the `compat` extra and
tests/compat/libraries.txt (`make zoo` installs both); about ten minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
TABLE = HERE / "guide" / "coverage_table.txt"
TESTS = HERE.parent / "tests"
sys.path[:0] = [str(TESTS / "compat"), str(TESTS / "probe" / "guard")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

# Starts that are unhealthy, and what shows that they are: seen by training each as it comes and changed.
REASONS = {
    "vit-pytorch, levit": (
        "The attention that halves the map ends in a normaliser of gain 0 and has no skip, so that the outputs are one "
        "for all inputs. On digits, 120 steps of SGD (.05) end at 1.64 and of Adam (.001) at .26; with that gain 1 at "
        ".13 and .10."
    ),
    "torch-geometric, PNA": (
        "Nine weights of torch's default with two activations between them. On a graph of 300 nodes, 150 steps of SGD "
        "end at 1.36 (.01) and 1.33 (.1), those of Adam at .02; after `fix` SGD ends at .50 and .04."
    ),
}


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


def line(case) -> dict[str, Any]:
    """What two audits of an architecture give."""
    from snapshots import differences, snapshot

    from firstlight import audit

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # third-party code warns about itself
        model, batch = case.build(), case.batch()
        before = snapshot(model, batch, versions=True)
        result = audit(model, batch)
        left = differences(before, snapshot(model, batch, versions=True))
        same = audit(model, batch).profile == result.profile
    coverage = result.coverage
    leaves, without = leaf_share(model, coverage.gaps, result.measurement.meta["unused"])
    grave = [(v.severity, v.code) for v in result.verdicts if v.severity not in ("healthy", "note")]
    return {
        "library": case.library,
        "name": case.name,
        "shares": [leaves, coverage.share, coverage.gradient_share],
        "gaps": [*without, *coverage.gaps],
        "left": [str(change) for change in left],
        "same": same,
        "verdicts": grave,
    }


def lines(file: Path | None) -> list[dict[str, Any]]:
    """The lines of all architectures, those in the file read from there."""
    from zoo import CASES, WIDE

    known = [json.loads(text) for text in file.read_text().splitlines()] if file and file.exists() else []
    done = {(row["library"], row["name"]) for row in known}
    for case in (*CASES, *WIDE):
        if (case.library, case.name) in done:
            continue
        known.append(line(case))
        print(
            f"{case.library}, {case.name}: {known[-1]['verdicts'] or 'healthy'}", file=sys.stderr, flush=True
        )
        if file:
            with file.open("a") as stream:
                stream.write(json.dumps(known[-1]) + "\n")
    return known


def coverage(rows: list[dict[str, Any]]) -> str:
    """One line per library, and every gap by its name."""
    found = defaultdict(list)
    for row in rows:
        found[row["library"]].append(row["shares"])
    text = ["| library | architectures | leaves with rows | entries with rows | entries with gradients |"]
    text.append("|---|--:|--:|--:|--:|")
    for library, shares in [*sorted(found.items()), ("all", [row["shares"] for row in rows])]:
        means = (sum(column) / len(shares) for column in zip(*shares, strict=True))
        text.append(f"| {library} | {len(shares)} | " + " | ".join(f"{mean:.4f}" for mean in means) + " |")
    gaps = [f"- {row['library']}, {row['name']}: `{gap}`" for row in rows for gap in row["gaps"]]
    return "\n".join(text) + "\n\n" + ("\n".join(gaps) or "No used parameter is without a row.")


def verdicts(rows: list[dict[str, Any]]) -> str:
    """What was left behind, what differed, and everything that is unhealthy, not judged or warned of."""
    of = {f"{row['library']}, {row['name']}": row for row in rows}
    unequal = [name for name, row in of.items() if not row["same"]]
    left = [name for name, row in of.items() if row["left"]]
    text = [
        f"Of {len(rows)} architectures {len(rows) - len(unequal)} gave the same numbers in a second audit"
        f"{f' (not {chr(44).join(unequal)})' if unequal else ''}, and {len(left)} were left changed"
        f"{f' ({chr(44).join(left)})' if left else ''}."
    ]
    for severity, words in (("unhealthy", "unhealthy"), ("not judged", "not judged")):
        named = {n: [c for s, c in row["verdicts"] if s == severity] for n, row in of.items()}
        named = {name: codes for name, codes in named.items() if codes}
        text += ["", f"{len(named)} are {words}{':' if named else '.'}", ""]
        text += [f"- {n} ({', '.join(codes)}). {REASONS.get(n, '')}".rstrip() for n, codes in named.items()]
    warned: dict[str, list[str]] = defaultdict(list)
    for name, row in of.items():
        for severity, code in row["verdicts"]:
            if severity == "warning":
                warned[code].append(name)
    text += ["", f"{sum(any(s == 'warning' for s, _ in r['verdicts']) for r in rows)} have warnings:", ""]
    text += [f"- `{code}`: {'; '.join(names)}." for code, names in sorted(warned.items())]
    return "\n".join(text)


def main() -> int:
    """Audit all, and write both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--lines", type=Path, help="a file that keeps the lines of the networks audited so far"
    )
    torch.set_num_threads(1)
    rows = lines(parser.parse_args().lines)
    text = f"{coverage(rows)}\n\n{verdicts(rows)}\n"
    print(text)
    TABLE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
