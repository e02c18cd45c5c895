"""``load``: a data set by name, by file, by shape, or by the factory that makes it."""

from __future__ import annotations

import importlib.util
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from firstlight.data._factory import from_factory
from firstlight.data._scaling import Normalise, check_mode, scale, statistics
from firstlight.data.arrays import SUFFIXES, read_arrays
from firstlight.data.dataset import Dataset, choose
from firstlight.data.images import IMAGE_SETS, read_images
from firstlight.errors import LoadError, did_you_mean
from firstlight.files import expanded

NAMES = ("digits", *IMAGE_SETS)
_SHAPE = re.compile(r"\d+(x\d+)*")
_ALIASES = {"fashionmnist": "fashion-mnist", "fashion_mnist": "fashion-mnist", "cifar-10": "cifar10"}
_NOISE_COUNT = 128
_DIGITS_TRAIN = 1437  # four fifths of 1797; the set has no official split


def load(
    spec: str,
    *,
    directory: str | Path | None = None,
    train: bool = True,
    download: bool = False,
    count: int | None = None,
    per_class: int | None = None,
    seed: int = 0,
    normalise: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Dataset:
    """Samples to feed to a model.

    Parameters
    ----------
    spec
        One of

        - ``"digits"`` (8×8, from scikit-learn), ``"mnist"``, ``"fashion-mnist"``, ``"cifar10"``;
        - a ``.npz``, ``.safetensors`` or ``.pt`` file, see ``read_arrays``;
        - a shape of one sample such as ``"3x32x32"``, for Gaussian noise N(0, 1);
        - ``"module:factory"`` or ``"path/to/file.py:factory"``: called with those of ``count``, ``seed`` and
          ``train`` that it takes; gives a ``Dataset``, a tensor, a pair of inputs and targets, a dict with
          ``inputs`` and perhaps ``targets``, or another dict or tuple that the model takes.
    directory
        Where the image sets lie, in torchvision's layout; the environment variable ``FIRSTLIGHT_DATA`` by
        default.
    train
        The training part, else the test part.
    download
        Fetch an image set that is missing. Nothing is ever fetched otherwise.
    count
        How many samples, drawn without replacement; all of them, in their order, by default (of noise: 128).
    per_class
        In place of ``count``: so many samples of each class of a named set, class by class.
    seed
        Seed of the draw.
    normalise
        ``"standardise"``: each channel minus its mean over its standard deviation, both over the whole part;
        ``"unit"``: divided by the largest value a pixel can take; ``"raw"``: as they are. By default images
        of a named set are standardised and everything else is raw.
    dtype
        Type of the inputs; inputs of whole numbers, such as tokens, from files and factories keep theirs.

    Raises
    ------
    LoadError
        If nothing of this name exists, or a file is missing, damaged or unsafe to read.

    Examples
    --------
    >>> from firstlight import data
    >>> digits = data.load("digits", count=100)
    >>> digits.inputs.shape, digits.targets.shape, digits.normalise
    (torch.Size([100, 1, 8, 8]), torch.Size([100]), 'standardise')
    """
    _check_arguments(spec, count, seed, dtype)
    name = _ALIASES.get(spec.lower(), spec.lower())
    mode = None if normalise is None else check_mode(normalise)
    if name in NAMES:
        wanted = _Wanted(count, per_class, seed)
        return _named(name, directory, train, download, wanted, mode or "standardise", dtype)
    if per_class is not None:
        raise LoadError(
            f"while loading {spec}: expected per_class with one of {', '.join(NAMES)}, whose classes are known, got "
            f"per_class={per_class!r}; give count in its place"
        )
    if spec.lower().endswith(SUFFIXES):
        inputs, targets = read_arrays(spec, train=train)
        made = Dataset(inputs, targets, name=spec)
    elif _SHAPE.fullmatch(spec):
        return _noise(spec, _NOISE_COUNT if count is None else count, seed, dtype)
    elif ":" in spec:
        made = from_factory(spec, count=count, seed=seed, train=train)
    else:
        raise LoadError(_unknown(spec))
    _check_rows(made)
    kept = made if count is None or len(made) == count else made.take(count, seed=seed)
    return _scaled(kept, made, mode or made.normalise, dtype)


def _check_arguments(spec: object, count: object, seed: object, dtype: object) -> None:
    """Refuse what is of another kind than ``load`` takes."""
    wanted = (
        ("spec", spec, isinstance(spec, str), "a text such as 'digits'"),
        ("count", count, count is None or _whole(count), "a whole number of samples, or None for all"),
        ("seed", seed, _whole(seed) and -(2**63) <= int(str(seed)) < 2**64, "a whole number below 2⁶⁴"),
        (
            "dtype",
            dtype,
            isinstance(dtype, torch.dtype) and dtype.is_floating_point,
            "a torch dtype of real numbers",
        ),
    )
    for argument, value, fits, expected in wanted:
        if not fits:
            raise LoadError(f"while loading data: expected {argument} to be {expected}, got {value!r:.80}")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def data_directory(directory: str | Path | None, name: str) -> Path:
    """The folder of the image sets: the argument, else ``FIRSTLIGHT_DATA``."""
    chosen = directory if directory is not None else os.environ.get("FIRSTLIGHT_DATA")
    if not chosen:
        raise LoadError(
            f"while loading {name}: expected the folder that holds torchvision's data sets, got none; "
            "give it (--data-dir DIR, or directory=…) or set FIRSTLIGHT_DATA; --download (download=True) fetches what "
            "the folder lacks"
        )
    return expanded(chosen)


@dataclass(frozen=True)
class _Wanted:
    """Which samples of a named set are wanted: so many of all, or so many of each class."""

    count: int | None
    per_class: int | None
    seed: int

    def rows(self, classes: np.ndarray, name: str) -> Tensor:
        """Numbers of the samples to take."""
        if self.per_class is None:
            return choose(len(classes), self.count, seed=self.seed, name=name)
        fewest = int(np.bincount(classes).min())
        if self.count is not None or not _whole(self.per_class) or not 1 <= self.per_class <= fewest:
            raise LoadError(
                f"while taking samples of {name}: expected per_class between 1 and {fewest}, and no count, got "
                f"per_class={self.per_class!r} and count={self.count!r}"
            )
        order = choose(len(classes), len(classes), seed=self.seed, name=name)
        labels = torch.from_numpy(classes)[order]
        return torch.cat([order[labels == c][: self.per_class] for c in labels.unique().tolist()])


def _named(
    name: str,
    directory: str | Path | None,
    train: bool,
    download: bool,
    wanted: _Wanted,
    normalise: Normalise,
    dtype: torch.dtype,
) -> Dataset:
    if name == "digits":
        pixels, classes, top, number = *_digits(train), 16.0, 10
    else:
        where = data_directory(directory, name)
        pixels, classes = read_images(name, where, train=train, download=download)
        top, number = 255.0, IMAGE_SETS[name].classes
    mean, std = statistics(pixels, normalise, top)
    rows = wanted.rows(classes, name).numpy()
    inputs = torch.from_numpy(scale(pixels[rows], mean, std)).to(dtype)
    targets = torch.from_numpy(classes[rows])
    return Dataset(inputs, targets, name, number, normalise, tuple(mean.tolist()), tuple(std.tolist()))


def _digits(train: bool) -> tuple[np.ndarray, np.ndarray]:
    table = _digits_table()
    part = table[:_DIGITS_TRAIN] if train else table[_DIGITS_TRAIN:]
    return part[:, :64].reshape(-1, 1, 8, 8).astype(np.uint8), part[:, 64].astype(np.int64)


def _digits_table() -> np.ndarray:
    """Pixels and class of each digit, one row each, out of scikit-learn's own file.

    Importing scikit-learn takes as long as importing torch, so the file is read without it where it stands.

    Raises
    ------
    LoadError
        If scikit-learn, which holds the digits, is not installed.
    """
    place = importlib.util.find_spec("sklearn")
    folder = next(iter(place.submodule_search_locations or ()), None) if place is not None else None
    if folder is None:
        raise LoadError(
            "while loading digits: scikit-learn, which holds them, is not installed; "
            "`pip install scikit-learn`, or give other data such as 1x8x8 for noise"
        )
    path = Path(folder) / "datasets" / "data" / "digits.csv.gz"
    if path.is_file():
        return np.loadtxt(path, delimiter=",")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])


