"""The image sets, read from the directory layout that torchvision keeps them in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from firstlight.data.download import RemoteFile, fetch
from firstlight.data.idx import read_idx
from firstlight.data.unpickle import read_pickle
from firstlight.doors import checked
from firstlight.errors import LoadError, did_you_mean
from firstlight.files import expanded


@dataclass(frozen=True)
class ImageSet:
    """An official image set: its folder, its files, and how many samples of which shape it must hold."""

    title: str
    folder: str
    shape: tuple[int, ...]
    remote: tuple[RemoteFile, ...]
    classes: int = 10


def _idx_set(title: str, folder: str, base: str, digests: dict[str, str]) -> ImageSet:
    remote = tuple(
        RemoteFile(f"{base}{name}.gz", f"{folder}/{name}.gz", f"sha256:{digest}")
        for name, digest in digests.items()
    )
    return ImageSet(title, folder, (1, 28, 28), remote)


# digests of the files that their authors serve
IMAGE_SETS: dict[str, ImageSet] = {
    "mnist": _idx_set(
        "MNIST",
        "MNIST/raw",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
    ),
    "fashion-mnist": _idx_set(
        "Fashion-MNIST",
        "FashionMNIST/raw",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        {
            "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
    ),
    "cifar10": ImageSet(
        "CIFAR-10",
        "cifar-10-batches-py",
        (3, 32, 32),
        (
            RemoteFile(
                "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
                "cifar-10-batches-py",
                "sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
                archive=True,
            ),
        ),
    ),
}


@checked
def read_images(
    name: str, directory: str | Path, *, train: bool = True, download: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and classes of an image set.

    Parameters
    ----------
    name
        ``"mnist"``, ``"fashion-mnist"`` or ``"cifar10"``.
    directory
        The folder that holds ``MNIST/raw``, ``FashionMNIST/raw`` or ``cifar-10-batches-py``.
    train
        The training part, else the test part.
    download
        Fetch what is missing from the official server first.

    Returns
    -------
    tuple of arrays
        uint8 pixels ``(samples, channels, height, width)`` and int64 classes ``(samples,)``.

    Raises
    ------
    LoadError
        If a file is missing, damaged, or does not hold what its set must hold.
    """
    if name not in IMAGE_SETS:
        raise LoadError(
            f"while reading images: expected {', '.join(IMAGE_SETS)}, got {name!r}{did_you_mean(str(name), IMAGE_SETS)}"
        )
    images = IMAGE_SETS[name]
    directory = expanded(directory)
    if download:
        fetch_images(name, directory)
    folder = Path(directory) / images.folder
    pixels, classes = _cifar(folder, train) if name == "cifar10" else _idx(folder, train)
    pixels = pixels.reshape(len(pixels), *images.shape)
    _check(folder, images, pixels, classes)
    return pixels, classes.astype(np.int64)


def fetch_images(name: str, directory: str | Path) -> None:
    """Fetch the files of an image set that a folder lacks from the official server.

    Raises
    ------
    LoadError
        No such image set, or a download that fails.
    """
    if name not in IMAGE_SETS:
        raise LoadError(
            f"while fetching images: expected {', '.join(IMAGE_SETS)}, got {name!r}{did_you_mean(name, IMAGE_SETS)}"
        )
    for file in IMAGE_SETS[name].remote:
        if not _present(expanded(directory) / file.path):
            fetch(file, directory)


def _present(path: Path) -> bool:
    return path.exists() or (path.suffix == ".gz" and path.with_suffix("").exists())


def _find(path: Path) -> Path:
    """The file, plain or gzipped."""
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    raise LoadError(
        f"while looking for {path.name}: expected {path} (or .gz), got no such file; "
        "give the folder that holds torchvision's data sets, or fetch them with --download (download=True)"
    )


def _idx(folder: Path, train: bool) -> tuple[np.ndarray, np.ndarray]:
    part = "train" if train else "t10k"
    images, labels = (_find(folder / f"{part}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    pixels, classes = read_idx(images), read_idx(labels)
    for path, array, shape in ((images, pixels, (28, 28)), (labels, classes, ())):
        if array.dtype != np.uint8 or array.shape[1:] != shape:
            raise LoadError(
                f"while reading {path}: expected unsigned bytes of shape {('samples', *shape)}, got "
                f"{array.dtype} of "
                f"shape {array.shape}; is this another data set?"
            )
    return pixels, classes


def _cifar(folder: Path, train: bool) -> tuple[np.ndarray, np.ndarray]:
    names = [f"data_batch_{number}" for number in range(1, 6)] if train else ["test_batch"]
    pixels, classes = [], []
    for name in names:
        path = folder / name
        if not path.is_file():
            raise LoadError(
                f"while looking for {name}: expected {path}, got no such file; "
                "give the folder that holds torchvision's data sets, or fetch them with --download (download=True)"
            )
        batch = read_pickle(path)
        rows = batch.get(b"data") if isinstance(batch, dict) else None
        labels = batch.get(b"labels") if isinstance(batch, dict) else None
        if not (isinstance(rows, np.ndarray) and rows.dtype == np.uint8 and rows.shape[1:] == (3072,)):
            raise LoadError(
                f"while reading {path}: expected unsigned bytes of shape (samples, 3072) under 'data', "
                f"got {getattr(rows, 'shape', type(rows).__name__)}; is this another data set?"
            )
        if not (isinstance(labels, list) and all(type(label) is int for label in labels)):
            raise LoadError(
                f"while reading {path}: expected a list of whole numbers under 'labels', got none"
            )
        if len(labels) != len(rows):
            raise LoadError(
                f"while reading {path}: expected {len(rows)} labels, got {len(labels)}; the file is damaged"
            )
        pixels.append(rows)
        classes.append(np.asarray(labels, np.int64))
    return np.concatenate(pixels), np.concatenate(classes)


def _check(folder: Path, images: ImageSet, pixels: np.ndarray, classes: np.ndarray) -> None:
    if len(pixels) != len(classes) or len(pixels) == 0:
        raise LoadError(
            f"while reading {images.title} in {folder}: expected one class per image and at least one image, "
            f"got {len(pixels)} images and {len(classes)} classes; fetch the files again"
        )
    if classes.min() < 0 or classes.max() >= images.classes:
        raise LoadError(
            f"while reading {images.title} in {folder}: expected classes 0 to {images.classes - 1}, "
            f"got {classes.min()} to {classes.max()}; fetch the files again"
        )
