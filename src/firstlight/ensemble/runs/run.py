"""run: compute a plan, in memory or in a folder that survives anything, on any engine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from torch import Tensor

from firstlight.clean_room import clean
from firstlight.ensemble.plan import Plan, check_memory, columns, digest
from firstlight.ensemble.result import Ensemble
from firstlight.ensemble.runs._folder import Folder
from firstlight.ensemble.runs.engines import Engine, Local, State, Task
from firstlight.ensemble.runs.progress import Progress, progress_bar
from firstlight.ensemble.sums._state import merge_states
from firstlight.errors import DomainError
from firstlight.files import expanded


@clean
def run(
    plan: Plan,
    inputs: Tensor,
    *,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    engine: Engine | None = None,
    progress: bool = False,
) -> Ensemble:
    """Compute a plan and merge its shards in the order of their numbers.

    Parameters
    ----------
    plan
        What to compute.
    inputs
        One input (features,) or a batch (inputs, …).
    out
        Folder of the run. Each shard is stored when it is finished; without a folder all stays in memory.
    resume
        Finish an earlier attempt in ``out``: good shards are kept, damaged ones computed again.
    engine
        ``Local(workers)``, ``Dask(address)`` or ``Ray(address)``; this process if absent. The result is the same
        on all of them, bit for bit.
    progress
        Whether to draw a progress bar, with rate and time left, if the error stream is a terminal.

    Raises
    ------
    DomainError
        Inputs that do not fit the plan or the memory.
    RunError
        A folder with another plan, a full disk, a cluster that does not answer.

    Examples
    --------
    >>> import tempfile, torch
    >>> from firstlight import RandomNetwork
    >>> from firstlight.ensemble import Plan, run
    >>> plan = Plan(net=RandomNetwork(depth=3, width=20), nets=100, layers=[3])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first = run(plan, torch.ones(5), out=folder)
    ...     again = run(plan, torch.ones(5), out=folder, resume=True)
    >>> first.profile == again.profile
    True
    """
    if not isinstance(plan, Plan):
        raise DomainError(
            f"while running a simulation: expected a Plan, got {type(plan).__name__}; write Plan(net=…, nets=…)"
        )
    x = columns(inputs, plan.net, plan.dtype)
    engine = engine or Local()
    check_memory(plan, x, engine.workers if isinstance(engine, Local) else 1)
    with progress_bar(plan.nets, show=progress) as bar:
        if out is None:
            tasks = [Task(plan, x, index) for index in range(plan.shards)]
            states = in_order(engine.map(tasks), plan, bar)
            return Ensemble(plan, merge_states(states), tuple(x.shape))
        folder = Folder.open(expanded(out), plan, digest(x), resume=resume)
        with folder.locked():
            wanted, damaged = folder.missing(plan.shards)
            finished = set(range(plan.shards)) - set(wanted)
            bar.advance(sum(plan.shard_size(index) for index in finished))
            tasks = [Task(plan, x, index) for index in wanted]
            store(engine.map(tasks), tasks, folder, bar)
            merged = merge_states(folder.read(index) for index in range(plan.shards))
            ensemble = Ensemble(plan, merged, tuple(x.shape), _notes(finished, damaged))
            folder.finish("profile.json", ensemble.profile.to_json())
    return ensemble


def store(results: Iterable[tuple[int, State]], tasks: list[Task], folder: Folder, bar: Progress) -> None:
    """Write shards into a folder as they finish."""
    for position, state in results:
        task = tasks[position]
        folder.write(task.index, state)
        bar.advance(task.plan.shard_size(task.index))


def in_order(results: Iterable[tuple[int, State]], plan: Plan, bar: Progress) -> Iterator[State]:
    """Hand states on in the order of their numbers, holding only those that came early."""
    waiting: dict[int, State] = {}
    turn = 0
    for index, state in results:
        bar.advance(plan.shard_size(index))
        waiting[index] = state
        while turn in waiting:
            yield waiting.pop(turn)
            turn += 1


def _notes(finished: set[int], damaged: list[int]) -> tuple[str, ...]:
    notes = []
    if finished:
        notes.append(f"{len(finished)} shards were finished before")
    if damaged:
        notes.append(f"damaged shards computed again: {', '.join(map(str, damaged))}")
    return tuple(notes)
