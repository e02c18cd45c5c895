"""What it costs that an audit leaves nothing behind: the guard's share of an audit's time, and its memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from torch import nn

from benchmarks import peak
from benchmarks.harness import Row, interleaved
from benchmarks.models import GIGABYTE, TITLES, build

REPEATS = {"mlp": 9, "resnet": 7, "vit": 3}
SHARE, MEGABYTES = 0.05, 50.0
_HOOKS = (
    *("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
    *("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"),
)


class _Bare:
    """In the place of the guard: keeps the modes of modules, sees no write and puts nothing else back."""

    def __init__(self, model: nn.Module, others: dict[str, Any], held: Any, *, parameters: bool) -> None:
        from firstlight.probe.guard._objects import Walk

        self.shield, self.walk = held, Walk()
        self.modes = [(module, module.training) for module in model.modules()]

    @contextmanager
    def watching(self, graph: Any = None) -> Iterator[None]:
        yield

    def restore(self) -> list[str]:
        for module, training in self.modes:
            module.training = training
            # hooks that stay would make every later audit slower, guarded or not
            for name in _HOOKS:
                getattr(module, name).clear()
        return []


def _share(name: str) -> Row:
    import firstlight

    model, batch = build(name)

    def bare() -> object:
        with mock.patch("firstlight.probe.guard.guard.Guard", _Bare):
            return firstlight.audit(model, batch)

    seconds = interleaved(
        {"bare": bare, "guarded": lambda: firstlight.audit(model, batch)}, repeats=REPEATS[name]
    )
    return Row(
        f"{TITLES[name]}: share of the guard in the time of an audit",
        1 - seconds["bare"] / seconds["guarded"],
        SHARE,
        detail=f"{seconds['guarded'] * 1e3:.0f} ms, and {seconds['bare'] * 1e3:.0f} ms without a guard",
    )


def _memory() -> Row:
    small, large = peak.measure("small", "audit"), peak.measure("buffered", "audit")
    held = GIGABYTE / 2**20
    return Row(
        "a buffer of 1 GB that the model does not write: MB that the audit needs for it",
        large - held - small,
        MEGABYTES,
        detail=f"{large:.0f} MB resident with the buffer of {held:.0f} MB, {small:.0f} MB without",
    )


def run() -> list[Row]:
    """Time and memory of the guard; about three minutes on one core."""
    return [*(_share(name) for name in REPEATS), _memory()]
