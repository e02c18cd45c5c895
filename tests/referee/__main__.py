"""python -m tests.referee --networks 300 --seed 20260101: the largest |z|, and every check beyond the line."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import date

from tests.referee.attention import attention
from tests.referee.compare import Check, checks, line
from tests.referee.draw import cases

# one layer of attention for so many networks
_ATTENTION = 6


def judge(count: int, seed: int, *, verbose: bool = False) -> list[Check]:
    """All checks of ``count`` networks."""
    found: list[Check] = []
    for index, case in enumerate(cases(seed, count)):
        start = time.process_time()
        found += checks(case, seed + index)
        if index % _ATTENTION == 0:
            found += attention(seed + index)
        if verbose and index % 25 == 24:
            worst = max(found, key=lambda c: c.z)
            print(
                f"{index + 1} networks, {len(found)} checks, largest |z| {worst.z:.2f}",
                file=sys.stderr,
                flush=True,
            )
        if verbose and time.process_time() - start > 20:
            print(f"slow: {case.label}: {time.process_time() - start:.0f} s", file=sys.stderr, flush=True)
    return found


def _line(c: Check) -> str:
    return f"|z| = {c.z:.2f}: {c.what} = {c.theory:.8g}, measured {c.measured:.8g} ± {c.error:.2g} ({c.case})"


def main(arguments: list[str] | None = None) -> int:
    """0 if nothing is beyond the line."""
    parser = argparse.ArgumentParser(prog="python -m tests.referee", description=__doc__)
    parser.add_argument("--networks", type=int, default=300)
    parser.add_argument(
        "--seed", type=int, default=int(f"{date.today():%Y%m%d}"), help="today's date by default"
    )
    options = parser.parse_args(arguments)
    found = judge(options.networks, options.seed, verbose=True)
    limit = line(len(found))
    worst = max(found, key=lambda c: c.z)
    print(f"seed {options.seed}: {options.networks} networks, {len(found)} checks, line |z| = {limit:.2f}")
    print(f"largest {_line(worst)}")
    beyond = [c for c in found if c.z > limit]
    for c in sorted(beyond, key=lambda c: -c.z):
        print(f"  beyond the line: {_line(c)}")
    return int(bool(beyond))


if __name__ == "__main__":
    raise SystemExit(main())
