"""Where an audit's time goes: ``python -m benchmarks.where_the_time_goes [mlp|resnet|vit]``.

Every stage is timed inside one audit; what is left of the time added to a plain pass is tracing and hooks.
"""

from __future__ import annotations

import gc
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any
from unittest import mock

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


@contextmanager
def _timed(seconds: dict[str, float]) -> Iterator[None]:
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
        for stage, (module, path) in STAGES.items():
            *owners, name = path.split(".")
            owner: Any = import_module(module)
            for step in owners:
                owner = getattr(owner, step)
            stack.enter_context(mock.patch.object(owner, name, watch(stage, getattr(owner, name))))
        yield


def where(name: str) -> dict[str, float]:
    """Milliseconds of every stage of one audit, the fastest of several."""
    import firstlight

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


def main(names: list[str]) -> None:
    for name in names or list(MODELS):
        found = where(name)
        added, plain = found.pop("added"), found.pop("plain")
        print(f"{TITLES[name]}: {added:.0f} ms added to {plain:.0f} ms")
        for stage, milliseconds in sorted(found.items(), key=lambda item: -item[1]):
            print(f"  {milliseconds:7.1f} ms  {100 * milliseconds / added:5.1f} %  {stage}")


if __name__ == "__main__":
    main(sys.argv[1:])
