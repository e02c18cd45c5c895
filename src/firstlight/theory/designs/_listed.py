"""Points of an activation in a message."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 5


def listed(points: Sequence[float]) -> str:
    """The points nearest zero, and how many others there are."""
    near = sorted(sorted(points, key=abs)[:_SHOWN])
    shown = ", ".join(f"{p:.6g}" for p in near) or "no point"
    return shown + (f" and {len(points) - _SHOWN} points further out" if len(points) > _SHOWN else "")
