"""Where V(q) = q on an interval, and what tends there."""

from __future__ import annotations

from firstlight.theory.maps._fixed._basins import basins
from firstlight.theory.maps._fixed._scan import scan

__all__ = ["basins", "scan"]
