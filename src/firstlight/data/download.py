"""Fetch an official file when the user asks for it: checked against its digest, and never half-written."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import tarfile
import tempfile
import urllib.parse
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from firstlight.doors import checked
from firstlight.errors import LoadError, in_one_line
from firstlight.files import expanded

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
        ``"sha256:…"`` of the bytes served, in hexadecimal. MD5 is refused: two files can be made with one MD5.
    archive
        Whether it is a tar archive to unpack.
    limit
        Bytes at most, served and unpacked each; a server that sends more is left.
    """

    url: str
    path: str
    digest: str
    archive: bool = False
    limit: int = 1 << 30


@checked
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
        The address does not begin with https (a file, or a server on this machine, may). The server cannot be reached,
        refuses, or sends more than the limit. The digest is wrong. The archive holds a file outside its folder. The
        directory cannot be written.

    Examples
    --------
    >>> import hashlib, pathlib, tempfile
    >>> from firstlight.data import RemoteFile, fetch
    >>> there, here = (pathlib.Path(tempfile.mkdtemp()) for _ in range(2))
    >>> _ = (there / "a.bin").write_bytes(b"light")
    >>> digest = "sha256:" + hashlib.sha256(b"light").hexdigest()
    >>> fetch(RemoteFile((there / "a.bin").as_uri(), "set/a.bin", digest), here).read_bytes()
    b'light'
    """  # noqa: DOC501
    _check(file)
    target = expanded(directory) / file.path
    if target.exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
            part = Path(folder) / "part"
            _download(file, part, timeout)
            os.replace(_unpack(file, part, target.name) if file.archive else part, target)
    except (OSError, tarfile.TarError, EOFError, ValueError, zlib.error, http.client.HTTPException) as error:
        if isinstance(error, LoadError):
            raise
        raise LoadError(
            f"while downloading {file.url}: expected to write {target}, got {type(error).__name__}: {error}; "
            f"check the network and the folder, or put the file there yourself"
        ) from error
    return target


def _check(file: RemoteFile) -> None:
    """Refuse an address that anybody on the way could change, a digest that is none, and a path that leads out."""
    _check_address(file.url, file.url)
    if not re.fullmatch(r"sha256:[0-9a-f]+", file.digest):
        raise LoadError(
            f"while downloading {file.url}: expected a digest of the form sha256:… in hexadecimal digits, got "
            f"{file.digest!r:.90}; write the SHA-256 of the file"
        )
    parts = PurePosixPath(file.path).parts
    if not parts or ".." in parts or PurePosixPath(file.path).is_absolute():
        raise LoadError(
            f"while downloading {file.url}: expected a path inside the data folder, got {file.path!r}; give such a path"
        )


def _check_address(asked: str, address: str) -> None:
    parts = urllib.parse.urlsplit(address)
    here = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme not in ("https", "file") and not here:
        raise LoadError(
            f"while downloading {asked}: expected an address with https, got {address!r}; give such an address, or put "
            "the file there yourself"
        )


def _download(file: RemoteFile, part: Path, timeout: float) -> None:
    expected = file.digest.removeprefix("sha256:")
    digest = hashlib.sha256()
    with urllib.request.urlopen(file.url, timeout=timeout) as answer, part.open("wb") as out:
        _check_address(file.url, answer.geturl())  # a server may have sent us elsewhere
        got = 0
        while chunk := answer.read(_CHUNK):
            got += len(chunk)
            if got > file.limit:
                raise LoadError(
                    f"while downloading {file.url}: expected at most {file.limit} bytes, got more; nothing was kept"
                )
            digest.update(chunk)
            out.write(chunk)
    if digest.hexdigest() != expected:
        raise LoadError(
            f"while downloading {file.url}: expected sha256 {expected}, got {digest.hexdigest()} "
            f"({part.stat().st_size} bytes); the download is damaged or is another file; nothing was kept"
        )


def _unpack(file: RemoteFile, part: Path, name: str) -> Path:
    """Unpack an archive next to itself; everything in it must lie in the folder ``name``."""
    with tarfile.open(part) as archive:
        size = 0
        for member in archive:  # one after another: what is too large is not unpacked to find that out
            size += member.size
            if size > file.limit:
                raise LoadError(
                    f"while unpacking {file.url}: expected at most {file.limit} bytes, got more; nothing was kept"
                )
            if PurePosixPath(member.name).parts[:1] != (name,):
                raise LoadError(
                    f"while unpacking {file.url}: expected everything in {name}/, got {member.name!r}; "
                    "nothing was kept"
                )
        try:
            archive.extractall(part.parent, filter="data")
        except tarfile.FilterError as error:  # a link or a name that leads out, a device
            raise LoadError(
                f"while unpacking {file.url}: expected files and folders in {name}/, got {in_one_line(error)}; "
                "nothing was kept"
            ) from error
    if not (part.parent / name).is_dir():
        raise LoadError(f"while unpacking {file.url}: expected a folder {name}/, got none; nothing was kept")
    return part.parent / name
