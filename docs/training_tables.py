"""Write the tables of the chapter on Gaussian starts from the stored results: ``python docs/training_tables.py``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from firstlight.experiments import stored, stored_names

PLACE = Path(__file__).parent / "theory" / "training_tables.inc"


def tables() -> str:
    """One table for each image set and kind of network: test accuracy over training loss, means over seeds."""
    parts = []
    for name, title in (("wolinski2025/training", "MLPs"), ("wolinski2025/training-lenet", "LeNet")):
        if name not in stored_names():
            continue
        found = stored(name).findings
        for data in found.values("data"):
            rows = found.select(data=data)
            names = list(dict.fromkeys(row["network"] for row in rows))
            sizes = list(dict.fromkeys((row["depth"], row["width"]) for row in rows))
            lines = ["| " + " | ".join(["size", *names]) + " |", "|---" * (len(names) + 1) + "|"]
            for depth, width in sizes:
                cells = [
                    _cell([r for r in rows if (r["network"], r["depth"], r["width"]) == (one, depth, width)])
                    for one in names
                ]
                size = f"{depth:.0f}×{width:.0f}" if width else "5 layers"
                lines.append("| " + " | ".join([size, *cells]) + " |")
            epochs = int(max(row["epochs"] for row in rows))
            parts.append(f"**{title} on {data}**, {epochs} epochs\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _cell(rows: Sequence[Any]) -> str:
    if not rows:
        return "–"
    right, loss = (np.array([row[name] for row in rows]) for name in ("accuracy", "loss"))
    error = right.std(ddof=1) / len(right) ** 0.5 if len(right) > 1 else np.nan
    return f"{right.mean():.3f}±{error:.3f} ({np.nanmean(loss):.3f})"


if __name__ == "__main__":
    PLACE.write_text(tables(), encoding="utf-8")
    print(PLACE)
