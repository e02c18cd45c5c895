"""What a forward may change for the whole process: generators, defaults, flags, stacks of modes, the environment."""

from __future__ import annotations

import decimal
import gc
import logging
import os
import random
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
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
    if hasattr(time, "tzset"):
        time.tzset()  # the zone is a part of the environment that is read once


def _path(value: list[str]) -> None:
    sys.path[:] = value


def _filters(value: list[object]) -> None:
    warnings.filters[:] = value  # type: ignore[index]
    warnings.simplefilter("default", append=True)  # tells the module that its filters are others
    warnings.filters[:] = value  # type: ignore[index]


def _of(owner: object, name: str, label: str) -> Setting:
    return Setting(label, lambda: getattr(owner, name), lambda value: setattr(owner, name, value))


def _saving_hooks() -> Any:
    return torch._C._autograd._top_saved_tensors_default_hooks(True)


def _pop_saving_hooks(value: object) -> None:
    while _saving_hooks() is not None and not same(_saving_hooks(), value):
        torch._C._autograd._pop_saved_tensors_default_hooks()


_DECIMALS = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")


def _decimals(value: tuple[Any, ...]) -> None:
    for name, item in zip(_DECIMALS, value):
        setattr(decimal.getcontext(), name, item)


def _printing() -> list[Setting]:
    """How numbers are printed, and where to; what is logged."""
    options: Any = torch._tensor_str.PRINT_OPTS
    return [
        Setting(
            "torch's print options", lambda: dict(vars(options)), lambda value: vars(options).update(value)
        ),
        Setting("numpy's print options", np.get_printoptions, lambda value: np.set_printoptions(**value)),
        Setting(
            "the decimal context",
            lambda: tuple(getattr(decimal.getcontext(), name) for name in _DECIMALS),
            _decimals,
        ),
        *(_of(sys, name, f"sys.{name}") for name in ("stdin", "stdout", "stderr", "displayhook")),
        _of(logging.root, "level", "the level of logging"),
        _of(logging.root.manager, "disable", "what logging leaves out"),
    ]


def _interpreter() -> list[Setting]:
    """Python's own: collection of garbage, tracing, switching of threads, timers that were off."""
    timers = [getattr(signal, name, None) for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF")]
    return [
        Setting("garbage collection", gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
        Setting(
            "the thresholds of garbage collection", gc.get_threshold, lambda value: gc.set_threshold(*value)
        ),
        Setting("the profile function", sys.getprofile, sys.setprofile),
        Setting("the trace function", sys.gettrace, sys.settrace),
        Setting("the switch interval", sys.getswitchinterval, sys.setswitchinterval),
        # of a timer that runs already, nothing tells what a forward changed
        *(_timer(which) for which in timers if which is not None and not any(signal.getitimer(which))),
    ]


def _timer(which: int) -> Setting:
    return Setting("a timer", lambda: any(signal.getitimer(which)), lambda _: signal.setitimer(which, 0.0))


def _kernels() -> list[Setting]:
    """Which kernels torch may take."""
    cuda: Any = torch.backends.cuda
    return [
        *(
            Setting(
                f"the {name} kernel of attention",
                getattr(cuda, f"{name}_sdp_enabled"),
                getattr(cuda, f"enable_{name}_sdp"),
            )
            for name in ("flash", "mem_efficient", "math", "cudnn")
        ),
        _of(torch.backends.cudnn, "allow_tf32", "TF32 in cudnn"),
        _of(cuda.matmul, "allow_tf32", "TF32 in products"),
        Setting(
            "the threads of backward passes",
            torch._C._is_multithreading_enabled,
            torch._C._set_multithreading_enabled,
        ),
    ]


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
        Setting("functions that save tensors for a backward", _saving_hooks, _pop_saving_hooks),
        Setting(
            "the default device",
            lambda: getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None),
            lambda value: setattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", value),
        ),
        *_printing(),
        *_interpreter(),
        *_kernels(),
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
    if first is second:
        return True
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return (
            isinstance(second, (list, tuple)) and len(first) == len(second) and all(map(same, first, second))
        )
    return bool(first == second)


@lru_cache(maxsize=1)
def _accelerated() -> bool:
    """Whether this process has anything but processors to compute on."""
    return torch.accelerator.is_available() or torch.cuda.is_available() or torch.backends.mps.is_available()


def seed_all(seed: int) -> None:
    """Seed every generator that a forward may draw from."""
    if _accelerated():
        torch.manual_seed(seed)
    else:
        # torch.manual_seed leaves a call, with its stack, in the queue of every kind of accelerator that is not there
        torch.default_generator.manual_seed(seed)
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
