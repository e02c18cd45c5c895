"""Checkpoints that are whole or absent, and that can be read without running anything."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from firstlight.errors import LoadError

FORMAT = "firstlight-training/1"


def save_checkpoint(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write a state of tensors, numbers, texts, lists and dicts; an interruption leaves the old file whole.

    Parameters
    ----------
    path
        Where to; the folder is made if it is missing.
    state
        What ``torch.load(weights_only=True)`` can read back.

    Raises
    ------
    LoadError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile, torch
    >>> from firstlight.training import load_checkpoint, save_checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/run.pt", {"epoch": 3, "w": torch.ones(2)})
    ...     load_checkpoint(f"{folder}/run.pt")["epoch"]
    3
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise LoadError(
            f"while saving a checkpoint: cannot write to {path.parent}: {error.strerror}"
        ) from error
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint; nothing in it is run.

    Raises
    ------
    LoadError
        If the file is missing, damaged, or not one of these checkpoints.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise LoadError(
            f"while loading a checkpoint: expected a file of firstlight.training at {path}, got "
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}; delete it to start anew"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise LoadError(
            f"while loading a checkpoint: expected format {FORMAT!r} in {path}, got something else; "
            "delete it to start anew"
        )
    return state