def _noise(spec: str, count: int, seed: int, dtype: torch.dtype) -> Dataset:
    sizes = spec.split("x")
    if max(map(len, sizes)) > 12:
        raise LoadError(
            f"while making Gaussian noise {spec:.80}: expected at most 2³¹ numbers, got longer sizes"
        )
    shape = tuple(map(int, sizes))
    if count < 1 or 0 in shape:
        raise LoadError(
            f"while making Gaussian noise {spec}: expected positive sizes and a count ≥ 1, got {count} "
            "samples of "
            f"shape {shape}"
        )
    if count * math.prod(shape) > 2**31 or len(shape) > 24:
        raise LoadError(
            f"while making Gaussian noise {spec:.80}: expected at most 2³¹ numbers in 24 axes, got {count} samples of "
            f"shape {shape}; "
            "ask for fewer or smaller samples"
        )
    generator = torch.Generator().manual_seed(seed)
    # float64 first, so that the same seed means the same noise in every dtype
    return Dataset(torch.randn(count, *shape, generator=generator, dtype=torch.float64).to(dtype), name=spec)


def _check_rows(made: Dataset) -> None:
    samples = len(made)
    if made.targets is not None and (made.targets.ndim == 0 or len(made.targets) != samples):
        raise LoadError(
            f"while loading {made.name}: expected one target for each of {samples} samples, got targets "
            "of shape "
            f"{tuple(made.targets.shape)}"
        )


def _scaled(kept: Dataset, whole: Dataset, normalise: Normalise, dtype: torch.dtype) -> Dataset:
    """The inputs scaled by the whole set's statistics; only a plain tensor of numbers can be scaled."""
    inputs = kept.inputs
    if not isinstance(inputs, Tensor):
        if normalise != whole.normalise:
            raise LoadError(
                f"while loading {kept.name}: expected one tensor to {normalise}, got "
                f"{type(inputs).__name__}; "
                "scale it in the factory and leave normalise out"
            )
        return kept
    if normalise == whole.normalise:  # nothing asked beyond what was done
        made = inputs.to(dtype) if inputs.is_floating_point() else inputs
        return Dataset(made, kept.targets, kept.name, kept.classes, normalise, kept.mean, kept.std)
    top = 255.0 if whole.inputs.dtype == torch.uint8 else max(float(whole.inputs.abs().max()), 1e-300)
    mean, std = statistics(whole.inputs.detach().cpu().numpy(), normalise, top)
    scaled = torch.from_numpy(scale(inputs.detach().cpu().numpy(), mean, std)).to(dtype)
    return Dataset(
        scaled, kept.targets, kept.name, kept.classes, normalise, tuple(mean.tolist()), tuple(std.tolist())
    )


def _unknown(spec: str) -> str:
    return (
        f"while loading data {spec!r}: expected {', '.join(NAMES)}, a .npz, .safetensors or .pt file, a "
        "shape such as "
        f"3x32x32, or module:factory, got none of them{did_you_mean(spec, NAMES)}"
    )
