"""How every benchmark here measures: interleaved repeats, the minimum, ratios inside one run."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Row:
    """One claim with its measured ratio and the target it is held to.

    ``ratio`` is NaN where the peer could not be run; ``detail`` then says why.
    """

    claim: str
    ratio: float
    target: float
    lower_is_better: bool = True
    detail: str = ""

    @property
    def measured(self) -> bool:
        return not math.isnan(self.ratio)

    @property
    def met(self) -> bool:
        return self.ratio <= self.target if self.lower_is_better else self.ratio >= self.target


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, so that a ratio does not depend on what else the machine does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def interleaved(
    fns: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 7,
    warmup: int = 1,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Minimum CPU seconds of each function over ``repeats`` rounds; every round runs every function once.

    Interleaving exposes all of them to the same disturbances; the minimum is the run that was disturbed
    least. What works on several threads is measured by the wall: ``clock=time.perf_counter``.
    """
    best = dict.fromkeys(fns, math.inf)
    with one_thread():
        for round_ in range(-warmup, repeats):
            for name, fn in fns.items():
                gc.collect()
                gc.disable()
                try:
                    start = clock()
                    fn()
                    seconds = clock() - start
                finally:
                    gc.enable()
                if round_ >= 0:
                    best[name] = min(best[name], seconds)
    return best


def per_call(fn: Callable[[], object], *, number: int) -> Callable[[], None]:
    """A function that calls ``fn`` so many times, for things that take microseconds."""

    def many() -> None:
        for _ in range(number):
            fn()

    return many
