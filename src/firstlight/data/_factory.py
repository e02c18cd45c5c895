"""Data sets that a user's own function makes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firstlight.data.dataset import Dataset, first_tensor
from firstlight.data.locate import locate
from firstlight.errors import LoadError


def from_factory(spec: str, **offered: object) -> Dataset:
    r"""The data set that ``module:factory`` or ``path/to/file.py:factory`` makes.

    Parameters
    ----------
    spec
        Names a function, or a ready data set.
    offered
        Arguments that the function gets if it has parameters of these names and they are not None.

    Raises
    ------
    LoadError
        If it cannot be found, raises, or gives nothing with samples in it.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from firstlight.data._factory import from_factory
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "mine.py"
    >>> _ = path.write_text("import torch\ndef make(count=8):\n    return torch.zeros(count, 3)")
    >>> len(from_factory(f"{path}:make", count=4, seed=0))
    4
    """
    factory = locate(spec, what="data factory")
    made = _call(spec, factory, offered) if callable(factory) and not isinstance(factory, Tensor) else factory
    if isinstance(made, Dataset):
        return made
    if isinstance(made, np.ndarray):
        made = torch.from_numpy(made)
    if isinstance(made, tuple) and len(made) == 2 and (made[1] is None or isinstance(made[1], Tensor)):
        return _wrapped(made[0], made[1], spec)
    if isinstance(made, Mapping) and "inputs" in made and set(made) <= {"inputs", "targets"}:
        return _wrapped(made["inputs"], made.get("targets"), spec)
    return _wrapped(made, None, spec)


def _wrapped(inputs: object, targets: Tensor | None, spec: str) -> Dataset:
    first_tensor(inputs, spec)
    return Dataset(inputs, targets, name=spec)


def _call(spec: str, factory: Callable[..., object], offered: dict[str, object]) -> Any:
    try:
        taken = set(inspect.signature(factory).parameters)
    except (TypeError, ValueError):  # builtins need not have a signature
        taken = set()
    try:
        return factory(**{key: value for key, value in offered.items() if key in taken and value is not None})
    except Exception as error:
        raise LoadError(
            f"while calling the data factory {spec!r}: expected a data set, got {type(error).__name__}: "
            f"{error}; "
            "correct the factory"
        ) from error
