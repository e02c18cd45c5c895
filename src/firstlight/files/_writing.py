"""Writing a report whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from firstlight.errors import FirstlightError


class WriteError(FirstlightError, OSError):
    """A report that could not be written."""


def write_whole(path: str | os.PathLike[str], text: str | bytes) -> Path:
    """Write a file so that it is there whole or not at all; text goes in UTF-8.

    The content goes to a temporary file in the same folder, which then takes the place of ``path`` in one step;
    a reader never sees half a file and a failure leaves what was there before.

    Parameters
    ----------
    path
        Where to write; its folder must exist.
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

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(f"{folder}/report.html", "<p>σ</p>").read_text(encoding="utf-8")
    '<p>σ</p>'
    """
    target = Path(path)
    temporary: str | None = None
    try:
        content = text if isinstance(text, bytes) else text.encode("utf-8")
        if target.is_dir():
            raise IsADirectoryError(21, "a folder where a file is meant")
        if target.exists() and not target.is_file():
            # a pipe or a device, such as /dev/stdout, is written to and never replaced
            with open(target, "wb") as stream:
                stream.write(content)
            return target
        # a link is followed, so that the file it names is replaced and not the link
        folder = target.resolve().parent
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name[:80]}.", suffix=".part", dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode(target))
        os.replace(temporary, target.resolve())
    except (OSError, UnicodeEncodeError) as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        reason = getattr(error, "strerror", None) or str(error)
        raise WriteError(
            f"while writing {target}: expected a file in a folder that can be written to, got: {reason}; "
            "nothing was written"
        ) from error
    return target


def _mode(target: Path) -> int:
    """The permissions a plain ``open`` leaves: those of the file replaced, else what the umask allows."""
    if target.exists():
        return target.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask
