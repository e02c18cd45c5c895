"""IDX files of every type, and every way in which one can be broken."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from firstlight.data import read_idx
from firstlight.errors import LoadError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array: np.ndarray) -> bytes:
    code = CODES[array.dtype.str[1:]]
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("code", CODES)
def test_reads_every_type_plain_and_gzipped(tmp_path, code, packed):
    array = np.arange(-12, 12).astype(code).reshape(2, 3, 4)
    raw = idx_bytes(array)
    (tmp_path / "a").write_bytes(gzip.compress(raw) if packed else raw)
    got = read_idx(tmp_path / "a")
    assert got.dtype == np.dtype(code)
    assert got.dtype.isnative
    np.testing.assert_array_equal(got, array)


@given(
    array=st.sampled_from(sorted(CODES)).flatmap(
        lambda code: hnp.arrays(code, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
    )
)
def test_what_is_written_is_read_back(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("idx") / "a"
    path.write_bytes(idx_bytes(array))
    np.testing.assert_array_equal(read_idx(path), array)


GOOD = idx_bytes(np.arange(6, dtype="u1").reshape(2, 3))
BROKEN = {
    "empty": (b"", "empty file"),
    "magic": (b"\x01" + GOOD[1:], "01 00 08 02"),
    "type": (GOOD[:2] + b"\x0a" + GOOD[3:], "00 00 0a 02"),
    "no dimensions": (GOOD[:3] + b"\x00" + GOOD[4:], "00 00 08 00"),
    "short header": (GOOD[:9], "expected a header of 12 bytes, got 9"),
    "truncated": (GOOD[:-1], "expected 6 bytes .* got 5; the file is truncated"),
    "too long": (GOOD + b"\0", "got 7; the file is damaged"),
    "huge": (GOOD[:4] + b"\xff" * 8 + GOOD[12:], "truncated"),
    "gzip cut": (gzip.compress(GOOD)[:-9], "fetch the file again"),
    "gzip damaged": (gzip.compress(GOOD)[:-8] + b"\0" * 8, "fetch the file again"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_a_load_error_that_says_how(tmp_path, case):
    raw, message = BROKEN[case]
    (tmp_path / "a").write_bytes(raw)
    with pytest.raises(LoadError, match=message):
        read_idx(tmp_path / "a")


def test_a_missing_file_is_a_load_error(tmp_path):
    with pytest.raises(LoadError, match="FileNotFoundError"):
        read_idx(tmp_path / "none")
