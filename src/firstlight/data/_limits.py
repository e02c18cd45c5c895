"""What a file may ask for: sizes are compared with the machine before anything of a file is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from firstlight.errors import LoadError
from firstlight.files import memory

_NESTED = 64  # levels of tuples, lists and dicts that a batch may have


def room() -> float:
    """Bytes that one file's arrays may take: half of the memory that this process may use."""
    limit = memory()
    try:
        import resource

        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
        if soft != resource.RLIM_INFINITY:
            limit = min(limit, float(soft))
    except (ImportError, OSError, ValueError):  # not every system has such limits
        pass
    return limit / 2


def check_size(path: Path, size: float) -> None:
    """Refuse what would not fit into memory.

    Raises
    ------
    LoadError
        If the arrays of a file need more bytes than ``room`` gives.
    """
    if size > room():
        raise LoadError(
            f"while reading {path}: expected arrays of at most {room() / 1e9:.3g} GB, half of the memory, got "
            f"{size / 1e9:.3g} GB by the file's header; is the file damaged? If not, split it"
        )


def leaves(value: object, name: str = "") -> Iterator[Any]:
    """What stands in nested tuples, lists and dicts, each object once, in order.

    Raises
    ------
    LoadError
        If they nest deeper than 64 levels, or hold themselves.
    """  # noqa: DOC501
    seen: set[int] = set()
    stack: list[tuple[int, object]] = [(0, value)]
    while stack:
        depth, part = stack.pop()
        inside = list(part.values()) if isinstance(part, Mapping) else part
        if not isinstance(inside, (tuple, list)):
            yield part
            continue
        if depth >= _NESTED:
            raise _too_deep(name)
        if id(part) not in seen:
            seen.add(id(part))
            stack.extend((depth + 1, one) for one in reversed(inside))


def mapped(value: object, function: Callable[[object], object], name: str = "") -> Any:
    """The same nested tuples, lists and dicts with the function of every leaf; what stands twice is mapped once.

    Raises
    ------
    LoadError
        As ``leaves``.
    """
    done: dict[int, object] = {}

    def walk(part: object, depth: int) -> Any:
        if not isinstance(part, (Mapping, tuple, list)):
            return function(part)
        if depth >= _NESTED:
            raise _too_deep(name)
        if id(part) not in done:
            if isinstance(part, Mapping):
                done[id(part)] = {key: walk(one, depth + 1) for key, one in part.items()}
            else:
                made = [walk(one, depth + 1) for one in part]
                # a named tuple takes its fields one by one
                done[id(part)] = type(part)(*made) if hasattr(part, "_fields") else type(part)(made)
        return done[id(part)]

    return walk(value, 0)


def check_tensor(path: Path, tensor: Tensor) -> None:
    """Refuse a tensor without plain data of its own, or one that is larger than it looks, by strides of zero.

    Raises
    ------
    LoadError
        If it is sparse, quantized or without data, or would not fit into memory.
    """
    if tensor.is_meta or tensor.is_quantized or str(tensor.layout) != "torch.strided" or tensor.is_nested:
        raise LoadError(
            f"while reading {path}: expected dense tensors with data, got one that is "
            f"{'without data' if tensor.is_meta else str(tensor.layout).removeprefix('torch.')}; save it dense"
        )
    check_size(path, tensor.numel() * max(tensor.element_size(), 8))


def _too_deep(name: str) -> LoadError:
    return LoadError(
        f"while reading {name or 'a data set'}: expected at most {_NESTED} levels of tuples, lists and dicts, got "
        "more; give flatter inputs"
    )
