"""Long work says what it does: one line every few seconds on the error stream, in a pipe too."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from firstlight.cli.streams import say

_FIRST, _EVERY = 1.0, 3.0  # seconds


class _Paced(logging.Handler):
    """Writes the latest message when enough time has gone since the last one."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._next = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if not self._next:
            self._next = now + _FIRST
        if now >= self._next:
            self._next = now + _EVERY
            say(f"firstlight: {record.getMessage()}")


@contextmanager
def progress_lines() -> Iterator[None]:
    """Write what the library logs about its progress to the error stream: after a second, then every three seconds.

    Examples
    --------
    >>> from firstlight.cli.progress import progress_lines
    >>> with progress_lines():
    ...     pass
    """
    logger, handler = logging.getLogger("firstlight"), _Paced()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
