"""Groups of seeds that train at the same time, each group on a thread of its own, and how many groups are worth it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from itertools import pairwise
from threading import Event
from typing import TypeVar

import torch

from firstlight.training.seeds.plan import TrainingPlan

T = TypeVar("T")
R = TypeVar("R")
# parameters of one network: below, the time goes to Python, which one thread at a time runs; above, one matrix product
# keeps all cores busy
_WORTH = (20_000, 2_000_000)


def suggested_groups(plan: TrainingPlan, parameters: int) -> int:
    """How many groups suit the networks of a plan, of so many parameters each, and the threads that torch may use.

    Examples
    --------
    >>> from firstlight.training import TrainingPlan
    >>> from firstlight.training.seeds.together import suggested_groups
    >>> suggested_groups(TrainingPlan(seeds=(0, 1, 2)), parameters=500)
    1
    """
    worth = _WORTH[0] <= parameters <= _WORTH[1]
    return min(len(plan.seeds), torch.get_num_threads()) if worth else 1


def shares(places: Sequence[int], groups: int) -> list[list[int]]:
    """Neighbours in groups whose sizes differ by one at most; no group is empty.

    Examples
    --------
    >>> from firstlight.training.seeds.together import shares
    >>> shares([0, 1, 2, 3, 4], 2), shares([7], 2)
    ([[0, 1, 2], [3, 4]], [[7]])
    """
    groups = min(groups, len(places))
    size, more = divmod(len(places), groups)
    ends = [0]
    for number in range(groups):
        ends.append(ends[-1] + size + (number < more))
    return [list(places[a:b]) for a, b in pairwise(ends)]


class Crew:
    """A thread for each group while the crew is open; one group uses the calling thread.

    A crew has threads and not processes: matrix products let go of Python's lock, the images are in memory once, and
    nothing is left running when the process ends. While a crew of several groups is open, torch has one thread for
    each group. So numbers depend on the number of groups and not on the number of cores.

    Parameters
    ----------
    groups
        Their number.

    Examples
    --------
    >>> from firstlight.training.seeds.together import Crew
    >>> with Crew(2) as crew:
    ...     crew.map(lambda x: x * x, [1, 2, 3])
    [1, 4, 9]
    """

    def __init__(self, groups: int) -> None:
        self.groups = groups
        # set when the threads must stop: each thread reads it between two steps
        self.halt = Event()
        self._pool: ThreadPoolExecutor | None = None
        self._before = torch.get_num_threads()

    def __enter__(self) -> Crew:
        """Start the threads."""
        if self.groups > 1:
            self._before = torch.get_num_threads()
            torch.set_num_threads(1)
            # torch counts threads for each thread that calls it
            self._pool = ThreadPoolExecutor(
                self.groups, "firstlight: seeds", initializer=torch.set_num_threads, initargs=(1,)
            )
        return self

    def __exit__(self, *_: object) -> None:
        """End the threads, at once where something was raised."""
        if self._pool is not None:
            self.halt.set()
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
            torch.set_num_threads(self._before)

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """The function of every item, at the same time, in order; what one of them raises is raised."""
        if self._pool is None:
            return [function(item) for item in items]
        waiting = [self._pool.submit(function, item) for item in items]
        for done in wait(waiting, return_when=FIRST_EXCEPTION).done:
            done.result()
        return [done.result() for done in waiting]
