"""Long work says what it does: one line every few seconds on the error stream, in a pipe too."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from firstlight.cli.streams import say

_FIRST, _EVERY, _BEAT = 1.0, 3.0, 1.0  # seconds
_SELDOM = 60.0  # seconds, at most, between two lines that say the same


class _Paced(logging.Handler):
    """Writes the latest message when enough time has gone since the last line, with the seconds that have gone."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._start = time.monotonic()
        self._next, self._message, self._said, self._wait = self._start + _FIRST, "", "", _EVERY
        self._turn = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        with self._turn:
            if message != self._said and self._wait > _EVERY:
                # what is new does not wait as long as what was told before
                self._next, self._wait = min(self._next, time.monotonic() + _EVERY), _EVERY
            self._message = message
        self.beat()

    def beat(self) -> None:
        """Write a line if one is due; nothing before the library has said what it does."""
        with self._turn:
            now = time.monotonic()
            if self._message and now >= self._next:
                self._wait = min(2 * self._wait, _SELDOM) if self._message == self._said else _EVERY
                self._next, self._said = now + self._wait, self._message
                say(f"firstlight: {self._message} ({now - self._start:.0f} s)")


@contextmanager
def progress_lines() -> Iterator[None]:
    """Write what the library logs about its progress to the error stream: after a second, then every three seconds.

    A long step is written again, each time after twice the pause, so that a reader sees that the work goes on.

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
