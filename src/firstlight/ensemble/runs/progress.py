"""A progress bar with rate and time left, quiet where nobody watches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from firstlight.render import kept_random


class Progress:
    """Counts finished networks; draws nothing by itself."""

    def __init__(self, bar: Any = None, task: Any = None) -> None:
        self._bar, self._task = bar, task
        self.done = 0

    def advance(self, count: int) -> None:
        """Add finished networks."""
        self.done += count
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done)


@contextmanager
def progress_bar(total: int, *, show: bool, title: str = "networks") -> Iterator[Progress]:
    """A bar on the error stream if it is a terminal and ``show`` is set, else silence.

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
        yield Progress()
        return
    try:
        yield _Rated(bar, task)
    finally:
        with kept_random():
            bar.stop()


class _Rated(Progress):
    """Also writes how many networks a second are finished, and draws at most ten times a second."""

    _drawn = 0.0

    def advance(self, count: int) -> None:
        with kept_random():
            super().advance(count)
            speed = self._bar.tasks[0].speed
            self._bar.update(self._task, rate=f"{speed:,.0f}/s" if speed else "")
            if time.monotonic() - self._drawn > 0.1:
                self._drawn = time.monotonic()
                self._bar.refresh()
