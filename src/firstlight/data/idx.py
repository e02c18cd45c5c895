"""The IDX format of MNIST: a big-endian array with its type and shape in front, plain or gzipped."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from firstlight.errors import LoadError

# the third byte of an IDX file names the type of its entries
DTYPES: dict[int, str] = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP = b"\x1f\x8b"


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
    path = Path(path)
    raw = _contents(path)
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in DTYPES or raw[3] == 0:
        raise LoadError(
            f"while reading {path}: expected an IDX file, which starts with two zero bytes, a type and a "
            "number of "
            f"dimensions, got {raw[:4].hex(' ') or 'an empty file'}; is it another format, or damaged?"
        )
    dimensions, start = raw[3], 4 + 4 * raw[3]
    if len(raw) < start:
        raise LoadError(
            f"while reading {path}: expected a header of {start} bytes, got {len(raw)}; the file is truncated"
        )
    shape = struct.unpack(f">{dimensions}I", raw[4:start])
    dtype = np.dtype(DTYPES[raw[2]])
    expected = math.prod(shape) * dtype.itemsize
    if len(raw) - start != expected:
        raise LoadError(
            f"while reading {path}: expected {expected} bytes for shape {shape} of {dtype.name}, "
            f"got {len(raw) - start}; the file is {'truncated' if len(raw) - start < expected else 'damaged'}"
        )
    return np.frombuffer(raw, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _contents(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw[:2] == _GZIP else raw
    except (OSError, EOFError, zlib.error) as error:
        raise LoadError(
            f"while reading {path}: expected a readable IDX file, plain or gzipped, got "
            f"{type(error).__name__}: "
            f"{error}; fetch the file again"
        ) from error
