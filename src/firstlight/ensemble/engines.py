"""Who computes the shards of a plan: this process, joblib's workers, a dask cluster or ray."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from firstlight.ensemble.plan import Plan, check_memory, columns
from firstlight.ensemble.result import Ensemble
from firstlight.ensemble.shard import compute_shard
from firstlight.ensemble.state import LayerState, merge_states
from firstlight.errors import DomainError

State = dict[int, LayerState]


def run(plan: Plan, inputs: Tensor, *, workers: int = 1) -> Ensemble:
    """Compute a plan on this machine and merge its shards in the order of their numbers."""
    x = columns(inputs, plan.net, plan.dtype)
    check_memory(plan, x, workers)
    return Ensemble(
        plan, merge_states(_in_order(local(plan, x, range(plan.shards), workers))), tuple(x.shape)
    )


def local(plan: Plan, x: Tensor, indices: Sequence[int], workers: int) -> Iterator[tuple[int, State]]:
    """Shards as they finish, with their numbers: in this process, or in joblib's workers."""
    if workers < 1:
        raise DomainError(f"while starting workers: expected at least 1, got {workers}")
    if workers == 1 or len(indices) < 2:
        for index in indices:
            yield index, compute_shard(plan, x, index)
        return
    from joblib import Parallel, delayed

    pool = Parallel(n_jobs=workers, return_as="generator_unordered", inner_max_num_threads=1, backend="loky")
    yield from pool(delayed(_numbered)(plan, x, index) for index in indices)


def _numbered(plan: Plan, x: Tensor, index: int) -> tuple[int, State]:
    return index, compute_shard(plan, x, index)


def _in_order(results: Iterator[tuple[int, State]]) -> Iterator[State]:
    """Hand results on in the order of their numbers, holding only those that came early."""
    waiting: dict[int, State] = {}
    turn = 0
    for index, state in results:
        waiting[index] = state
        while turn in waiting:
            yield waiting.pop(turn)
            turn += 1
