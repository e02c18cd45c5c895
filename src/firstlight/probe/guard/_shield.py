"""Shield: one guarded section at a time in a process, and no signal in the middle of its beginning or end."""

from __future__ import annotations

import contextvars
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

R = TypeVar("R")

_NUMBERS = tuple(map(int, signal.valid_signals()))

# A guarded section sets generators, flags and modules that the whole process shares, so there is one at a time.
# Re-entrant: a hook inside an audited forward may audit something else.
_lock = threading.RLock()


def _fresh_lock() -> None:
    """A child process that was forked while another thread held the lock would never get the lock."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_lock)


@contextmanager
def shield() -> Iterator[Shield]:
    """One guarded section: wait until it is free, hold signals back, and deliver at the end what came."""
    with _lock:
        held = Shield()
        try:
            held.take()
            yield held
        finally:
            held.up = True
            held.give_back()
    held.deliver()


class Shield:
    """Holds back the signals that Python handles (Ctrl-C above all) while ``up`` is set, and delivers them later.

    The handlers are exchanged once, and ``up`` changes by one assignment, so that no signal finds a moment in
    between. Signals reach the main thread only; in other threads there is nothing to hold back.
    """

    def __init__(self) -> None:
        self.up = True
        self.waiting: list[int] = []
        self._handlers: dict[int, Any] = {}
        # signals that are left to the system, whose handlers a forward may set
        self._others: dict[int, Any] = {}

    def take(self) -> None:
        """Take the places of the handlers that are written in Python."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _NUMBERS:
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._handle)
            elif handler is not None:
                self._others[number] = handler

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.up:
            self.waiting.append(number)
        else:
            self._handlers[number](number, frame)

    def run(self, work: Callable[[], R]) -> R:
        """Do what signals may interrupt, in a copy of the context, whose variables are not those outside."""
        try:
            self.up = False
            self.deliver()
            return contextvars.copy_context().run(work)
        finally:
            self.up = True

    def give_back(self) -> None:
        """Give the handlers their places."""
        try:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            for number, handler in self._others.items():
                if signal.getsignal(number) != handler:
                    signal.signal(number, handler)
        except BaseException:  # a handler that has its place again may raise: the others follow all the same
            self.give_back()
            raise

    def deliver(self) -> None:
        """Run the handlers of the signals that came while the shield was up."""
        while self.waiting:
            number = self.waiting.pop(0)
            self._handlers[number](number, None)
