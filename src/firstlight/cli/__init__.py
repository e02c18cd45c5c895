"""The ``firstlight`` command: one module per verb, loaded only when it is asked for."""

from __future__ import annotations

from firstlight.cli.command import VERBS, main

__all__ = ["VERBS", "main"]
