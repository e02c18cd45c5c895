"""A reader of pickled arrays that can run no code: only arrays, lists, dicts, bytes, numbers and texts."""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from firstlight.data._limits import check_size
from firstlight.doors import checked
from firstlight.errors import LoadError
from firstlight.files import expanded

_MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
_KINDS = "biuf"
_NESTED = 64


class _Dtype:
    """Stands in for ``numpy.dtype``: keeps the code and the byte order, and nothing else."""

    def __init__(self, code: str | bytes, *_: object) -> None:
        self.code = code.decode("ascii") if isinstance(code, bytes) else str(code)
        self.order = "="

    def __setstate__(self, state: tuple[object, ...]) -> None:
        order = state[1]
        self.order = order.decode("ascii") if isinstance(order, bytes) else str(order)

    def resolve(self) -> np.dtype[Any]:
        dtype = np.dtype(self.code)
        if dtype.kind not in _KINDS:
            raise pickle.UnpicklingError(f"an array of {dtype}, which may hold objects")
        return dtype.newbyteorder(">" if self.order == ">" else "<" if self.order == "<" else "=")


class _Array:
    """Stands in for ``numpy.ndarray``: keeps the shape and the bytes until ``resolve``."""

    value: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        if not (isinstance(dtype, _Dtype) and isinstance(raw, bytes)):
            raise pickle.UnpicklingError("an array without plain bytes")
        entries = np.frombuffer(raw, dtype.resolve())
        if entries.size != math.prod(shape):
            raise pickle.UnpicklingError(f"{entries.size} entries for an array of shape {shape}")
        self.value = entries.reshape(shape, order="F" if fortran else "C")


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "_codecs" and name == "encode":  # how Python 3 writes bytes in an old protocol
            # one of its own for each time: a file may write attributes on what it names
            return lambda text, encoding="latin1": _encode(text, encoding)
        if module in _MODULES and name == "_reconstruct":
            return lambda *_: _Array()
        if module == "numpy" and name == "ndarray":
            return type("_Array", (_Array,), {})
        if module == "numpy" and name == "dtype":
            return type("_Dtype", (_Dtype,), {})
        raise pickle.UnpicklingError(f"it names {module}.{name}, which could run code")

    def persistent_load(self, pid: object) -> NoReturn:
        raise pickle.UnpicklingError("it refers to an object outside the file")


@checked
def read_pickle(path: str | Path) -> Any:
    """The plain data in a pickle, read without the power to run anything.

    Parameters
    ----------
    path
        The file. Texts written by Python 2 come back as bytes, as the CIFAR files need.

    Returns
    -------
    Any
        Nested lists, tuples and dicts of numpy arrays of numbers, bytes, texts, numbers and None.

    Raises
    ------
    LoadError
        If the file cannot be read, is damaged, or names any class or function beyond numpy's arrays.

    Examples
    --------
    >>> import pickle, tempfile, pathlib
    >>> import numpy as np
    >>> from firstlight.data import read_pickle
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "batch"
    >>> _ = path.write_bytes(pickle.dumps({b"data": np.arange(3, dtype=np.uint8)}, protocol=2))
    >>> read_pickle(path)
    {b'data': array([0, 1, 2], dtype=uint8)}
    """
    path = expanded(path)
    try:
        check_size(path, path.stat().st_size)
        raw = path.read_bytes()
        _scan(raw)
        return _resolve(_Reader(io.BytesIO(raw), encoding="bytes").load(), {}, 0)
    except LoadError:
        raise
    except OSError as error:
        raise LoadError(
            f"while reading {path}: expected a readable file, got {error}; check the path"
        ) from error
    except Exception as error:  # a damaged pickle can raise nearly anything; all of it means the same
        raise LoadError(
            f"while reading {path}: expected a pickle of plain arrays, lists and dicts, got "
            f"{type(error).__name__}: {error}; fetch the file again from its official source"
        ) from error


def _scan(raw: bytes) -> None:
    """Refuse what asks for more than the file holds, before the reader makes room for it."""
    held = len(raw)
    for operation, argument, _ in pickletools.genops(raw):
        if (
            operation.name in ("PUT", "BINPUT", "LONG_BINPUT")
            and isinstance(argument, int)
            and argument > held
        ):
            raise pickle.UnpicklingError(f"a number {argument} in a file of {held} bytes")
        if operation.name in ("EXT1", "EXT2", "EXT4"):
            raise pickle.UnpicklingError("a name by its number")


def _resolve(value: object, done: dict[int, object], depth: int) -> Any:
    """The plain data; what stands in many places is made once, and what holds itself is refused."""
    if isinstance(value, _Array):
        if value.value is None:
            raise pickle.UnpicklingError("an array without contents")
        return value.value
    if not isinstance(value, (dict, list, tuple)):
        if isinstance(value, _Dtype) or callable(value):
            raise pickle.UnpicklingError("something that is no plain data")
        return value
    if depth > _NESTED:
        raise pickle.UnpicklingError(f"more than {_NESTED} levels of lists, or a list that holds itself")
    if id(value) not in done:
        if isinstance(value, dict):
            done[id(value)] = {key: _resolve(part, done, depth + 1) for key, part in value.items()}
        else:
            done[id(value)] = type(value)(_resolve(part, done, depth + 1) for part in value)
    return done[id(value)]
