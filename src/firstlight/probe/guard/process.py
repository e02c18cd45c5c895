"""What a forward may change for the whole process: generators, defaults, flags, stacks of modes, the environment."""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils import checkpoint

from firstlight.clean_room import DEVICES


@dataclass(frozen=True)
class Setting:
    """One thing of the process that can be read and put back."""

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], object]


def _deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _autocast(device: str) -> Setting:
    def put(value: tuple[bool, torch.dtype]) -> None:
        torch.set_autocast_enabled(device, value[0])
        torch.set_autocast_dtype(device, value[1])

    return Setting(
        f"autocast on {device}",
        lambda: (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)),
        put,
    )


def _stack(name: str) -> Setting:
    c: Any = torch._C
    count = getattr(c, f"_len_torch_{name}_stack")
    at = getattr(c, f"_get_{name}_stack_at")

    def put(modes: list[object]) -> None:
        from torch.utils import _python_dispatch

        if name == "function":
            pop, push = c._pop_torch_function_stack, c._push_on_torch_function_stack
        else:
            pop, push = _python_dispatch._pop_mode, _python_dispatch._push_mode
        while count():
            pop()
        for mode in modes:
            push(mode)

    return Setting(f"torch {name} modes", lambda: [at(i) for i in range(count())], put)


def _environment(value: dict[str, str]) -> None:
    for name in set(os.environ) - set(value):
        del os.environ[name]
    os.environ.update(value)


def _path(value: list[str]) -> None:
    sys.path[:] = value


def _filters(value: list[object]) -> None:
    warnings.filters[:] = value  # type: ignore[index]
    warnings.simplefilter("default", append=True)  # tells the module that its filters are others
    warnings.filters[:] = value  # type: ignore[index]


def _of(owner: object, name: str, label: str) -> Setting:
    return Setting(label, lambda: getattr(owner, name), lambda value: setattr(owner, name, value))


def settings() -> list[Setting]:
    """Every setting that is watched, except the generators."""
    backends: Any = torch.backends
    return [
        _stack("function"),
        _stack("dispatch"),
        Setting("grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
        Setting("the default dtype", torch.get_default_dtype, torch.set_default_dtype),
        Setting("the number of threads", torch.get_num_threads, torch.set_num_threads),
        Setting(
            "deterministic algorithms",
            lambda: (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            ),
            _deterministic,
        ),
        _of(torch.utils.deterministic, "fill_uninitialized_memory", "filling of new memory"),
        Setting(
            "anomaly detection",
            lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
            lambda value: torch.autograd.set_detect_anomaly(*value),
        ),
        Setting(
            "the precision of products",
            torch.get_float32_matmul_precision,
            torch.set_float32_matmul_precision,
        ),
        _of(backends.cudnn, "enabled", "cudnn"),
        _of(backends.cudnn, "benchmark", "cudnn's search"),
        _of(backends.cudnn, "deterministic", "cudnn's determinism"),
        _of(backends.mkldnn, "enabled", "mkldnn"),
        *(_autocast(device) for device in DEVICES),
        Setting("the cache of autocast", torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
        Setting("numpy's handling of errors", np.geterr, lambda value: np.seterr(**value)),
        Setting("the filters of warnings", lambda: list(warnings.filters), _filters),
        Setting("the working directory", os.getcwd, os.chdir),
        Setting("sys.path", lambda: list(sys.path), _path),
        Setting("the environment", lambda: dict(os.environ), _environment),
        _of(checkpoint, "CheckpointFunction", "torch's checkpoints"),
        _of(sys, "excepthook", "sys.excepthook"),
        Setting("the limit of recursion", sys.getrecursionlimit, sys.setrecursionlimit),
    ]


def generators() -> Iterator[Setting]:
    """Python's, numpy's and torch's generators, on every device that has one; to be put back from the last on."""
    yield Setting("Python's random generator", random.getstate, random.setstate)
    # the legacy generator is what a forward may draw from
    yield Setting("numpy's random generator", np.random.get_state, np.random.set_state)
    yield Setting("torch's random generator", torch.get_rng_state, torch.set_rng_state)
    if torch.cuda.is_available():
        cuda = torch.cuda
        yield Setting("the generators of cuda", cuda.get_rng_state_all, cuda.set_rng_state_all)
    if torch.backends.mps.is_available():
        yield Setting("the generator of mps", torch.mps.get_rng_state, torch.mps.set_rng_state)


def same(first: Any, second: Any) -> bool:
    """Whether two states are one, also where they hold arrays or tensors."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first is second or first == second)


def seed_all(seed: int) -> None:
    """Seed every generator that a forward may draw from."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)


@contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Seed every generator a forward may draw from, and give all of them back their state."""
    found = [(setting, setting.get()) for setting in generators()]
    try:
        seed_all(seed)
        yield
    finally:
        for setting, state in reversed(found):
            setting.set(state)
