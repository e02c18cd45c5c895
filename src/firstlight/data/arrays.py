"""Arrays in a user's own file: ``.npz``, ``.safetensors`` or ``.pt``, read without running anything."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from firstlight.errors import LoadError

SUFFIXES = (".npz", ".safetensors", ".pt", ".pth")
# names under which files keep their inputs and their targets, by part
_NAMES = {
    True: (("inputs", "targets"), ("x", "y"), ("x_train", "y_train"), ("train_images", "train_labels")),
    False: (("test_inputs", "test_targets"), ("x_test", "y_test"), ("test_images", "test_labels")),
}


def read_arrays(path: str | Path, *, train: bool = True) -> tuple[Any, Tensor | None]:
    """Inputs and targets in a file of arrays.

    Parameters
    ----------
    path
        ``.npz``, ``.safetensors``, ``.pt`` or ``.pth``. The inputs are under ``inputs``, ``x``, ``x_train``
        or ``train_images``, the targets under ``targets``, ``y``, ``y_train`` or ``train_labels``; a single
        array is the inputs, and a ``.pt`` file may hold a tensor or a pair.
    train
        False to look for ``test_inputs``, ``x_test`` or ``test_images`` first.

    Returns
    -------
    tuple
        The inputs, and the targets or None.

    Raises
    ------
    LoadError
        If the file is missing or damaged, would need code to be read, or has no array of a known name.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from firstlight.data import read_arrays
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "set.npz"
    >>> np.savez(path, inputs=np.zeros((2, 3)), targets=np.array([0, 1]))
    >>> read_arrays(path)[1]
    tensor([0, 1])
    """
    path = Path(path)
    if not path.is_file():
        raise LoadError(f"while reading {path}: expected a file, got none there; check the path")
    readers = {".npz": _npz, ".safetensors": _safetensors}
    try:
        content = readers.get(path.suffix.lower(), _torch)(path)
    except ImportError as error:
        raise LoadError(
            f"while reading {path}: safetensors is not installed; `pip install 'firstlight[io]'`"
        ) from error
    except pickle.UnpicklingError as error:
        raise LoadError(
            f"while reading {path}: expected nothing but tensors and plain containers, got a file that "
            "would run "
            "code when read; save the tensors alone, as torch.save({'inputs': x, 'targets': y}, path)"
        ) from error
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
    except Exception as error:
        if type(error).__module__.startswith("safetensors"):
            raise _damaged(path, error) from error
        raise
    return _choose(path, content, train)


def _damaged(path: Path, error: Exception) -> LoadError:
    return LoadError(
        f"while reading {path}: expected a {path.suffix} file of arrays, got {type(error).__name__}: "
        f"{error}; "
        "is it damaged, or of another format?"
    )


def _npz(path: Path) -> dict[str, Tensor]:
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        # torch knows no foreign byte order
        arrays = {name: np.asarray(archive[name]) for name in archive.files}
    return {name: torch.from_numpy(a.astype(a.dtype.newbyteorder("="))) for name, a in arrays.items()}


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(path))


def _torch(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _choose(path: Path, content: Any, train: bool) -> tuple[Any, Tensor | None]:
    if isinstance(content, Tensor):
        return content, None
    if isinstance(content, (tuple, list)) and len(content) == 2 and isinstance(content[1], Tensor):
        return content[0], content[1]
    if isinstance(content, Mapping):
        for inputs, targets in (*_NAMES[train], *_NAMES[True]):
            if inputs in content:
                return content[inputs], content.get(targets)
        if len(content) == 1:
            return next(iter(content.values())), None
        got = f"the names {', '.join(map(str, content)) or '(none)'}"
    else:
        got = type(content).__name__
    raise LoadError(
        f"while reading {path}: expected one array, or arrays named inputs and targets (or x and y), got "
        f"{got}; "
        "rename them"
    )
