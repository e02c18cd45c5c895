"""Fetch an official file when the user asks for it: checked against its digest, and never half-written."""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from firstlight.errors import LoadError

_CHUNK = 1 << 20


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server and where it belongs.

    Attributes
    ----------
    url
        Where it is served.
    path
        Where it is kept, relative to the data directory; for an archive, the folder that it unpacks to.
    digest
        ``"md5:…"`` or ``"sha256:…"`` of the bytes served, in hexadecimal.
    archive
        Whether it is a tar archive to unpack.
    """

    url: str
    path: str
    digest: str
    archive: bool = False


def fetch(file: RemoteFile, directory: str | Path, *, timeout: float = 30.0) -> Path:
    """Download one file into a data directory; a file that is there already is left alone.

    The bytes go to a temporary neighbour first and take their place only when the digest is right, so an
    interrupted or damaged download leaves nothing behind.

    Parameters
    ----------
    file
        What to fetch.
    directory
        The data directory; made if it is missing.
    timeout
        Seconds without an answer from the server before giving up.

    Returns
    -------
    Path
        The file, or the unpacked folder.

    Raises
    ------
    LoadError
        If the server cannot be reached or refuses, the digest is wrong, the archive holds anything outside
        its folder, or the directory cannot be written.

    Examples
    --------
    >>> import hashlib, pathlib, tempfile
    >>> from firstlight.data import RemoteFile, fetch
    >>> there, here = (pathlib.Path(tempfile.mkdtemp()) for _ in range(2))
    >>> _ = (there / "a.bin").write_bytes(b"light")
    >>> digest = "sha256:" + hashlib.sha256(b"light").hexdigest()
    >>> fetch(RemoteFile((there / "a.bin").as_uri(), "set/a.bin", digest), here).read_bytes()
    b'light'
    """
    target = Path(directory) / file.path
    if target.exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
            part = Path(folder) / "part"
            _download(file, part, timeout)
            os.replace(_unpack(file, part, target.name) if file.archive else part, target)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise LoadError(
            f"while downloading {file.url}: expected to write {target}, got {type(error).__name__}: {error}; "
            f"check the network and the folder, or put the file there yourself"
        ) from error
    return target


def _download(file: RemoteFile, part: Path, timeout: float) -> None:
    algorithm, expected = file.digest.split(":")
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with urllib.request.urlopen(file.url, timeout=timeout) as answer, part.open("wb") as out:
        while chunk := answer.read(_CHUNK):
            digest.update(chunk)
            out.write(chunk)
    if digest.hexdigest() != expected:
        raise LoadError(
            f"while downloading {file.url}: expected {algorithm} {expected}, got {digest.hexdigest()} "
            f"({part.stat().st_size} bytes); the download is damaged or is another file; nothing was kept"
        )


def _unpack(file: RemoteFile, part: Path, name: str) -> Path:
    """Unpack an archive next to itself; everything in it must lie in the folder ``name``."""
    with tarfile.open(part) as archive:
        for member in archive.getmembers():
            if PurePosixPath(member.name).parts[:1] != (name,):
                raise LoadError(
                    f"while unpacking {file.url}: expected everything in {name}/, got {member.name!r}; "
                    "nothing was kept"
                )
        archive.extractall(part.parent, filter="data")
    return part.parent / name
