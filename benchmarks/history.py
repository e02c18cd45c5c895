"""The file of recorded benchmarks: one entry per topic and run, with the date, the versions and the processor."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.harness import Row

FORMAT = "firstlight-benchmarks/2"
_PACKAGES = ("firstlight", "torch", "numpy", "scipy")


def processor() -> str:
    """The processor's name, the number of cores this process may use, and its widest vector instructions."""
    name, widest = platform.processor() or platform.machine(), ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = dict(
            line.split(":", 1) for line in info.read_text(encoding="utf-8").splitlines() if ":" in line
        )
        fields = {key.strip(): value.strip() for key, value in lines.items()}
        name = fields.get("model name", name)
        flags = fields.get("flags", "").split()
        widest = next((f", {kind.upper()}" for kind in ("avx512f", "avx2") if kind in flags), "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores{widest}"


def versions() -> dict[str, str]:
    """Python and the packages whose speed is measured."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in _PACKAGES}


def read(path: Path) -> list[dict[str, Any]]:
    """The entries of a file, the oldest first; none where there is no file."""
    if not path.exists():
        return []
    data = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        raise ValueError(
            f"while reading recorded benchmarks: expected format {FORMAT!r} in {path}, got "
            f"{data.get('format') if isinstance(data, Mapping) else type(data).__name__!r}; give another file"
        )
    return list(data["entries"])


def newest(entries: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The newest entry of each topic, topics in order."""
    found = {entry["topic"]: entry for entry in sorted(entries, key=lambda entry: entry["date"])}
    return dict(sorted(found.items()))


def before(entries: Sequence[Mapping[str, Any]], topic: str, claim: str, *, last: int = 3) -> list[float]:
    """What a claim measured in the runs before the newest one, the oldest first; where it could be measured."""
    runs = sorted((e for e in entries if e["topic"] == topic), key=lambda entry: entry["date"])[:-1]
    found = [row["ratio"] for run in runs for row in run["rows"] if row["claim"] == claim]
    return [ratio for ratio in found if ratio is not None][-last:]


def record(path: Path, everything: Mapping[str, Sequence[Row]]) -> None:
    """Append one entry per topic to a file; what is in the file stays."""
    entries = read(path)
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "processor": processor(),
    }
    for topic, rows in everything.items():
        entries.append({"topic": topic, **about, "rows": [_plain(row) for row in rows]})
    text = json.dumps({"format": FORMAT, "entries": entries}, indent=1, ensure_ascii=False) + "\n"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _plain(row: Row) -> dict[str, Any]:
    ratio = float(f"{row.ratio:.4g}") if math.isfinite(row.ratio) else None
    return asdict(row) | {"ratio": ratio}
