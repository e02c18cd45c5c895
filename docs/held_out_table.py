"""Audit architectures that no rule was made on: every model type of the installed transformers, small, once each.

    python docs/held_out_table.py                 # prints the figures; about a quarter of an hour on one core
    python docs/held_out_table.py --lines FILE    # keeps each network's line there, and goes on where it stopped

A type is made small by the names of the fields of its configuration (tests/compat/zoo/every.py); where that does not
fit, the type is left out, and the figures say how many were. Needs the `compat` extra.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "tests" / "compat")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def line(name: str, config: type, labels: str) -> dict[str, Any]:
    """What two audits of a type give, or why there are none."""
    from zoo.every import batch, made

    from firstlight import audit

    row: dict[str, Any] = {"name": name}
    try:
        model = made(name, config)
        given = batch(model, labels)
        torch.manual_seed(1)
        model.train()(**given)
    except Exception as error:  # the library's own: nothing that the audit could see
        return row | {"left_out": f"{type(error).__name__}: {str(error)[:200]}"}
    try:
        result = audit(model, given)
        again = audit(model, given)
    except Exception:
        return row | {"trace": traceback.format_exc()}
    return row | {
        "coverage": result.coverage.share,
        "gaps": list(result.coverage.gaps),
        "same": again.profile == result.profile,
        "verdicts": [(v.severity, v.code, v.evidence) for v in result.verdicts],
    }


def lines(file: Path | None) -> list[dict[str, Any]]:
    """The lines of all types, those in the file read from there."""
    from zoo.every import types

    known = [json.loads(text) for text in file.read_text().splitlines()] if file and file.exists() else []
    done = {row["name"] for row in known}
    for name, config, labels in types():
        if name in done:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # third-party code warns about itself
            known.append(line(name, config, labels))
        if file:
            with file.open("a") as stream:
                stream.write(json.dumps(known[-1]) + "\n")
    return known


def figures(rows: list[dict[str, Any]]) -> str:
    """How many ran, and everything that is not as it should be, by name."""
    ran = [row for row in rows if "left_out" not in row]
    seen = [row for row in ran if "trace" not in row]
    text = [
        f"{len(rows)} types, {len(ran)} of them run with a small configuration.",
        f"Traces: {[row['name'] for row in ran if 'trace' in row]}",
        f"Second audit differs: {[row['name'] for row in seen if not row['same']]}",
        f"Mean share of entries with rows: {sum(row['coverage'] for row in seen) / max(len(seen), 1):.4f}",
        f"Below .99: {[(row['name'], row['gaps'][:4]) for row in seen if row['coverage'] < 0.99]}",
    ]
    for severity in ("unhealthy", "not judged"):
        named = [(row, [v for v in row["verdicts"] if v[0] == severity]) for row in seen]
        text.append(f"{severity}: {sum(bool(found) for _, found in named)}")
        text += [f"- {row['name']} ({code}): {told}" for row, found in named for _, code, told in found]
    return "\n".join(text)


def main() -> int:
    """Audit all types, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=Path, help="a file that keeps the lines of the types audited so far")
    torch.set_num_threads(1)
    print(figures(lines(parser.parse_args().lines)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
