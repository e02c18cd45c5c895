"""Fresh: a copy of a batch for one pass, so that no pass meets what an earlier one wrote into it."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def fresh(batch: object) -> Any:
    """A batch with tensors of its own, cut off from every graph; what holds no tensor is passed on as it is.

    One tensor at two places is one tensor in the copy. Views of one storage become tensors apart.

    Examples
    --------
    >>> import torch
    >>> x = torch.ones(2)
    >>> a, (b, text) = fresh((x, [x, "mask"]))
    >>> a is b, a is x, text
    (True, False, 'mask')
    """
    return _fresh(batch, {})


def _fresh(value: Any, known: dict[int, Any]) -> Any:
    if id(value) in known:
        return known[id(value)]
    if isinstance(value, Tensor):
        new: Any = value.detach().clone().requires_grad_(value.requires_grad)
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        new = type(value)(*(_fresh(item, known) for item in value))
    elif type(value) in (tuple, list):
        new = type(value)(_fresh(item, known) for item in value)
    elif isinstance(value, list):
        new = copy.copy(value)
        new[:] = [_fresh(item, known) for item in value]
    elif isinstance(value, Mapping):
        new = _mapping(value, known)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        new = copy.copy(value)
        for field in dataclasses.fields(value):
            object.__setattr__(new, field.name, _fresh(getattr(value, field.name), known))
    elif _holds_tensors(value):
        new = copy.copy(value)
        for name, item in vars(value).items():
            vars(new)[name] = _fresh(item, known)
    else:
        return value
    known[id(value)] = new
    return new


def _mapping(value: Mapping[object, object], known: dict[int, object]) -> Any:
    items = {key: _fresh(item, known) for key, item in value.items()}
    if type(value) is dict:
        return items
    new: Any = copy.copy(value)
    try:
        for key, item in items.items():
            new[key] = item
    except TypeError:  # a mapping that cannot be written
        return items
    return new


def _holds_tensors(value: object) -> bool:
    """Whether an object of another library keeps tensors in its attributes, as graphs and packed batches do."""
    own = getattr(value, "__dict__", None)
    if type(own) is not dict or isinstance(value, nn.Module):
        return False
    return any(
        isinstance(item, Tensor)
        or (isinstance(item, dict) and any(isinstance(t, Tensor) for t in item.values()))
        for item in own.values()
    )
