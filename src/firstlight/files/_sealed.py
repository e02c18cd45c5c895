"""The one form of what firstlight keeps for itself and reads back: sealed, so that any change is found.

A sealed file is a line of JSON with magic, kind and a SHA-256, a line of JSON with the identity and the length of what
follows, and the body. The SHA-256 is that of everything after the first line, and the first line has one spelling only:
a flipped bit anywhere, a cut or an appendix is found.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from firstlight._version import __version__
from firstlight.errors import DomainError, FirstlightError, LoadError
from firstlight.files._folders import FILE_MODE, check_trust
from firstlight.files._json import from_json, plain, written
from firstlight.files._writing import replace_whole

Fault = Literal["absent", "unreadable", "format", "damaged", "identity"]
_FIRST = re.compile(rb'\{"firstlight-file": 1, "kind": "([a-z-]{1,40})", "sha256": "([0-9a-f]{64})"\}\n')
_LINE = 1 << 24


class SealError(LoadError):
    """A sealed file that is missing, damaged, of another form, or of something else.

    Attributes
    ----------
    fault
        ``"absent"``, ``"unreadable"``, ``"format"`` (no sealed file of this kind), ``"damaged"`` or ``"identity"``.
    identity
        What the file was written for, where ``fault`` is ``"identity"``.
    """

    def __init__(self, message: str, fault: Fault, identity: object = None) -> None:
        super().__init__(message)
        self.fault: Fault = fault
        self.identity = identity


def versions() -> dict[str, str]:
    """The versions that numbers may depend on: of firstlight, numpy and torch."""
    import numpy as np
    import torch

    return {
        "firstlight": __version__,
        "numpy": np.__version__,
        "torch": str(torch.__version__).partition("+")[0],
    }


def seal(kind: str, identity: Mapping[str, object], body: bytes) -> bytes:
    """The bytes of a sealed file; the same arguments give the same bytes."""
    head = written({"identity": _ordered(plain(identity)), "length": len(body)}).encode("utf-8") + b"\n"
    checksum = hashlib.sha256(head)
    checksum.update(body)
    first = f'{{"firstlight-file": 1, "kind": "{kind}", "sha256": "{checksum.hexdigest()}"}}\n'.encode()
    if not _FIRST.fullmatch(first):
        raise DomainError(f"while sealing a file: expected a kind of small letters and '-', got {kind!r}")
    return first + head + body


def write_sealed(path: Path, kind: str, identity: Mapping[str, object], body: bytes) -> None:
    """Write a sealed file, whole or not at all, with the rights 0600.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    replace_whole(path, seal(kind, identity, body), mode=FILE_MODE)


def read_sealed(path: Path, kind: str, identity: Mapping[str, object] | None = None) -> bytes:
    """The body of a sealed file, of this kind and this identity; with None, of any identity.

    The checksum is verified first, before the length and the identity are used.

    Raises
    ------
    SealError
        If it is missing, damaged, of another form or of another identity.
    TrustError
        If it belongs to somebody else, or others may write it.
    """
    doing = f"while reading {path}"
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise SealError(f"{doing}: expected a file, got a device, a pipe or a folder", "unreadable")
            check_trust(facts, path)
            first = file.readline(200)
            match = _FIRST.fullmatch(first)
            if match is None or match[1] != kind.encode():
                raise SealError(
                    f"{doing}: expected a {kind} as this version of firstlight writes it, got "
                    f"{'an empty file' if not first else 'another or an older format, or a damaged file'}",
                    "format",
                )
            head = file.readline(_LINE)
            found, length = _head(head)
            room = facts.st_size - len(first) - len(head)
            if length != room or length > memory():
                raise SealError(
                    f"{doing}: expected {length} bytes of content, got {room}; it is damaged", "damaged"
                )
            body = file.read(length + 1)
    except OSError as error:
        fault: Fault = "absent" if isinstance(error, FileNotFoundError) else "unreadable"
        raise SealError(
            f"{doing}: expected a file that can be read, got: {error.strerror or error}", fault
        ) from error
    checksum = hashlib.sha256(head)
    checksum.update(body)
    if checksum.hexdigest().encode() != match[2] or len(body) != length:
        raise SealError(
            f"{doing}: expected content that fits its checksum, got other content; it is damaged", "damaged"
        )
    if identity is not None and found != _ordered(plain(identity)):
        raise SealError(
            f"{doing}: expected a {kind} of {_difference(_ordered(plain(identity)), found)}",
            "identity",
            found,
        )
    return body


def _without_waiting(path: str, flags: int) -> int:
    """Open, also a pipe to which nobody writes."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _head(line: bytes) -> tuple[Any, int]:
    """Identity and length, as far as a line can be read: what is wrong in it, the checksum finds."""
    try:
        data = from_json(line)
        length = data["length"]
        return _ordered(plain(data["identity"])), length if isinstance(length, int) else -1
    except (FirstlightError, KeyError, TypeError):
        return None, -1


def _ordered(value: object) -> Any:
    """Dicts by the order of their keys, at any depth."""
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(inside) for inside in value] if isinstance(value, list) else value


def _difference(wanted: object, found: object) -> str:
    """Where two identities differ, in a few words."""
    if not isinstance(wanted, dict) or not isinstance(found, dict):
        return f"{wanted!r:.80}, got one of {found!r:.80}"
    names = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
    ours, theirs = ({name: part.get(name) for name in names} for part in (wanted, found))
    return f"{ours!r:.300}, got one of {theirs!r:.300}"


def memory() -> float:
    """Bytes of this machine's memory: nothing larger can be read; without end where the system does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return float("inf")
