"""Structures with arrays as bytes and back, without pickle: what sealed files hold."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from firstlight.errors import DomainError, LoadError
from firstlight.files._json import from_json, to_json

_KEY = "$array"  # stands where an array was
_PLAIN = re.compile(r"[<|][biufc]\d{1,2}")  # how numpy writes its types of numbers, little-endian


def pack_arrays(value: object) -> bytes:
    """Dicts, lists, texts and numbers, with numpy arrays and tensors among them, as bytes.

    The same value gives the same bytes. Arrays keep type, shape and every bit; tuples come back as lists.

    Raises
    ------
    DomainError
        If something else is inside, such as an array of objects or a tensor without memory of its own.
    """
    entries: list[dict[str, object]] = []
    parts: list[bytes] = []
    tree = _taken_out(value, entries, parts)
    raw = b"".join(parts)
    line = to_json({"tree": tree, "arrays": entries, "length": len(raw)}).encode("utf-8")
    return line + b"\n" + zlib.compress(raw, 1)


def unpack_arrays(data: bytes) -> Any:
    """The inverse of ``pack_arrays``; sizes are checked before anything is made.

    Raises
    ------
    LoadError
        If the bytes are no such structure.
    """  # noqa: DOC501
    line, _, packed = data.partition(b"\n")
    try:
        head = from_json(line)
        sizes = [_size(entry) for entry in head["arrays"]]
        if sum(sizes) != head["length"]:
            raise ValueError(f"arrays of {sum(sizes)} bytes in {head['length']}")
        stream = zlib.decompressobj()
        raw = stream.decompress(packed, head["length"] + 1)
        if len(raw) != head["length"]:
            raise ValueError(f"{len(raw)} bytes or more of {head['length']}")
        arrays, start = [], 0
        for entry, size in zip(head["arrays"], sizes, strict=True):
            arrays.append(_array(entry, raw[start : start + size]))
            start += size
        return _put_back(head["tree"], arrays)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, zlib.error, RecursionError) as error:
        raise LoadError(
            f"while reading arrays: expected what firstlight packed, got {type(error).__name__}: {error}"
        ) from error


def _taken_out(value: Any, entries: list[dict[str, Any]], parts: list[bytes]) -> Any:
    if isinstance(value, Mapping):
        if _KEY in value:
            raise DomainError(f"while packing arrays: expected other keys than {_KEY!r}")
        return {str(key): _taken_out(inside, entries, parts) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_taken_out(inside, entries, parts) for inside in value]
    if not hasattr(value, "dtype") or isinstance(value, np.generic):
        return value
    library = "numpy" if isinstance(value, np.ndarray) else "torch"
    raw, dtype = _numpy_bytes(value) if library == "numpy" else _torch_bytes(value)
    entries.append({"library": library, "dtype": dtype, "shape": list(value.shape)})
    parts.append(raw)
    return {_KEY: len(entries) - 1}


def _numpy_bytes(array: np.ndarray) -> tuple[bytes, str]:
    if array.dtype.kind not in "biufc":
        raise DomainError(f"while packing arrays: expected numbers, got an array of {array.dtype}")
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return little.tobytes(order="C"), little.dtype.str


def _torch_bytes(tensor: object) -> tuple[bytes, str]:
    import torch

    if (
        not isinstance(tensor, torch.Tensor)
        or tensor.layout != torch.strided
        or tensor.is_quantized
        or tensor.is_meta
    ):
        raise DomainError(
            f"while packing arrays: expected dense tensors with data, got {type(tensor).__name__} {tensor!r:.60}"
        )
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"", str(tensor.dtype).removeprefix(
        "torch."
    )


def _size(entry: Any) -> int:
    """Bytes of an array by its entry, checked to be one that is packed."""
    shape = entry["shape"]
    if not (isinstance(shape, list) and len(shape) <= 64 and all(type(n) is int and n >= 0 for n in shape)):
        raise ValueError(f"an array of shape {shape!r:.60}")
    return math.prod(shape) * _dtype(entry).itemsize


def _dtype(entry: Any) -> Any:
    if entry["library"] == "numpy":
        # numpy reads more than names of types, and older versions warn of some of that
        if not _PLAIN.fullmatch(str(entry["dtype"])):
            raise ValueError(f"an array of {entry['dtype']!r:.40}")
        return np.dtype(str(entry["dtype"]))
    import torch

    found = getattr(torch, str(entry["dtype"]), None)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"a tensor of {entry['dtype']!r:.40}")
    return found


def _array(entry: Any, raw: bytes) -> Any:
    dtype, shape = _dtype(entry), entry["shape"]
    if isinstance(dtype, np.dtype):
        return np.frombuffer(raw, dtype).astype(dtype.newbyteorder("="), copy=True).reshape(shape)
    import torch

    if not raw:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(dtype).reshape(shape)


def _put_back(value: object, arrays: list[object]) -> Any:
    if isinstance(value, dict):
        if _KEY in value:
            return arrays[value[_KEY]]
        return {key: _put_back(inside, arrays) for key, inside in value.items()}
    return [_put_back(inside, arrays) for inside in value] if isinstance(value, list) else value
