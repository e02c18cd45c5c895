"""What a checkpoint belongs to: digests of data and of architectures, by which a resumed run knows its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from functools import cached_property
from types import CodeType, ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

# what torch keeps beside a module's own settings
_OF_TORCH = frozenset(vars(nn.Module())) | {"training"}


@runtime_checkable
class Digest(Protocol):
    """What bytes are fed to, as to the digests of hashlib."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""


def fingerprint(value: object) -> str:
    """A digest of a value by what it holds: numbers, texts, tensors, functions by their code, objects by their fields.

    Of a module: its class, its settings, the names, shapes and types of its parameters, its buffers, its children.
    The values of parameters, and the statistics that norms keep, are left out: training changes them.

    Examples
    --------
    >>> import torch
    >>> from firstlight.training._identity import fingerprint
    >>> fingerprint(torch.ones(3)) == fingerprint(torch.ones(3).double())
    False
    >>> fingerprint(torch.nn.ELU(0.5)) == fingerprint(torch.nn.ELU(0.4))
    False
    """
    digest = hashlib.sha256()
    _feed(digest, value, [])
    return digest.hexdigest()


def _feed(digest: Digest, value: Any, above: list[int]) -> None:
    if value is None or isinstance(value, bool | float | complex | str | bytes | torch.dtype | torch.device):
        digest.update(f"{type(value).__name__} {value!r};".encode("utf-8", "surrogatepass"))
    elif isinstance(value, Tensor | np.ndarray):
        _array(digest, value)
    elif id(value) in above:
        digest.update(f"above {len(above) - above.index(id(value))};".encode())
    else:
        _inside(digest, value, [*above, id(value)])


def _array(digest: Digest, value: Any) -> None:
    digest.update(f"{type(value).__name__} {value.dtype} {tuple(value.shape)};".encode())
    if isinstance(value, Tensor):
        flat = value.detach().cpu().to_dense() if value.layout != torch.strided else value.detach().cpu()
        flat = flat.resolve_conj().resolve_neg().contiguous().reshape(-1)
        value = flat.view(torch.uint8).numpy() if flat.numel() else np.empty(0, np.uint8)
    digest.update(
        repr(value.tolist()).encode() if value.dtype == object else np.ascontiguousarray(value).tobytes()
    )


def _inside(digest: Digest, value: Any, above: list[int]) -> None:
    if isinstance(value, Mapping):
        digest.update(f"dict {len(value)};".encode())
        for key, part in value.items():
            _feed(digest, key, above)
            _feed(digest, part, above)
    elif isinstance(value, AbstractSet):
        digest.update(f"set {sorted(fingerprint(part) for part in value)};".encode())
    elif isinstance(value, list | tuple):
        digest.update(f"{type(value).__name__} {len(value)};".encode())
        for part in value:
            _feed(digest, part, above)
    elif isinstance(value, nn.Module):
        _module(digest, value, above)
    elif isinstance(value, type | ModuleType):
        digest.update(
            f"{getattr(value, '__module__', '')} {getattr(value, '__qualname__', value.__name__)};".encode()
        )
    elif hasattr(value, "__code__"):
        _function(digest, value, above)
    else:
        kind = type(value)
        digest.update(f"{kind.__module__} {kind.__qualname__} {getattr(value, '__qualname__', '')};".encode())
        _feed(digest, getattr(value, "__self__", None) if kind.__name__ == "method" else None, above)
        _feed(digest, _settings(value), above)
        slots = [
            name for part in kind.__mro__ for name in getattr(part, "__slots__", ()) if name != "__dict__"
        ]
        _feed(digest, {name: getattr(value, name, None) for name in slots if isinstance(name, str)}, above)


def _settings(value: object) -> dict[str, Any]:
    """An object's public attributes by name, without what it has worked out and keeps."""
    if is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in fields(value) if not f.name.startswith("_")}
    own = getattr(value, "__dict__", {})
    kept = {name for name in own if isinstance(getattr(type(value), name, None), cached_property)}
    return {name: own[name] for name in sorted(own) if not name.startswith("_") and name not in kept}


def _module(digest: Digest, module: nn.Module, above: list[int]) -> None:
    digest.update(f"module {type(module).__module__} {type(module).__qualname__};".encode())
    digest.update(module.extra_repr().encode("utf-8", "surrogatepass"))
    for name, parameter in module._parameters.items():
        facts = (
            None
            if parameter is None
            else (str(parameter.dtype), tuple(parameter.shape), parameter.requires_grad)
        )
        digest.update(f"parameter {name} {facts};".encode())
    keeps_statistics = hasattr(module, "track_running_stats")
    for name, buffer in module._buffers.items():
        digest.update(f"buffer {name};".encode())
        if not keeps_statistics:
            _feed(digest, buffer, above)
    settings = {name: part for name, part in _settings(module).items() if name not in _OF_TORCH}
    _feed(digest, settings, above)
    for name, child in module._modules.items():
        digest.update(f"child {name};".encode())
        _feed(digest, child, above)


def _function(digest: Digest, function: Any, above: list[int]) -> None:
    _code(digest, function.__code__)
    _feed(digest, getattr(function, "__defaults__", None), above)
    _feed(digest, getattr(function, "__kwdefaults__", None), above)
    for cell in getattr(function, "__closure__", None) or ():
        try:
            _feed(digest, cell.cell_contents, above)
        except ValueError:  # a cell that is not filled yet
            digest.update(b"empty;")
    _feed(digest, getattr(function, "__self__", None), above)


def _code(digest: Digest, code: CodeType) -> None:
    digest.update(f"code {code.co_name} {code.co_names} ".encode())
    digest.update(code.co_code)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _code(digest, constant)
        else:
            _feed(digest, constant, [])
