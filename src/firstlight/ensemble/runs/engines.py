"""Who computes shards: this process, joblib's workers, a dask cluster or a ray cluster."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from firstlight.ensemble.plan import Plan
from firstlight.ensemble.runs._shard import compute_shard
from firstlight.ensemble.sums._state import LayerState
from firstlight.errors import DomainError, RunError

State = dict[int, LayerState]


@dataclass(frozen=True)
class Task:
    """One shard to compute: a plan, its inputs as columns, and the shard's number."""

    plan: Plan
    x: Tensor
    index: int


@runtime_checkable
class Engine(Protocol):
    """Computes tasks in any order and place; the numbers do not depend on either."""

    def map(self, tasks: Sequence[Task]) -> Iterator[tuple[int, State]]:
        """Positions in ``tasks`` and finished states, as they come."""
        ...


@dataclass(frozen=True)
class Local:
    """One machine: the calling process, or ``workers`` processes started by joblib.

    Raises
    ------
    DomainError
        Fewer than one worker.
    """

    workers: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.workers, bool) or not isinstance(self.workers, int) or self.workers < 1:
            raise DomainError(
                f"while starting workers: expected at least 1 of them, as a whole number, got {self.workers!r}"
            )

    def map(self, tasks: Sequence[Task]) -> Iterator[tuple[int, State]]:
        """Positions in ``tasks`` and finished states, as they come."""
        if self.workers == 1 or len(tasks) < 2:
            for position, task in enumerate(tasks):
                yield position, compute_shard(task.plan, task.x, task.index)
            return
        from joblib import Parallel, delayed

        pool = Parallel(
            # no worker without a task: each learns from its first one whose process it is
            n_jobs=min(self.workers, len(tasks)),
            return_as="generator_unordered",
            inner_max_num_threads=1,
            backend="loky",
        )
        parent = os.getpid()
        yield from pool(delayed(_numbered)(position, task, parent) for position, task in enumerate(tasks))


@dataclass(frozen=True)
class Dask:
    """A dask cluster, by the address of its scheduler; needs the ``dask`` extra.

    A worker that dies loses what it was computing, which the scheduler gives to another one.

    Raises
    ------
    RunError
        dask is not installed, no scheduler answers, or a task failed for good.
    """

    address: str
    timeout: float = 20.0

    def map(self, tasks: Sequence[Task]) -> Iterator[tuple[int, State]]:
        """Positions in ``tasks`` and finished states, as they come."""
        try:
            from distributed import Client, as_completed
        except ImportError as error:
            raise _absent("dask", "distributed", error) from error
        try:
            client = Client(self.address, timeout=self.timeout, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise RunError(
                f"while connecting to dask: expected a scheduler at {self.address!r}, got "
                f"{type(error).__name__}; start one with `dask scheduler` and `dask worker ADDRESS`"
            ) from error
        with client:
            # submitted, not scattered: the scheduler can make the inputs again when their worker dies
            inputs = {id(task.x): client.submit(_same, task.x, pure=False) for task in tasks}
            futures = {
                client.submit(_compute, task.plan, inputs[id(task.x)], task.index, pure=False): position
                for position, task in enumerate(tasks)
            }
            completed = as_completed(list(futures), loop=client.loop)
            for future in completed:
                if future.status in ("lost", "pending"):
                    # its worker died with the result before it was fetched: the scheduler makes it again
                    completed.add(future)
                    continue
                if future.status != "finished":
                    raise RunError(
                        f"while computing shard {tasks[futures[future]].index} on dask: {future.exception()}; "
                        "finished shards are kept, resume when the cluster is well"
                    )
                yield futures.pop(future), future.result()
                future.release()


@dataclass(frozen=True)
class Ray:
    """A ray cluster; needs the ``ray`` extra. ``address`` is its head, ``"auto"``, or ``"local"`` for a new one.

    Raises
    ------
    RunError
        ray is not installed, no cluster answers, or a task failed for good.
    """

    address: str = "auto"

    def map(self, tasks: Sequence[Task]) -> Iterator[tuple[int, State]]:
        """Positions in ``tasks`` and finished states, as they come."""
        try:
            import ray
        except ImportError as error:
            raise _absent("ray", "ray", error) from error
        started = not ray.is_initialized()
        try:
            _knock(self.address)
            ray.init(address=self.address, ignore_reinit_error=True, log_to_driver=False, logging_level=40)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise RunError(
                f"while connecting to ray: expected a cluster at {self.address!r}, got "
                f"{type(error).__name__}; start one with `ray start --head`, or say 'local'"
            ) from error
        try:
            yield from _ray_map(ray, tasks)
        finally:
            if started:
                ray.shutdown()


def _knock(address: str) -> None:
    """Raise an OSError if nobody listens at ``host:port``, which ray itself tries for many minutes to find out."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _ray_map(ray: Any, tasks: Sequence[Task]) -> Iterator[tuple[int, State]]:
    compute = ray.remote(max_retries=5)(_compute)
    inputs = {id(task.x): ray.put(task.x) for task in tasks}
    waiting = {
        compute.remote(task.plan, inputs[id(task.x)], task.index): position
        for position, task in enumerate(tasks)
    }
    while waiting:
        done, _ = ray.wait(list(waiting), num_returns=1)
        position = waiting.pop(done[0])
        try:
            state = ray.get(done[0])
        except ray.exceptions.RayError as error:
            raise RunError(
                f"while computing shard {tasks[position].index} on ray: {type(error).__name__}; finished "
                "shards are kept, resume when the cluster is well"
            ) from error
        yield position, state


def _numbered(position: int, task: Task, parent: int) -> tuple[int, State]:
    _end_with(parent)
    return position, compute_shard(task.plan, task.x, task.index)


@cache
def _end_with(parent: int) -> None:
    """End this process when the one that started it has gone: killed, it cannot say goodbye."""
    if os.name == "nt":  # which ends the workers of a process with it
        return

    def watch() -> None:
        try:
            while True:
                os.kill(parent, 0)
                time.sleep(0.5)
        except OSError:  # no such process, or another user's has its number now
            os._exit(1)

    threading.Thread(target=watch, name="firstlight: ends with its parent", daemon=True).start()


def _compute(plan: Plan, x: Tensor, index: int) -> State:
    return compute_shard(plan, x, index)


def _same(x: Tensor) -> Tensor:
    return x


def _absent(extra: str, package: str, error: ImportError) -> RunError:
    return RunError(
        f"while starting {extra}: the package {package} is not installed ({error}); `pip install {package}`"
    )
