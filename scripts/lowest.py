"""Print constraints that hold every dependency at the lowest version `pyproject.toml` declares.

    python scripts/lowest.py > lowest.txt
    pip install -c lowest.txt -e '.[test]'

With `--pinned-torch`, torch stays at the pinned version: the common index has older builds with CUDA only, of 3 GB.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = ("data", "plot", "frame", "io", "dask")


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"]]
    for extra in EXTRAS:
        wanted += project["optional-dependencies"][extra]
    for requirement in wanted:
        match = re.fullmatch(r"([\w.-]+)>=([\w.]+).*", requirement)
        if match and not (match[1] == "torch" and "--pinned-torch" in sys.argv):
            print(f"{match[1]}=={match[2]}")
    if "--pinned-torch" in sys.argv:
        pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
        print(next(line for line in pinned.splitlines() if line.startswith("torch==")))


if __name__ == "__main__":
    main()
