"""Sealed files: any change is found, other identities and other owners are refused, old formats too."""

import contextlib
import json
import os
import random
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firstlight.errors import DomainError, FirstlightError, LoadError
from firstlight.files import (
    SealError,
    TrustError,
    pack_arrays,
    read_sealed,
    unpack_arrays,
    versions,
    write_sealed,
)

IDENTITY = {"b": 1, "a": {"x": [1.5, float("inf")], "text": "σ"}}


@pytest.fixture
def sealed(tmp_path):
    path = tmp_path / "a.sealed"
    write_sealed(path, "thing", IDENTITY, b"body" * 20)
    return path


def test_a_body_comes_back_and_the_rights_are_its_owners(sealed):
    assert read_sealed(sealed, "thing", IDENTITY) == b"body" * 20
    assert (
        read_sealed(sealed, "thing", {"a": IDENTITY["a"], "b": 1}) == b"body" * 20
    )  # the order of keys is no matter
    assert sealed.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in sealed.parent.iterdir()] == ["a.sealed"]


def test_every_single_flipped_bit_is_found(sealed):
    data = sealed.read_bytes()
    for place in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            sealed.write_bytes(changed)
            with pytest.raises(SealError):
                read_sealed(sealed, "thing")


def test_cuts_appendices_and_swapped_bytes_are_found(sealed):
    data = sealed.read_bytes()
    rng = random.Random(0)
    changes = [data[:length] for length in range(len(data))] + [data + b"\n", data + data, b"\n" + data]
    for _ in range(200):
        a, b = sorted(rng.sample(range(len(data)), 2))
        if data[a] != data[b]:
            changes.append(data[:a] + data[b : b + 1] + data[a + 1 : b] + data[a : a + 1] + data[b + 1 :])
    for changed in changes:
        sealed.write_bytes(changed)
        with pytest.raises(SealError):
            read_sealed(sealed, "thing")


def test_another_kind_another_identity_and_no_file_are_told_apart(sealed):
    def fault(path, kind, identity=None):
        with pytest.raises(SealError) as caught:
            read_sealed(path, kind, identity)
        return caught.value.fault

    assert fault(sealed, "other") == "format"
    assert fault(sealed, "thing", {"b": 2}) == "identity"
    assert fault(sealed.with_name("none"), "thing") == "absent"
    assert fault(sealed.parent, "thing") == "unreadable"
    sealed.write_bytes(b"PK\x03\x04 an older checkpoint")
    assert fault(sealed, "thing") == "format"


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SealError, match="a pipe"):
        read_sealed(tmp_path / "pipe", "thing")


@pytest.mark.parametrize("rights", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(sealed, rights):
    sealed.chmod(rights)
    with pytest.raises(TrustError, match=r"others could change.*chmod go-w"):
        read_sealed(sealed, "thing")


def test_a_file_of_somebody_else_is_refused(sealed, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: sealed.stat().st_uid + 1)
    with pytest.raises(TrustError, match="belongs to this user"):
        read_sealed(sealed, "thing")


def test_a_length_that_lies_reads_nothing(tmp_path, sealed):
    line, _, rest = sealed.read_bytes().partition(b"\n")
    sealed.write_bytes(line + b"\n" + rest.replace(b'"length": 80', b'"length": 1000000000000'))
    with pytest.raises(SealError, match="damaged"):
        read_sealed(sealed, "thing")


def test_versions_are_those_of_this_process():
    assert versions()["numpy"] == np.__version__
    assert set(versions()) == {"firstlight", "numpy", "torch"}


ARRAYS = [
    np.arange(6, dtype=np.int16).reshape(2, 3)[:, ::-1],
    np.array(3.5),
    np.zeros((0, 4), np.float32),
    np.array([np.nan, -0.0, np.inf]),
    np.ones(3, ">f8"),
    np.array([True, False]),
    torch.randn(3, 2, dtype=torch.bfloat16, generator=torch.Generator().manual_seed(0)).T,
    torch.tensor(7),
    torch.zeros(0, 3, dtype=torch.int64),
    torch.tensor([1 + 2j]).conj(),
    torch.nn.Parameter(torch.ones(2)),
]


def test_arrays_keep_type_shape_and_every_bit():
    tree = {"a": ARRAYS, "b": {"c": (1, None, float("nan"), "text")}}
    back = unpack_arrays(pack_arrays(tree))
    for before, after in zip(ARRAYS, back["a"], strict=True):
        assert tuple(before.shape) == tuple(after.shape)
        if isinstance(before, np.ndarray):
            assert after.dtype == before.dtype.newbyteorder("=")
            assert np.array_equal(before, after, equal_nan=before.dtype.kind == "f")
        else:
            assert after.dtype == before.dtype
            assert torch.equal(before.detach(), after)
    assert back["b"]["c"][:2] == [1, None]
    assert np.signbit(back["a"][3][1])
    assert pack_arrays(tree) == pack_arrays(tree)


@pytest.mark.parametrize(
    "value",
    [np.array([object()]), np.array(["text"]), torch.ones(2).to_sparse(), torch.empty(2, device="meta"),
     {"$array": 0}, {1j}],
)  # fmt: skip
def test_what_cannot_be_packed_is_refused(value):
    with pytest.raises(DomainError, match="expected"):
        pack_arrays({"a": value})


@given(st.binary(max_size=200), st.integers(0, 10_000))
def test_no_bytes_do_more_than_raise_our_error(noise, place):
    data = bytearray(pack_arrays({"a": np.arange(20.0), "b": torch.ones(3)}))
    place %= len(data)
    data[place : place + len(noise)] = noise
    for candidate in (noise, bytes(data)):
        with contextlib.suppress(FirstlightError):
            unpack_arrays(candidate)


@pytest.mark.parametrize(
    "line",
    [
        b'{"tree": 0, "arrays": [{"library": "numpy", "dtype": "<f8", "shape": [1000000000]}], "length": 8}',
        b'{"tree": {"$array": 0}, "arrays": [{"library": "numpy", "dtype": "O", "shape": [1]}], "length": 8}',
        b'{"tree": {"$array": 0}, "arrays": [{"library": "torch", "dtype": "load", "shape": [1]}], "length": 8}',
        b'{"tree": {"$array": 5}, "arrays": [], "length": 0}',
        b'{"tree": {"$array": 0}, "arrays": [{"library": "numpy", "dtype": "<f8", "shape": [-1]}], "length": -8}',
    ],
)
def test_lying_heads_make_nothing(line):
    with pytest.raises(LoadError, match="while reading arrays"):
        unpack_arrays(line + b"\n" + struct.pack("<d", 1.0))


@pytest.mark.parametrize("dtype", ["1f8", "O", "f8,f8", ">f8", "(2,)f8", "S3", "<f99", "float64"])
def test_a_type_of_numbers_is_written_as_numpy_writes_it_or_refused(dtype):
    head = {
        "tree": {"$array": 0},
        "arrays": [{"library": "numpy", "dtype": dtype, "shape": [1]}],
        "length": 8,
    }
    with pytest.raises(LoadError, match="expected what firstlight packed"):
        unpack_arrays(json.dumps(head).encode() + b"\n" + zlib.compress(bytes(8)))
