"""Standard output that cannot end the work: its failures are kept for the end, and no name moves the cursor."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, TextIO

from firstlight.render.markup import clean

# colours, which our own tables have on a terminal
_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")


class Kept:
    """A text stream that goes on when the one behind it is closed or full, and shows control characters as ``\ufffd``.

    Attributes
    ----------
    failure
        The first error of the stream behind it, or None.
    """

    def __init__(self, stream: Any) -> None:  # whatever stands for a text stream, or None
        self._closed = stream is None
        self._stream: TextIO = stream or io.StringIO()
        self.failure: Exception | None = None

    def write(self, text: str) -> int:
        """Pass a text on; when that fails, this text and all later ones are dropped."""
        if self._closed:
            self.failure = self.failure or OSError("it is closed")
        if self.failure is None:
            try:
                self._stream.write(self._shown(text))
            except (OSError, ValueError) as error:  # ValueError: a file that was closed
                self.failure = error
        return len(text)

    def flush(self) -> None:
        """Flush the stream behind it."""
        if self.failure is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self.failure = error

    def isatty(self) -> bool:
        """Whether the stream behind it is a terminal."""
        with suppress(AttributeError, ValueError):
            return bool(self._stream.isatty())
        return False

    @property
    def encoding(self) -> str:
        """The encoding of the stream behind it."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _shown(self, text: str) -> str:
        if text.isprintable():
            return text
        parts = _COLOUR.split(text) if self.isatty() else [text]
        return "".join(part if i % 2 else clean(part).replace("\r", "\ufffd") for i, part in enumerate(parts))

    def give_up(self) -> None:
        """Point the file behind it elsewhere, since Python would otherwise complain again when it flushes at exit."""
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


@contextmanager
def kept_output() -> Iterator[Kept]:
    """Give standard output such a stream for a while."""
    out = Kept(sys.stdout)
    with redirect_stdout(out):
        yield out


def say(text: str) -> None:
    """One line on standard error, on which no name can move the cursor."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(clean(" ".join(text.split())), file=sys.stderr)
