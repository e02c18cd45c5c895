"""Long work says what it does: one line every few seconds on the error stream, in a pipe too."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from firstlight.cli.streams import say

_FIRST, _EVERY, _BEAT = 1.0, 3.0, 1.0  # seconds


class _Paced(logging.Handler):
    """Writes the latest message when enough time has gone since the last line, with the seconds that have gone."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._start = time.monotonic()
        self._next, self._message = self._start + _FIRST, ""
        self._turn = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        self._message = record.getMessage()
        self.beat()

    def beat(self) -> None:
        """Write a line if one is due; nothing before the library has said what it does."""
        with self._turn:
            now = time.monotonic()
            if self._message and now >= self._next:
                self._next = now + _EVERY
                say(f"firstlight: {self._message} ({now - self._start:.0f} s)")


@contextmanager
def progress_lines() -> Iterator[None]:
    """Write what the library logs about its progress to the error stream: after a second, then every three seconds.

    A step that takes long is told again, so that nobody wonders whether the work goes on.

    Examples
    --------
    >>> from firstlight.cli.progress import progress_lines
    >>> with progress_lines():
    ...     pass
    """
    logger, handler = logging.getLogger("firstlight"), _Paced()
    level, ended = logger.level, threading.Event()

    def beat() -> None:
        while not ended.wait(_BEAT):
            handler.beat()

    thread = threading.Thread(target=beat, name="firstlight progress", daemon=True)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        logger.removeHandler(handler)
        logger.setLevel(level)
