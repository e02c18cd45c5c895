"""Checkpoints: sealed files that are whole or absent, belong to one run, and are read without running anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from firstlight.doors import checked
from firstlight.errors import LoadError
from firstlight.files import (
    SealError,
    WriteError,
    expanded,
    pack_arrays,
    read_sealed,
    unpack_arrays,
    versions,
    write_sealed,
)
from firstlight.files.plain_data import Record

FORMAT = "firstlight-training/2"
_KIND = "checkpoint"


@checked
def save_checkpoint(
    path: str | Path, state: Mapping[str, object], *, identity: Mapping[str, object] | None = None
) -> None:
    """Write a state of tensors, numbers, texts, lists and dicts; an interruption leaves the old file whole.

    The file is sealed: it carries a checksum, what it belongs to, and the versions of firstlight, torch and numpy. Its
    rights are 0600.

    Parameters
    ----------
    path
        Where to; the folder is made if it is missing, with the rights 0700.
    state
        What ``load_checkpoint`` gives back.
    identity
        What the state belongs to, such as settings and digests of the data: texts and numbers.

    Raises
    ------
    DomainError
        If something in the state is none of these.
    WriteError
        If the file cannot be written; it is an ``OSError`` too.

    Examples
    --------
    >>> import tempfile, torch
    >>> from firstlight.training import load_checkpoint, save_checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/run.pt", {"epoch": 3, "w": torch.ones(2)})
    ...     load_checkpoint(f"{folder}/run.pt")["epoch"]
    3
    """
    target = expanded(path)
    body = pack_arrays(state)
    make_parent(target)
    write_sealed(target, _KIND, _whole(identity), body)


def make_parent(target: Path) -> None:
    """The folder of a checkpoint.

    Raises
    ------
    WriteError
        If it cannot be made.
    """
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        failure = WriteError(
            f"while saving a checkpoint: expected to make the folder {target.parent}, got: {error.strerror or error}; "
            "choose another"
        )
        failure.path, failure.reason = target.parent, error.strerror or str(error)
        raise failure from error


@checked
def load_checkpoint(path: str | Path, *, identity: Mapping[str, object] | None = None) -> Record:
    """Read a checkpoint; nothing in it is run.

    Parameters
    ----------
    path
        The file.
    identity
        What it has to belong to; None accepts every owner. With an identity, the versions have to be those of
        this process too.

    Raises
    ------
    LoadError
        If the file is missing, damaged, changed, not one of these checkpoints, or of another identity.
    TrustError
        If it belongs to somebody else, or others may write it.
    """  # noqa: DOC501
    target = expanded(path)
    try:
        state = unpack_arrays(read_sealed(target, _KIND, None if identity is None else _whole(identity)))
    except SealError as error:
        if error.fault == "identity":
            raise
        what = {"absent": "no file", "format": "another or an older format, or a damaged file"}
        raise SealError(
            f"while loading a checkpoint: expected format {FORMAT!r} in {target}, got "
            f"{what.get(error.fault, error)}; delete the file to start anew",
            error.fault,
        ) from error
    if not isinstance(state, dict):
        raise LoadError(
            f"while loading a checkpoint: expected a dict in {target}, got {type(state).__name__}; delete it to start "
            "anew"
        )
    return state


def _whole(identity: Mapping[str, object] | None) -> Record:
    return {"format": FORMAT, **versions(), **(identity or {})}
