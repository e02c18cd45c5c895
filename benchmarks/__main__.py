"""Run the benchmarks: ``python -m benchmarks [topic…] [--check] [--json FILE]``."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.harness import Row
from benchmarks.history import record

TOPICS = tuple(sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py")))


def table(topic: str, rows: list[Row]) -> Table:
    """The rows of one topic: claim, ratio, target, whether it was met."""
    result = Table(title=topic, title_justify="left", expand=False)
    for name, justify in (("claim", "left"), ("ratio", "right"), ("target", "right"), ("met", "center")):
        result.add_column(name, justify=justify)  # type: ignore[arg-type]
    result.add_column("detail", overflow="fold")
    for row in rows:
        sign = "≤" if row.lower_is_better else "≥"
        met = ("yes" if row.met else "[bold]NO[/bold]") if row.measured else "—"
        ratio = f"{row.ratio:.3g}" if row.measured else "not run"
        result.add_row(row.claim, ratio, f"{sign} {row.target:.3g}", met, row.detail)
    return result


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("topics", nargs="*", metavar="topic", help=f"any of {', '.join(TOPICS)}; all if none")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a target was missed")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="append an entry to this file: date, versions, processor, rows",
    )
    arguments = parser.parse_args(argv)
    unknown = sorted(set(arguments.topics) - set(TOPICS))
    if unknown:
        parser.error(f"no benchmark named {', '.join(unknown)}; there are {', '.join(TOPICS)}")
    console = Console(width=None if sys.stdout.isatty() else 160)
    everything: dict[str, list[Row]] = {}
    for topic in arguments.topics or TOPICS:
        everything[topic] = importlib.import_module(f"benchmarks.bench_{topic}").run()
        console.print(table(topic, everything[topic]))
    if arguments.json:
        record(arguments.json, everything)
    missed = any(row.measured and not row.met for rows in everything.values() for row in rows)
    return 1 if arguments.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
