"""Files that are whole or not there: atomic writes, and shards with a checksum."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from firstlight.errors import RunError

_MAGIC = b"firstlight-shard/1\n"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that at every moment, kill -9 included, it is whole or as it was before.

    The bytes go to a temporary neighbour, are forced to the disk, and take the name in one step.

    Raises
    ------
    RunError
        The disk is full or refuses; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        hint = "free some space and resume" if full else "check the folder and resume"
        raise RunError(
            f"while writing {path.name} into '{path.parent}': expected {len(data)} bytes to fit, got "
            f"{error.strerror or error}; {hint}, what is finished is kept"
        ) from error


def encode_shard(plan: str, index: int, arrays: Mapping[str, np.ndarray]) -> bytes:
    """A shard as bytes: a line of format, a line of JSON with a checksum, and an npz archive.

    The same arrays give the same bytes: the archive carries no dates.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in sorted(arrays):
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.asarray(arrays[name], order="C"), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy")
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, entry.getvalue())
    body = buffer.getvalue()
    head = {"plan": plan, "shard": index, "sha256": hashlib.sha256(body).hexdigest()}
    return _MAGIC + json.dumps(head).encode() + b"\n" + body


def decode_shard(data: bytes, plan: str, index: int) -> dict[str, np.ndarray]:
    """The arrays of a shard.

    Raises
    ------
    RunError
        Cut short, changed, of another plan or of another number.
    """
    magic, _, rest = data.partition(b"\n")
    line, _, body = rest.partition(b"\n")
    try:
        head = json.loads(line)
        wrong = (
            "the format" if magic + b"\n" != _MAGIC
            else "the plan" if head["plan"] != plan
            else "the number" if head["shard"] != index
            else "the checksum" if head["sha256"] != hashlib.sha256(body).hexdigest()
            else ""
        )  # fmt: skip
    except (ValueError, KeyError, TypeError):
        wrong = "the header"
    if wrong:
        raise RunError(f"while reading shard {index}: {wrong} is not what it should be; compute it again")
    with np.load(io.BytesIO(body), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
