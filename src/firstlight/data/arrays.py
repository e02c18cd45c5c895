"""Arrays in a user's own file: ``.npz``, ``.safetensors`` or ``.pt``, read without running anything."""

from __future__ import annotations

import math
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firstlight.data._limits import check_size, check_tensor, leaves
from firstlight.doors import checked
from firstlight.errors import LoadError
from firstlight.files import expanded

SUFFIXES = (".npz", ".safetensors", ".pt", ".pth")
# names under which files keep their inputs and their targets, by part
_NAMES = {
    True: (("inputs", "targets"), ("x", "y"), ("x_train", "y_train"), ("train_images", "train_labels")),
    False: (("test_inputs", "test_targets"), ("x_test", "y_test"), ("test_images", "test_labels")),
}


@checked
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
    """  # noqa: DOC501
    path = expanded(path)
    if not path.is_file():
        raise LoadError(f"while reading {path}: expected a file, got none there; check the path")
    readers = {".npz": _npz, ".safetensors": _safetensors}
    try:
        content = readers.get(path.suffix.lower(), _torch)(path)
        for leaf in leaves(content, str(path)):
            if isinstance(leaf, Tensor):
                check_tensor(path, leaf)
    except LoadError:
        raise
    except ImportError as error:
        raise LoadError(
            f"while reading {path}: safetensors is not installed; `pip install safetensors`"
        ) from error
    except pickle.UnpicklingError as error:
        raise LoadError(
            f"while reading {path}: expected only tensors and plain containers, got a file that would run code when "
            "read; save the tensors alone, as torch.save({'inputs': x, 'targets': y}, path)"
        ) from error
    except Exception as error:  # a damaged file can raise nearly anything; all of it means the same
        raise _damaged(path, error) from error
    return _choose(path, content, train)


def _damaged(path: Path, error: Exception) -> LoadError:
    return LoadError(
        f"while reading {path}: expected a {path.suffix} file of arrays, got {type(error).__name__}: "
        f"{error}; "
        "is it damaged, or of another format?"
    )


def _npz(path: Path) -> dict[str, Tensor]:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = [entry.filename.removesuffix(".npy") for entry in entries]
        if len(set(names)) != len(names):
            raise ValueError("two arrays of one name")
        sizes = [_npy_size(archive, entry) for entry in entries]
        check_size(path, sum(sizes))
        return {name: _npy(archive, entry) for name, entry in zip(names, entries, strict=True)}


def _npy_size(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> int:
    """Bytes of an array by its header, which have to be those of its entry in the archive."""
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or any(n < 0 for n in shape) or file.tell() + size != entry.file_size:
            raise ValueError(f"an array {shape} of {dtype} in {entry.file_size} bytes")
    return size


def _npy(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Tensor:
    with archive.open(entry) as file:
        array = np.asarray(np.lib.format.read_array(file, allow_pickle=False))
    # torch knows no foreign byte order
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    check_size(path, path.stat().st_size)
    return dict(load_file(path))


def _torch(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_size(path, sum(entry.file_size for entry in archive.infolist()))
    else:
        check_size(path, path.stat().st_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about files that are refused the next moment
        return torch.load(path, map_location="cpu", weights_only=True)


def _choose(path: Path, content: object, train: bool) -> tuple[Any, Tensor | None]:
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
