"""Where a verb writes: every path is expanded and tried before work begins, and a failure late loses nothing else."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from firstlight.errors import LoadError
from firstlight.files import WriteError, check_folder, expanded, write_whole

STDOUT = "-"


# a parser, or a group of one
Arguments: TypeAlias = argparse._ActionsContainer


def output_file(text: str) -> str:
    """The type of an argument that names a file to write."""
    return text


def output_json(text: str) -> str:
    """The type of an argument that names a file to write, or ``-`` for standard output."""
    return text


def output_folder(text: str) -> str:
    """The type of an argument that names a folder of a run or of checkpoints."""
    return text


def report_arguments(to: Arguments, what: str, *, page: str = "a self-contained HTML report") -> None:
    """Add ``--html`` and ``--json``, which every verb has: a page, and ``what`` as JSON."""
    to.add_argument("--html", type=output_file, metavar="PATH", help=f"write {page}")
    to.add_argument(
        "--json",
        type=output_json,
        metavar="PATH",
        help=f"write {what} as JSON; `-` for standard output, alone",
    )


@runtime_checkable
class Writable(Protocol):
    """What a text can be printed to: standard output, or a stream of ours around it."""

    def write(self, text: str, /) -> object:
        """Take a text."""


class Outputs:
    """The files that a verb was asked for; what cannot be written is said at the end, and the rest is written."""

    def __init__(self) -> None:
        self.failures: list[WriteError] = []

    def write(self, path: str | None, content: str | bytes | Callable[[], str | bytes]) -> None:
        """Write one file, if it was asked for."""
        if path is None:
            return
        try:
            write_whole(path, content() if callable(content) else content)
        except WriteError as error:
            self.failures.append(error)

    def json(self, path: str | None, text: str, stream: Writable | None = None) -> None:
        """Write a JSON text to its file, or to standard output for ``-``."""
        if path == STDOUT:
            out = sys.stdout if stream is None else stream
            print(encodable(text, out), file=out)
        else:
            self.write(path, text.removesuffix("\n") + "\n")


def encodable(text: str, out: object) -> str:
    """A JSON text that survives the stream's encoding: escaped where that is not UTF-8."""
    encoding = (getattr(out, "encoding", None) or "utf-8").lower().replace("-", "").replace("_", "")
    return text if encoding == "utf8" else json.dumps(json.loads(text))


def checked_outputs(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Outputs:
    """Expand every path that a verb will write, and try each, before anything is run.

    Raises
    ------
    LoadError
        If a path cannot be written, or two flags name one file.
    """
    files: dict[Path, str] = {}
    for action in parser._actions:
        value = getattr(args, action.dest, None)
        if action.type not in (output_file, output_json, output_folder) or value is None:
            continue
        if value == STDOUT and action.type is output_json:
            continue
        flag = action.option_strings[-1]
        path = expanded(value)
        reason = _reason(value, path, folder=action.type is output_folder)
        if reason:
            kind = (
                "a folder that can be made or written to"
                if action.type is output_folder
                else ("a path for a file, in a folder that exists and can be written to")
            )
            raise LoadError(f"while checking {flag} {value}: expected {kind}, got {reason}; nothing was run")
        other = files.setdefault(path.resolve(), flag)
        if other != flag:
            raise LoadError(
                f"while checking {other} and {flag}: expected two files, got {value} twice; nothing was run"
            )
        setattr(args, action.dest, str(path))
    return Outputs()


def _reason(value: str, path: Path, *, folder: bool) -> str:
    """Why nothing can be written there; empty where it can."""
    try:
        if not value:
            return "an empty path"
        if folder:
            return _folder_reason(path)
        if path.is_dir():
            return "a folder"
        if path.exists() and not path.is_file():
            return "" if os.access(path, os.W_OK) else "a device or a pipe without the right to write"
        place = path.resolve().parent
        if not place.is_dir():
            return f"no folder {place}"
        return _unwritable(place) or _too_long(place, path.name)
    except (OSError, ValueError, RuntimeError) as error:
        return str(getattr(error, "strerror", None) or error)


def _folder_reason(path: Path) -> str:
    if path.exists():
        if not path.is_dir():
            return "a file"
        check_folder(path)
        return _unwritable(path)
    above = next((one for one in path.resolve().parents if one.exists()), None)
    if above is None or not above.is_dir():
        return f"{above}, which is no folder, above it"
    return _unwritable(above)


def _unwritable(place: Path) -> str:
    """What the system says when a file is made there."""
    if not os.access(place, os.W_OK):
        return f"no right to write in {place}"
    try:
        with tempfile.TemporaryFile(dir=place):
            return ""
    except OSError as error:
        return f"no right to write in {place} ({error.strerror or error})"


def _too_long(place: Path, name: str) -> str:
    os.lstat(place)
    return "a name of more than 255 bytes" if len(os.fsencode(name)) > 255 else ""
