"""Writes: sees what operations write into guarded storages, before they do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from firstlight.probe.guard._storages import Storages

# Kernels whose schemas do not say that they write: the running mean and variance are arguments 3 and 4.
_UNSAID = dict.fromkeys(
    ("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm", "batch_norm", "_batch_norm_impl_index"),
    (3, 4),
)
# Functions that hand the memory itself out, to be written where torch does not see it.
DOORS = frozenset(
    """numpy __array__ data_ptr untyped_storage storage _typed_storage __dlpack__ to_dlpack share_memory_
    apply_ map_ map2_ __cuda_array_interface__ set_ resize_ _backing""".split()
)


_HOOKING = frozenset(("register_hook", "register_post_accumulate_grad_hook"))


def _saves_by_hooks() -> bool:
    """Whether tensors are saved for the backward by a function of the caller's, as checkpoints do."""
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None


class Writes(TorchDispatchMode):
    """Reads in an operator's schema which arguments it writes, and has their storages copied first.

    ``wary`` is set in a backward pass, where torch shows functions to no mode: what is detached there may be handed
    to numpy next.
    """

    # operators that take functions, such as flex attention, pass through
    supports_higher_order_operators = True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # torch would load its compiler, which takes seconds, to keep itself from compiling this class
        return False

    def __init__(self, storages: Storages) -> None:
        super().__init__()
        self.storages = storages
        self.wary = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        written = _schemas.get(func)
        if written is None:
            written = _schemas[func] = _written(func)
        if self.wary and func is torch.ops.aten.detach.default:
            self.storages.before_write(args[0])
        if written:
            for tensor in _named(written, args, kwargs or {}):
                self.storages.before_write(tensor)
        return func(*args, **kwargs) if kwargs else func(*args)


class Doors(TorchFunctionMode):
    """Copies a storage when its memory is handed out: numpy views, pointers, other libraries.

    ``hooked`` tells that the forward left code of the caller's to be run in the backward pass.
    """

    def __init__(self, storages: Storages) -> None:
        super().__init__()
        self.storages = storages
        self.hooked = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in DOORS and args and isinstance(args[0], Tensor):
            self.storages.before_write(args[0])
        if name in _HOOKING or _saves_by_hooks():
            self.hooked = True
        return func(*args, **kwargs) if kwargs else func(*args)


# What an operator writes does not change while a program runs.
_schemas: dict[Any, tuple[tuple[int, str], ...]] = {}


def _written(func: object) -> tuple[tuple[int, str], ...]:
    """Places and names of the arguments that an operator writes.

    Examples
    --------
    >>> import torch
    >>> _written(torch.ops.aten.mul_.Tensor), _written(torch.ops.aten.mul.out), _written(torch.ops.aten.mul.Tensor)
    (((0, 'self'),), ((2, 'out'),), ())
    """
    schema = getattr(func, "_schema", None)
    if schema is None:
        return ()
    unsaid = _UNSAID.get(schema.name.partition("::")[2], ())
    return tuple(
        (place, argument.name)
        for place, argument in enumerate(schema.arguments)
        if place in unsaid or (argument.alias_info is not None and argument.alias_info.is_write)
    )


def _named(written: tuple[tuple[int, str], ...], args: Any, kwargs: dict[str, Any]) -> Iterator[Tensor]:
    for place, name in written:
        value = args[place] if place < len(args) else kwargs.get(name)
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from (item for item in value if isinstance(item, Tensor))
