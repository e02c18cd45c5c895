"""The image sets, read from the directory layout that torchvision keeps them in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from firstlight.data.download import RemoteFile, fetch
from firstlight.data.idx import read_idx
from firstlight.data.unpickle import read_pickle
from firstlight.errors import LoadError


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
        RemoteFile(f"{base}{name}.gz", f"{folder}/{name}.gz", f"md5:{md5}") for name, md5 in digests.items()
    )
    return ImageSet(title, folder, (1, 28, 28), remote)


# digests of the files as their authors publish them; torchvision checks the same
IMAGE_SETS: dict[str, ImageSet] = {
    "mnist": _idx_set(
        "MNIST",
        "MNIST/raw",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion-mnist": _idx_set(
        "Fashion-MNIST",
        "FashionMNIST/raw",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
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
                "md5:c58f30108f718f92721af3b95e74349a",
                archive=True,
            ),
        ),
    ),
}


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
    images = IMAGE_SETS[name]
    if download:
        for file in images.remote:
            if not _present(Path(directory) / file.path):
                fetch(file, directory)
    folder = Path(directory) / images.folder
    pixels, classes = _cifar(folder, train) if name == "cifar10" else _idx(folder, train)
    pixels = pixels.reshape(len(pixels), *images.shape)
    _check(folder, images, pixels, classes)
    return pixels, classes.astype(np.int64)


def _present(path: Path) -> bool:
    return path.exists() or (path.suffix == ".gz" and path.with_suffix("").exists())


def _find(path: Path) -> Path:
    """The file, plain or gzipped."""
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    raise LoadError(
        f"while looking for {path.name}: expected {path} (or .gz), got no such file; "
        "give the folder that holds torchvision's data sets, or ask for a download"
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
                f"shape {array.shape}; is it another data set?"
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
                "give the folder that holds torchvision's data sets, or ask for a download"
            )
        batch = read_pickle(path)
        rows = batch.get(b"data") if isinstance(batch, dict) else None
        labels = batch.get(b"labels") if isinstance(batch, dict) else None
        if not (isinstance(rows, np.ndarray) and rows.dtype == np.uint8 and rows.shape[1:] == (3072,)):
            raise LoadError(
                f"while reading {path}: expected unsigned bytes of shape (samples, 3072) under 'data', "
                f"got {getattr(rows, 'shape', type(rows).__name__)}; is it another data set?"
            )
        if not (isinstance(labels, list) and all(type(label) is int for label in labels)):
            raise LoadError(
                f"while reading {path}: expected a list of whole numbers under 'labels', got none"
            )
        if len(labels) != len(rows):
            raise LoadError(
                f"while reading {path}: expected {len(rows)} labels, got {len(labels)}; it is damaged"
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
