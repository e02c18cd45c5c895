"""Where an audit's time goes: ``python -m benchmarks.where_the_time_goes [mlp|resnet|vit|zoo]``.

Every stage is timed inside one audit; what is left of the time added to a plain pass is tracing and hooks. For the
tiny third-party networks of `benchmarks.bench_zoo` (``zoo``) the stages hold the model's own forward and backward too.
"""

from __future__ import annotations

import gc
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from itertools import islice
from statistics import mean, median
from types import MappingProxyType
from typing import Any
from unittest import mock

import firstlight
from benchmarks.harness import interleaved, one_thread
from benchmarks.models import MODELS, TITLES, build, plain_pass

# stage → (module, attribute path) whose calls it consists of
STAGES = {
    "forward: copy entries and rows, extremes, dead units": ("firstlight.probe.read.reader", "Reader.read"),
    "forward: copy weights": ("firstlight.probe.read.reader", "Reader.weigh"),
    "forward: normalisers' gradient factors": ("firstlight.probe.read.reader", "Reader.norm_gain"),
    "backward: gradient norms": ("firstlight.probe.trace._backward", "Backward._log_square"),
    "backward: guard against overflow": ("firstlight.probe.trace._backward", "_size"),
    "statistics of what was copied": ("firstlight.probe.read.reader", "Reader.finish"),
    "theory": ("firstlight.probe.probe", "add_theory"),
    "rows and columns": ("firstlight.probe.probe", "to_profile"),
    "verdicts": ("firstlight.auditing.audit", "diagnose"),
}
REPEATS = 5
# the same for networks of a few units, where what is done once for a network counts as much as what is done for a row
ZOO_STAGES = {
    "guard: remember what may change": ("firstlight.probe.guard.guard", "Guard.__init__"),
    "guard: put back": ("firstlight.probe.guard.guard", "Guard.restore"),
    "forward: the model, and tracing": ("firstlight.probe.probe", "_forward"),
    "forward: copy entries": ("firstlight.probe.read.reader", "Reader.read"),
    "statistics: rows": ("firstlight.probe.read.reader", "measure_sites"),
    "statistics: laws of rows": ("firstlight.probe.read._statistics", "_laws"),
    "statistics: tokens and places": ("firstlight.probe.read.reader", "measure_tokens"),
    "statistics: weights": ("firstlight.probe.read.reader", "measure_weights"),
    "backward: the model, and gradient norms": ("firstlight.probe.probe", "differentiate"),
    "theory of rows": ("firstlight.probe.probe", "add_theory"),
    "theory of whole blocks": ("firstlight.probe.probe", "add_blocks"),
    "rows and columns": ("firstlight.probe.probe", "to_profile"),
    "verdicts": ("firstlight.auditing.audit", "diagnose"),
}


@contextmanager
def _timed(
    seconds: dict[str, float], stages: Mapping[str, tuple[str, str]] = MappingProxyType(STAGES)
) -> Iterator[None]:
    inner = [0.0]  # time of the stages inside the one that runs, which is theirs alone

    def watch(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            inner.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.process_time() - start
                seconds[stage] += spent - inner.pop()
                inner[-1] += spent

        return run

    with ExitStack() as stack:
        for stage, (module, path) in stages.items():
            *owners, name = path.split(".")
            owner: Any = import_module(module)
            for step in owners:
                owner = getattr(owner, step)
            stack.enter_context(mock.patch.object(owner, name, watch(stage, getattr(owner, name))))
        yield


def where(name: str) -> dict[str, float]:
    """Milliseconds of every stage of one audit, the fastest of several."""
    model, batch = build(name)
    best: dict[str, float] = {}
    with one_thread():
        for _ in range(REPEATS):
            seconds: dict[str, float] = defaultdict(float)
            gc.collect()
            start = time.process_time()
            with _timed(seconds):
                firstlight.audit(model, batch)
            seconds["whole audit"] = time.process_time() - start
            if not best or seconds["whole audit"] < best["whole audit"]:
                best = seconds
    plain = interleaved({"plain": lambda: plain_pass(model, batch)}, repeats=REPEATS)["plain"]
    added = best.pop("whole audit") - plain
    best["tracing, hooks, guard"] = added - sum(best.values())
    return {"added": 1e3 * added, "plain": 1e3 * plain} | {k: 1e3 * v for k, v in best.items()}


def _one_of_the_zoo(model: Any, batch: object) -> dict[str, float]:
    """Seconds of every stage, of the whole audit and of a plain pass, of the faster of two audits."""
    from benchmarks.bench_zoo import plain_pass_of_any

    best: dict[str, float] = {}
    plain = float("inf")
    for turn in range(-1, 2):
        seconds: dict[str, float] = defaultdict(float)
        gc.collect()
        start = time.process_time()
        plain_pass_of_any(model, batch)
        middle = time.process_time()
        with _timed(seconds, ZOO_STAGES):
            firstlight.audit(model, batch)
        whole = time.process_time() - middle
        if turn >= 0:
            plain = min(plain, middle - start)
            if not best or whole < best["whole audit"]:
                best = seconds | {"rest": whole - sum(seconds.values()), "whole audit": whole}
    return best | {"plain pass": plain}


def zoo() -> None:
    """Print the mean time and the mean share of every stage over the tiny third-party networks."""
    from benchmarks.bench_zoo import COUNT, tiny

    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # third-party code warns about itself
        found = [_one_of_the_zoo(model, batch) for model, batch in islice(tiny(), COUNT)]
    ratio = median(one["whole audit"] / one["plain pass"] for one in found)
    print(f"{len(found)} tiny third-party networks: median audit / plain pass {ratio:.1f}")
    stages = [*ZOO_STAGES, "rest", "whole audit", "plain pass"]
    shares = {stage: mean(one[stage] / one["whole audit"] for one in found) for stage in stages}
    for stage in sorted(stages, key=lambda stage: -shares[stage]):
        milliseconds = 1e3 * mean(one[stage] for one in found)
        print(f"  {milliseconds:7.2f} ms  {100 * shares[stage]:5.1f} %  {stage}")


def main(names: list[str]) -> None:
    for name in names or list(MODELS):
        if name == "zoo":
            zoo()
            continue
        found = where(name)
        added, plain = found.pop("added"), found.pop("plain")
        print(f"{TITLES[name]}: {added:.0f} ms added to {plain:.0f} ms")
        for stage, milliseconds in sorted(found.items(), key=lambda item: -item[1]):
            print(f"  {milliseconds:7.1f} ms  {100 * milliseconds / added:5.1f} %  {stage}")


if __name__ == "__main__":
    main(sys.argv[1:])
