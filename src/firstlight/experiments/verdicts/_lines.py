"""Files of one record a line that a stopped run goes on with."""

from __future__ import annotations

import os
from pathlib import Path

from firstlight.errors import LoadError
from firstlight.files import from_json, to_json
from firstlight.files.plain_data import Record


def append(path: Path, record: dict[str, object]) -> None:
    """Add a record as one line; numbers that JSON lacks are kept."""
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a stopped run left half a line
                file.write(b"\n")
        file.write((to_json(record) + "\n").encode("utf-8"))


def lines(path: Path) -> list[Record]:
    """The records of a file, without a line that was cut where a run was stopped; none if there is no file."""
    if not path.exists():
        return []
    found = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(from_json(text, what="a line of the study"))
        except LoadError:
            continue
    return found


def short(value: float, digits: int = 4) -> float:
    """A number with few digits, for a small file."""
    return float(f"{value:.{digits}g}")
