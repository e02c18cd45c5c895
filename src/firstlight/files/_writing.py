"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from pathlib import Path

from firstlight.errors import ArgumentError, FirstlightError

_TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.part")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class WriteError(FirstlightError, OSError):
    """A file that could not be written.

    Attributes
    ----------
    path
        The file.
    reason
        What the system said.
    full
        Whether the disk, a quota or a limit of size was the reason.
    """

    path: Path = Path()
    reason: str = ""
    full: bool = False


def write_whole(path: str | os.PathLike[str], text: str | bytes) -> Path:
    """Write a file so that it is there whole or not at all; text goes in UTF-8.

    The content goes to a temporary file in the same folder, which then takes the place of ``path`` in one step;
    a reader never sees half a file and a failure leaves what was there before.

    Parameters
    ----------
    path
        Where to write; its folder must exist. A leading ``~`` is the home folder.
    text
        What to write.

    Returns
    -------
    Path
        The path written.

    Raises
    ------
    WriteError
        If the file cannot be written; it is an ``OSError`` too.
    ArgumentError
        If the path is neither a text nor a path.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(f"{folder}/report.html", "<p>σ</p>").read_text(encoding="utf-8")
    '<p>σ</p>'
    """
    if not isinstance(path, str | os.PathLike):
        raise ArgumentError(f"while writing a file: expected path to be a text or a path, got {path!r:.80}")
    return replace_whole(expanded(path), text, mode=None)


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with ``~`` and ``~name`` as home folders, where there are such."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # nobody of this name
        return Path(path)


def replace_whole(target: Path, content: str | bytes, *, mode: int | None) -> Path:
    """``write_whole`` with the permissions of the file; None for those that a plain ``open`` leaves."""
    temporary: str | None = None
    try:
        data = content if isinstance(content, bytes) else content.encode("utf-8")
        if target.is_dir():
            raise IsADirectoryError(21, "a folder where a file is meant")
        if mode is None and target.exists() and not target.is_file():
            # a pipe or a device, such as /dev/stdout, is written to and never replaced
            with open(target, "wb") as stream:
                stream.write(data)
            return target
        # a link is followed, so that the file it names is replaced and not the link; but not out of our own folders
        place = target.resolve() if mode is None else target
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name[:40]}.", suffix=".part", dir=place.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode(target) if mode is None else mode)
        os.replace(temporary, place)
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        full = getattr(error, "errno", None) in _FULL
        failure = WriteError(
            f"while writing {target}: expected a file in a folder that can be written to, got: {reason}; "
            f"nothing was written{', free some space and try again' if full else ''}"
        )
        failure.path, failure.reason, failure.full = target, reason, full
        raise failure from error
    finally:
        # also when the user stops us: of a write that succeeded nothing has this name any more
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    return target


def sweep_leftovers(folder: Path, name: str | None = None) -> None:
    """Delete what writers left that were killed: our own temporary files, of one target or of all.

    The caller holds the folder's lock, so no living writer has such a file.
    """
    for path in folder.glob(".*.part"):
        found = _TEMPORARY.fullmatch(path.name)
        if found is not None and (name is None or found[1] == name[:40]) and not path.is_dir():
            with contextlib.suppress(OSError):
                path.unlink()


def _mode(target: Path) -> int:
    """The permissions a plain ``open`` leaves: those of the file replaced, else what the umask allows."""
    if target.exists():
        return target.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask
