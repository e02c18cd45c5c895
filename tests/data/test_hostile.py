"""Hostile and damaged files: one clear sentence each, nothing run, and nothing made before sizes are known."""

import contextlib
import gzip
import io
import os
import pickle
import random
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from firstlight import data
from firstlight.data import RemoteFile, fetch, read_arrays, read_idx, read_pickle
from firstlight.errors import FirstlightError, LoadError


class Evil:
    def __reduce__(self):
        return os.system, ("touch ran",)


def npy(header, payload=b""):
    text = header.encode() + b" " * ((64 - (11 + len(header)) % 64) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + payload


def described(shape, dtype="<f8", payload=b""):
    return npy(repr({"descr": dtype, "fortran_order": False, "shape": shape}), payload)


def npz(**members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, raw in members.items():
            archive.writestr(f"{name}.npy", raw)
    return out.getvalue()


def objects():
    out = io.BytesIO()
    np.save(out, np.array([Evil()], dtype=object), allow_pickle=True)
    return out.getvalue()


IDX = bytes([0, 0, 8, 3]) + struct.pack(">III", 5, 4, 4) + bytes(80)
PICKLED = pickle.dumps({b"data": np.zeros((3, 30), np.uint8), b"labels": [0, 1, 2]}, protocol=2)
LAUGHS = b"\x80\x02]q\x00K\x01a" + b"".join(
    b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(60)
)

FILES = {
    "a.idx dimensions of one": (bytes([0, 0, 8, 100]) + struct.pack(">I", 1) * 100 + b"x", read_idx),
    "a.idx sizes of 2^32": (bytes([0, 0, 8, 3]) + struct.pack(">III", *[2**32 - 1] * 3) + b"x", read_idx),
    "a.gz bomb": (gzip.compress(IDX[:16] + bytes(50 << 20)), read_idx),
    "a.gz size that lies": (
        gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 2**32 - 1) + bytes(9)),
        read_idx,
    ),
    "a.gz cut": (gzip.compress(IDX)[:-4], read_idx),
    "objects.npz": (npz(inputs=objects()), read_arrays),
    "pickle.npz": (npz(inputs=pickle.dumps(Evil())), read_arrays),
    "itself.npz": (pickle.dumps(Evil()), read_arrays),
    "1e12.npz": (npz(inputs=described((10**12,))), read_arrays),
    "3e9.npz": (npz(inputs=described((3 * 10**9,), "|u1", b"abc")), read_arrays),
    "negative.npz": (npz(inputs=described((-5,), payload=bytes(40))), read_arrays),
    "overflow.npz": (npz(inputs=described((2**32, 2**32, 16), payload=bytes(40))), read_arrays),
    "axes.npz": (npz(inputs=described((1,) * 100, payload=bytes(8))), read_arrays),
    "nested.npz": (npz(inputs=npy("(" * 5000)), read_arrays),
    "text.npz": (npz(inputs=described((1,), "<U4", bytes(16))), read_arrays),
    "evil.pt": (pickle.dumps(Evil()), read_arrays),
    "header.safetensors": (struct.pack("<Q", 2**60) + b"{}", read_arrays),
    "evil.pickle": (pickle.dumps({b"data": Evil()}), read_pickle),
    "dotted.pickle": (b"\x80\x04\x8c\x05numpy\x8c\x11dtype.__globals__\x93.", read_pickle),
    "itself.pickle": (b"\x80\x02]q\x00h\x00a.", read_pickle),
    "nested.pickle": (b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b".", read_pickle),
    "bytes.pickle": (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc", read_pickle),
    "memo.pickle": (b"\x80\x02]r\xff\xff\xff\x7f.", read_pickle),
    "extension.pickle": (b"\x80\x02\x82\x01.", read_pickle),
}


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused_in_one_sentence(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    raw, read = FILES[name]
    path = tmp_path / name
    path.write_bytes(raw)
    with pytest.raises(LoadError, match="while reading"):
        read(path)
    assert not (tmp_path / "ran").exists()


def test_lists_that_hold_each_other_cost_no_more_than_the_file(tmp_path):
    (tmp_path / "a").write_bytes(LAUGHS + b".")
    assert len(read_pickle(tmp_path / "a")) == 2  # 2⁶⁰ ones, if each were made anew
    shared = [torch.ones(2, 1)]
    for _ in range(60):
        shared = [shared, shared]
    torch.save({"inputs": shared}, tmp_path / "a.pt")
    assert len(data.load(str(tmp_path / "a.pt"), count=1)) == 1


def test_a_file_cannot_change_the_reader(tmp_path):
    (tmp_path / "a").write_bytes(
        b"\x80\x02c_codecs\nencode\nN}X\x0c\x00\x00\x00__defaults__X\x03\x00\x00\x00abcs\x86b0}."
    )
    with pytest.raises(LoadError):
        read_pickle(tmp_path / "a")
    (tmp_path / "b").write_bytes(pickle.dumps(b"abc", protocol=2))
    assert read_pickle(tmp_path / "b") == b"abc"


def test_a_tensor_that_is_larger_than_its_file_is_refused(tmp_path):
    torch.save({"inputs": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "a.pt")
    with pytest.raises(LoadError, match="half of the memory"):
        read_arrays(tmp_path / "a.pt")
    torch.save({"inputs": torch.eye(3).to_sparse()}, tmp_path / "b.pt")
    with pytest.raises(LoadError, match="dense tensors"):
        read_arrays(tmp_path / "b.pt")


def test_an_honest_bomb_is_refused_by_its_header(tmp_path, monkeypatch):
    """Two files of 64 MB of zeros in 64 kB, on a machine that has so much and no more: their headers are enough."""
    monkeypatch.setattr("firstlight.data._limits.memory", lambda: float(64 << 20))
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("inputs.npy", "w") as member,
    ):
        member.write(described((4, 16 << 20), "|u1"))
        for _ in range(4):
            member.write(bytes(16 << 20))
    with gzip.open(tmp_path / "b.gz", "wb", compresslevel=1) as file:
        file.write(bytes([0, 0, 8, 2]) + struct.pack(">II", 4, 16 << 20))
        file.write(bytes(16 << 20))  # the rest is not even looked at
    for read, name in ((read_arrays, "a.npz"), (read_idx, "b.gz")):
        with pytest.raises(LoadError, match="by the file's header"):
            read(tmp_path / name)


def seeds():
    out = io.BytesIO()
    np.savez(out, inputs=np.asfortranarray(np.ones((3, 4))))
    tensors = io.BytesIO()
    torch.save({"inputs": torch.zeros(4, 3)}, tensors)
    from safetensors.torch import save

    return {
        "a.idx": (IDX, read_idx, 20),
        "a.npz": (out.getvalue(), read_arrays, 10**9),
        "a.pt": (tensors.getvalue(), read_arrays, 10**9),
        "a.safetensors": (save({"inputs": torch.zeros(4, 3)}), read_arrays, 10**9),
        "a.pickle": (PICKLED, read_pickle, 250),
    }


@pytest.mark.parametrize("name", ["a.idx", "a.npz", "a.pt", "a.safetensors", "a.pickle"])
def test_damaged_files_give_our_error_or_an_array(tmp_path, name):
    whole, read, front = seeds()[name]
    rng, path = random.Random(0), tmp_path / name
    for number in range(120):
        raw = bytearray(whole)
        if number % 4 == 0:
            raw = raw[: rng.randrange(len(raw))]
        else:
            for _ in range(rng.randint(1, 4)):
                raw[rng.randrange(min(len(raw), front))] = rng.randrange(256)
        path.write_bytes(raw)
        with contextlib.suppress(FirstlightError):
            read(path)


def test_downloads_have_a_limit_an_address_and_a_place(tmp_path):
    (tmp_path / "there").write_bytes(b"light")
    url, digest = (tmp_path / "there").as_uri(), "sha256:00"
    for file, message in (
        (RemoteFile("http://example.org/x", "a", digest), "expected an address with https"),
        (RemoteFile("ftp://example.org/x", "a", digest), "expected an address with https"),
        (RemoteFile(url, "../a", digest), "inside the data folder"),
        (RemoteFile(url, "/a", digest), "inside the data folder"),
        (RemoteFile(url, "a", "crc32:00"), "expected a digest"),
        (RemoteFile(url, "a", "nothing"), "expected a digest"),
        (RemoteFile(url, "a", digest, limit=4), "at most 4 bytes"),
    ):
        with pytest.raises(LoadError, match=message):
            fetch(file, tmp_path / "here")
    assert all(not list(folder.rglob("*")) for folder in [tmp_path / "here"] if folder.exists())


def test_an_archive_is_unpacked_up_to_its_limit(tmp_path):
    import hashlib

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        entry = tarfile.TarInfo("set/zeros")
        entry.size = 8 << 20
        archive.addfile(entry, io.BytesIO(bytes(entry.size)))
    (tmp_path / "a.tgz").write_bytes(out.getvalue())
    digest = "sha256:" + hashlib.sha256(out.getvalue()).hexdigest()
    file = RemoteFile((tmp_path / "a.tgz").as_uri(), "set", digest, archive=True, limit=1 << 20)
    with pytest.raises(LoadError, match=r"while unpacking.*at most"):
        fetch(file, tmp_path / "here")
    assert list((tmp_path / "here").iterdir()) == []
