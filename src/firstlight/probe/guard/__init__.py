"""Guard: whatever a pass through somebody's model changes is put back, bit by bit, or an error says what is not."""

from __future__ import annotations

from firstlight.probe.guard._objects import LIMIT
from firstlight.probe.guard.fresh import fresh
from firstlight.probe.guard.guard import Guard, untouched
from firstlight.probe.guard.process import random_state

__all__ = ["LIMIT", "Guard", "fresh", "random_state", "untouched"]
