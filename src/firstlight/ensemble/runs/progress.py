"""Progress: a bar with rate and time left in a terminal, messages of the library's logger elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from firstlight.render import kept_random

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_log = logging.getLogger(__name__)


class Progress:
    """Counts finished networks; draws nothing by itself."""

    def __init__(self) -> None:
        self.done = 0

    def advance(self, count: int) -> None:
        """Add finished networks."""
        self.done += count


@contextmanager
def progress_bar(total: int, *, show: bool, title: str = "networks") -> Iterator[Progress]:
    """A bar on the error stream if it is a terminal and ``show`` is set; elsewhere a message of the logger a step.

    The command line writes such a message every few seconds; in Python, ``logging`` decides.

    Examples
    --------
    >>> from firstlight.ensemble.runs.progress import progress_bar
    >>> with progress_bar(10, show=False) as bar:
    ...     bar.advance(10)
    >>> bar.done
    10
    """
    if not show:
        yield Progress()
        return
    with kept_random():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        console = Console(stderr=True)
        watched = console.is_terminal
        if watched:
            columns = (
                TextColumn(title),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
            )
            # drawn when work is done and never in a thread of its own, which would draw from the caller's generator
            bar = RichProgress(*columns, console=console, auto_refresh=False)
            task = bar.add_task(title, total=total, rate="")
            bar.start()
    if not watched:
        yield _Told(total, title)
        return
    try:
        yield _Rated(bar, task)
    finally:
        with kept_random():
            bar.stop()


class _Told(Progress):
    """Logs how much is finished, the rate, and about how long the rest takes."""

    def __init__(self, total: int, title: str) -> None:
        super().__init__()
        self._total, self._title = total, title
        self._start, self._before = time.monotonic(), 0

    def advance(self, count: int) -> None:
        super().advance(count)
        if not self._before:  # what was finished before this run says nothing of its speed
            self._before = count if time.monotonic() - self._start < 0.05 else 0
        seconds = time.monotonic() - self._start
        rate = (self.done - self._before) / seconds if seconds > 0 else 0.0
        left = (
            f", {rate:,.3g} a second, about {(self._total - self.done) / rate:,.0f} s left"
            if rate > 0
            else ""
        )
        _log.info("%s: %s of %s%s", self._title, f"{self.done:,}", f"{self._total:,}", left)


class _Rated(Progress):
    """Also writes how many networks a second are finished, and draws at most ten times a second."""

    def __init__(self, bar: Bar, task: TaskID) -> None:
        super().__init__()
        self._bar, self._task, self._drawn = bar, task, 0.0

    def advance(self, count: int) -> None:
        super().advance(count)
        with kept_random():
            self._bar.update(self._task, completed=self.done)
            speed = self._bar.tasks[0].speed
            self._bar.update(self._task, rate=f"{speed:,.0f}/s" if speed else "")
            if time.monotonic() - self._drawn > 0.1:
                self._drawn = time.monotonic()
                self._bar.refresh()
