"""Names of torchvision for libraries that import it and build their networks without it.

Builds of torchvision fit one build of torch only, so the zoo does without: image files, transforms and data sets
are no part of a network. Where torchvision is installed, the real one is used.
"""

from __future__ import annotations

import enum
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, ClassVar

from torch import nn


class _Names(ModuleType):
    """A module in which every name is a class that nobody makes an instance of."""

    __path__: ClassVar[list[str]] = []
    __version__ = "0"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (nn.Module,), {"__getattr__": lambda self, key: key})
        if name == "InterpolationMode":
            made = enum.Enum(name, "NEAREST BILINEAR BICUBIC LANCZOS HAMMING BOX")
        setattr(self, name, made)
        return made


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] != "torchvision":
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: Any) -> ModuleType:
        return _Names(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is run."""


@contextmanager
def names_of_torchvision() -> Iterator[None]:
    """Let ``import torchvision`` find names alone while a library is imported, where there is no torchvision."""
    if importlib.util.find_spec("torchvision") is not None:
        yield
        return
    finder = _Finder()
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
