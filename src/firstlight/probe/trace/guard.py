"""Guard: leave a model, its gradients and the random generators exactly as they were found."""

from __future__ import annotations

import copy
import operator
import random
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Guard:
    """Remembers what a forward pass may change and puts it back.

    Buffers are copied at the start (running statistics are written inside compiled kernels, out of
    sight); parameters only when an operation is about to write one, through ``before_write``.
    Attributes of modules (flags, counters, caches) are restored by identity.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.attributes = [(m, dict(vars(m)), _tables(m)) for m in model.modules()]
        self.buffers = [(b, b.detach().clone()) for b in model.buffers() if not b.is_meta]
        self.parameters: dict[int, tuple[Tensor, Tensor]] = {}
        parameters = list(model.parameters())
        self.owned = {id(p) for p in parameters}
        self.requires_grad = [(p, p.requires_grad) for p in parameters]
        self.gradients = [(p, p.grad) for p in parameters]
        self.hooks = [(p, copy.copy(p._backward_hooks)) for p in parameters]

    def before_write(self, tensor: Any) -> None:
        """Copy a parameter that an operation is about to write into, once."""
        if id(tensor) in self.owned and id(tensor) not in self.parameters:
            self.parameters[id(tensor)] = (tensor, tensor.detach().clone())

    def restore(self) -> None:
        """Put everything back."""
        for module, attributes, tables in self.attributes:
            current = vars(module)
            for name in [n for n in current if n not in attributes]:
                del current[name]
            current.update(attributes)
            for name, saved in tables.items():
                _refill(attributes[name], saved)
        with torch.no_grad():
            for tensor, value in (*self.buffers, *self.parameters.values()):
                tensor.copy_(value)
        for parameter, flag in self.requires_grad:
            parameter.requires_grad_(flag)
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        for parameter, hooks in self.hooks:
            parameter._backward_hooks = hooks


def _tables(module: nn.Module) -> dict[str, Any]:
    """Shallow copies of the dictionaries and lists that a module keeps: parameters, hooks, caches, histories."""
    return {name: value.copy() for name, value in vars(module).items() if type(value) in _TABLES}


_TABLES = (dict, list, OrderedDict)


def _refill(live: Any, saved: Any) -> None:
    """Give a dictionary or list its old entries back, in place, unless it still has them."""
    now, then = (x.values() if isinstance(x, dict) else x for x in (live, saved))
    same_names = not isinstance(live, dict) or list(live) == list(saved)
    if len(live) == len(saved) and same_names and all(map(operator.is_, now, then)):
        return
    live.clear()
    if isinstance(live, dict):
        live.update(saved)
    else:
        live.extend(saved)


@contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Seed every generator a forward may draw from, and give all of them back their state."""
    # the legacy generator is what a forward may draw from
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            random.seed(seed)
            yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)
        if mps is not None:
            torch.mps.set_rng_state(mps)


@contextmanager
def untouched(model: nn.Module, *, training: bool | None, seed: int) -> Iterator[Guard]:
    """Run with the model in the asked mode and seeded generators; restore everything, also on error."""
    guard = Guard(model)
    try:
        with random_state(seed):
            if training is not None:
                model.train(training)
            yield guard
    finally:
        guard.restore()
