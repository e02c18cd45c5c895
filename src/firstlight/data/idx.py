"""The IDX format of MNIST: a big-endian array with its type and shape in front, plain or gzipped."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from firstlight.data._limits import check_size
from firstlight.doors import checked
from firstlight.errors import LoadError
from firstlight.files import expanded

# the third byte of an IDX file names the type of its entries
DTYPES: dict[int, str] = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_DIMENSIONS = 32  # what every numpy can hold
_GZIP = b"\x1f\x8b"


@checked
def read_idx(path: str | Path) -> np.ndarray:
    """The array in an IDX file, in the machine's own byte order.

    Parameters
    ----------
    path
        The file; gzipped files are recognised by their first bytes, whatever their name.

    Raises
    ------
    LoadError
        If the file cannot be read, is no IDX file, or has more or fewer bytes than its header says.

    References
    ----------
    LeCun, Cortes, Burges, "The MNIST database of handwritten digits", section "The IDX file format".

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from firstlight.data import read_idx
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
    >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    >>> read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    path = expanded(path)
    try:
        with _opened(path) as file:
            shape, dtype = _header(path, file)
            expected = math.prod(shape) * dtype.itemsize
            unpacked = isinstance(file, gzip.GzipFile)
            held = expected if unpacked else path.stat().st_size - file.tell()
            if held == expected:
                check_size(path, expected)
                # a byte more than there should be: a file that goes on is not unpacked to its end
                body = file.read(expected + 1)
                held = len(body)
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        raise LoadError(
            f"while reading {path}: expected a readable IDX file, plain or gzipped, got {type(error).__name__}: "
            f"{error}; fetch the file again"
        ) from error
    if held != expected:
        raise LoadError(
            f"while reading {path}: expected {expected} bytes for shape {shape} of {dtype.name}, got {held}"
            f"{' or more' if unpacked and held == expected + 1 else ''}; the file is "
            f"{'truncated' if held < expected else 'damaged'}"
        )
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _opened(path: Path) -> Any:
    """The file, unpacked as it is read if it is gzipped."""
    with open(path, "rb") as file:
        packed = file.read(2) == _GZIP
    return gzip.open(path, "rb") if packed else open(path, "rb")


def _header(path: Path, file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    first = file.read(4)
    if len(first) < 4 or first[:2] != b"\0\0" or first[2] not in DTYPES or not 0 < first[3] <= _DIMENSIONS:
        raise LoadError(
            f"while reading {path}: expected an IDX file, which starts with two zero bytes, a type and a number of "
            f"dimensions up to {_DIMENSIONS}, got {first.hex(' ') or 'an empty file'}; is the file of another format?"
        )
    rest = file.read(4 * first[3])
    if len(rest) < 4 * first[3]:
        raise LoadError(
            f"while reading {path}: expected a header of {4 + 4 * first[3]} bytes, got {4 + len(rest)}; the file is "
            "truncated"
        )
    return struct.unpack(f">{first[3]}I", rest), np.dtype(DTYPES[first[2]])
