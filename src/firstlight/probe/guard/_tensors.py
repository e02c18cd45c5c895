"""Tensors: what somebody's tensor is beside its bytes, and how to make it that again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from firstlight.probe.guard._objects import HOOKS
from firstlight.probe.guard._storages import PLAIN, is_wrapper

Step = tuple[str, Callable[[], object]]


@dataclass(eq=False)
class Known:
    """One tensor as it was found.

    ``alias`` shares its storage and has its shape, and is no part of a graph. ``hooks`` are its dictionaries of
    hooks; ``hooked`` tells that a hook of the caller's was in them, which a backward pass calls.
    """

    name: str
    tensor: Tensor
    alias: Tensor | None
    node: Any
    requires_grad: bool
    gradient: Tensor | None
    hooks: tuple[tuple[str, Any], ...]
    hooked: bool
    version: int | None
    kind: type

    @classmethod
    def of(cls, tensor: Tensor, name: str) -> Known:
        """What is known of a tensor now."""
        hooks = tuple((attribute, getattr(tensor, attribute, None)) for attribute in HOOKS)
        return cls(
            name,
            tensor,
            None if torch.nn.parameter.is_lazy(tensor) else tensor.detach(),
            tensor.grad_fn,
            tensor.requires_grad,
            tensor.grad if tensor.is_leaf else None,
            hooks,
            any(held for _, held in hooks),
            version_of(tensor),
            type(tensor),
        )

    def as_found(self) -> bool:
        """Whether no step has anything to do."""
        tensor = self.tensor
        node = tensor.grad_fn
        return (
            type(tensor) is self.kind
            and node is self.node
            and (node is not None or tensor.requires_grad == self.requires_grad)
            and (not tensor.is_leaf or tensor.grad is self.gradient)
            and all(getattr(tensor, attribute, None) is hooks for attribute, hooks in self.hooks)
            and (self.alias is None or _one_place(tensor, self.alias))
        )

    def steps(self) -> Iterator[Step]:
        """What puts the tensor back, a step for each thing, each with its name."""
        yield f"the class of {self.name}", self._class
        yield f"the memory of {self.name}", self._memory
        yield f"the graph behind {self.name}", self._graph
        yield f"requires_grad of {self.name}", self._flag
        yield f"the gradient of {self.name}", self._gradient
        yield f"the hooks on {self.name}", self._own_hooks

    def _class(self) -> None:
        if type(self.tensor) is not self.kind:
            self.tensor.__class__ = self.kind

    def _memory(self) -> None:
        if self.alias is not None and not _one_place(self.tensor, self.alias):
            with torch.no_grad():
                self.tensor.data = self.alias

    def _graph(self) -> None:
        if self.node is None and self.tensor.grad_fn is not None:
            self.tensor.detach_()
        if self.node is not None and self.tensor.grad_fn is not self.node:
            raise RuntimeError("the tensor was written in place inside a graph of its own")

    def _flag(self) -> None:
        if self.node is None and self.tensor.requires_grad != self.requires_grad:
            self.tensor.requires_grad_(self.requires_grad)

    def _gradient(self) -> None:
        if self.tensor.is_leaf and self.tensor.grad is not self.gradient:
            self.tensor.grad = self.gradient

    def _own_hooks(self) -> None:
        for attribute, hooks in self.hooks:
            if getattr(self.tensor, attribute, None) is not hooks:
                setattr(self.tensor, attribute, hooks)

    def version_step(self) -> None:
        """Take the version counter back, once the bytes are the old ones: a graph that waits for them is right."""
        if self.version is not None and self.tensor._version != self.version:
            torch._C._autograd._unsafe_set_version_counter((self.tensor,), (self.version,))


def version_of(tensor: Tensor) -> int | None:
    """How often a tensor was written in place; None where torch does not count."""
    try:
        return int(tensor._version)
    except (RuntimeError, NotImplementedError):
        return None


def _one_place(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors show the same memory in the same way."""
    if type(first) in PLAIN and first.layout is torch.strided and not first.is_nested:
        return first.dtype == second.dtype and first.is_set_to(second)
    if first.is_nested or second.is_nested:  # a nested tensor of strided layout has no shape to compare
        return first.is_nested and second.is_nested and first.layout == second.layout
    if first.shape != second.shape or first.dtype != second.dtype or first.layout != second.layout:
        return False
    if first.layout != torch.strided or is_wrapper(first):
        return True
    try:
        return (
            first.stride() == second.stride()
            and first.storage_offset() == second.storage_offset()
            and first.untyped_storage()._cdata == second.untyped_storage()._cdata
        )
    except (RuntimeError, NotImplementedError):
        return True
