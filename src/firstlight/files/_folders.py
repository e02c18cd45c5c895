"""Folders that are ours alone, names for files in them, and the lock that keeps other processes out."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from firstlight.errors import FirstlightError, LoadError, RunError
from firstlight.files._writing import WriteError, expanded

FOLDER_MODE, FILE_MODE = 0o700, 0o600


class TrustError(LoadError):
    """A file or a folder that others may change, so that nothing is read from it."""


def own_folder(path: str | os.PathLike[str]) -> Path:
    """The folder, made with the rights 0700 where it is missing; refused where others may write.

    Parameters
    ----------
    path
        The folder; those above it are made as any new folder.

    Raises
    ------
    TrustError
        If the folder belongs to somebody else, or a group or everybody may write in it.
    WriteError
        If it cannot be made.
    """  # noqa: DOC501
    folder = expanded(path)
    try:
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        check_trust(folder.stat(), folder)
    except (OSError, ValueError) as error:
        if isinstance(error, FirstlightError):
            raise
        failure = WriteError(
            f"while making the folder {folder}: expected a place that can be written to, got: "
            f"{getattr(error, 'strerror', None) or error}; choose another"
        )
        failure.path, failure.reason = folder, getattr(error, "strerror", None) or str(error)
        raise failure from error
    return folder


def check_folder(folder: Path) -> None:
    """Refuse a folder that others may write in.

    Raises
    ------
    TrustError
        If it is so.
    """
    check_trust(folder.stat(), folder)


def check_trust(facts: os.stat_result, path: Path) -> None:
    """Refuse what belongs to somebody else, or what others may write.

    Raises
    ------
    TrustError
        If it is so; systems without owners refuse nothing.
    """
    if not hasattr(os, "geteuid"):
        return
    kind = "folder" if stat.S_ISDIR(facts.st_mode) else "file"
    owner = os.geteuid()
    if facts.st_uid != owner:
        raise TrustError(
            f"while opening the {kind} {path}: expected that it belongs to this user ({owner}), got the owner "
            f"{facts.st_uid}, who could change what is read; choose another, or make a copy of your own"
        )
    if facts.st_mode & 0o022:
        raise TrustError(
            f"while opening the {kind} {path}: expected that its owner alone may write, got the rights "
            f"{stat.S_IMODE(facts.st_mode):04o}, by which others could change what is read; run "
            f"`chmod go-w {path}`, or choose another"
        )


def named_inside(folder: str | os.PathLike[str], name: str, suffix: str) -> Path:
    """The file in a folder that stands for a name from outside, whatever the name holds.

    The readable part of the name is followed by a digest of all of it: different names never meet, and no name leads
    out of the folder.

    Examples
    --------
    >>> from firstlight.files import named_inside
    >>> named_inside("runs", "../data/set.npz-tanh", ".pt").as_posix()
    'runs/data-set.npz-tanh-ac789fd3e0.pt'
    """
    readable = re.sub(r"[^A-Za-z0-9._]+", "-", name).strip(".-")[-60:].strip(".-")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return expanded(folder) / f"{readable}{'-' if readable else ''}{digest}{suffix}"


@contextmanager
def locked(path: Path, doing: str, *, wait: float = 0.0, keep: bool = False) -> Iterator[None]:
    """Keep other processes of this machine out; the lock dies with its process.

    Parameters
    ----------
    path
        The file that is locked; it is made, and removed at the end unless ``keep`` is set.
    doing
        What is done meanwhile, for the message.
    wait
        Seconds to wait for another process.
    keep
        Whether the file stays.

    Raises
    ------
    RunError
        If another process holds the lock, or the file cannot be made.
    """
    import filelock

    lock = filelock.FileLock(path, timeout=wait, mode=FILE_MODE)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise RunError(
            f"while {doing}: expected to work alone, got another process at work in it; wait for it"
        ) from error
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"while {doing}: expected to lock {path}, got: {reason}; choose a folder that can be written to"
        ) from error
    try:
        yield
    finally:
        if not keep:
            # while it is held: the next process makes a new one
            with contextlib.suppress(OSError):
                path.unlink()
        lock.release()
