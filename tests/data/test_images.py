"""The image sets in torchvision's layout: small synthetic copies, and the real files where there are any."""

import gzip
import hashlib
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from firstlight import data
from firstlight.data import images as image_module
from firstlight.errors import LoadError


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx_set(folder: Path, *, samples: int = 20, packed: bool = True) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "t10k"):
        arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (samples, 28, 28), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = rng.integers(0, 10, samples, dtype=np.uint8)
    for name, array in arrays.items():
        raw = idx(array)
        path = folder / (name + (".gz" if packed else ""))
        path.write_bytes(gzip.compress(raw) if packed else raw)
    return arrays


def write_cifar(folder: Path, *, samples: int = 6) -> list[np.ndarray]:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    rows = []
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        rows.append(rng.integers(0, 256, (samples, 3072), dtype=np.uint8))
        batch = {b"data": rows[-1], b"labels": rng.integers(0, 10, samples).tolist(), b"batch_label": b"x"}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return rows


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST/raw"), ("fashion-mnist", "FashionMNIST/raw")])
@pytest.mark.parametrize("train", [True, False])
def test_idx_sets_are_read_and_standardised(tmp_path, name, folder, packed, train):
    arrays = write_idx_set(tmp_path / folder, packed=packed)
    part = "train" if train else "t10k"
    pixels = arrays[f"{part}-images-idx3-ubyte"].astype(np.float64)
    got = data.load(name, directory=tmp_path, train=train)
    assert got.classes == 10
    assert got.mean == pytest.approx((pixels.mean(),), rel=1e-12)
    expected = ((pixels - pixels.mean()) / pixels.std())[:, None]
    # float32 keeps 24 bits of numbers of order 1
    np.testing.assert_allclose(got.inputs.numpy(), expected, atol=1e-6)
    np.testing.assert_array_equal(got.targets.numpy(), arrays[f"{part}-labels-idx1-ubyte"])


def test_cifar_is_standardised_per_channel(tmp_path):
    rows = write_cifar(tmp_path / "cifar-10-batches-py")
    got = data.load("cifar10", directory=tmp_path, dtype=torch.float64)
    pixels = np.concatenate(rows[:5]).reshape(-1, 3, 32, 32).astype(np.float64)
    expected = (pixels - pixels.mean((0, 2, 3), keepdims=True)) / pixels.std((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(got.inputs.numpy(), expected, atol=1e-12)
    assert len(data.load("cifar10", directory=tmp_path, train=False)) == 6


@pytest.mark.parametrize(("mode", "divisor"), [("raw", 1.0), ("unit", 255.0)])
def test_other_scales_are_as_asked(tmp_path, mode, divisor):
    arrays = write_idx_set(tmp_path / "MNIST" / "raw")
    got = data.load("mnist", directory=tmp_path, normalise=mode, dtype=torch.float64)
    pixels = arrays["train-images-idx3-ubyte"][:, None].astype(np.float64)
    np.testing.assert_array_equal(got.inputs.numpy(), pixels / divisor)
    assert got.normalise == mode


def test_a_subset_uses_the_statistics_of_the_whole(tmp_path):
    write_idx_set(tmp_path / "MNIST" / "raw")
    whole = data.load("mnist", directory=tmp_path)
    few = data.load("mnist", directory=tmp_path, count=5, seed=3)
    again = data.load("mnist", directory=tmp_path, count=5, seed=3)
    other = data.load("mnist", directory=tmp_path, count=5, seed=4)
    assert few.mean == whole.mean
    assert torch.equal(few.inputs, again.inputs)
    assert not torch.equal(few.inputs, other.inputs)
    for image, label in zip(few.inputs, few.targets, strict=True):
        found = [i for i in range(20) if torch.equal(whole.inputs[i], image)]
        assert len(found) == 1
        assert whole.targets[found[0]] == label


def test_the_directory_may_come_from_the_environment(tmp_path, monkeypatch):
    write_idx_set(tmp_path / "MNIST" / "raw")
    monkeypatch.setenv("FIRSTLIGHT_DATA", str(tmp_path))
    assert len(data.load("mnist", count=3)) == 3
    monkeypatch.delenv("FIRSTLIGHT_DATA")
    with pytest.raises(LoadError, match="set FIRSTLIGHT_DATA"):
        data.load("mnist")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_missing_files_name_the_path_looked_for(tmp_path, name):
    with pytest.raises(LoadError, match="got no such file"):
        data.load(name, directory=tmp_path)


def test_images_and_labels_must_agree(tmp_path):
    folder = tmp_path / "MNIST" / "raw"
    write_idx_set(folder)
    labels = folder / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(idx(np.zeros(19, np.uint8)))
    with pytest.raises(LoadError, match="20 images and 19 classes"):
        data.load("mnist", directory=tmp_path)
    labels.write_bytes(idx(np.full(20, 10, np.uint8)))
    with pytest.raises(LoadError, match="expected classes 0 to 9, got 10"):
        data.load("mnist", directory=tmp_path)


@pytest.mark.parametrize("shape", [(20, 28, 27), (20, 28), (20,)])
def test_images_of_another_shape_are_refused(tmp_path, shape):
    folder = tmp_path / "MNIST" / "raw"
    write_idx_set(folder)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(idx(np.zeros(shape, np.uint8)))
    with pytest.raises(LoadError, match="is this another data set"):
        data.load("mnist", directory=tmp_path)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([1, 2], "expected unsigned bytes"),
        ({b"labels": [1]}, "expected unsigned bytes"),
        ({b"data": np.zeros((2, 3071), np.uint8), b"labels": [1, 2]}, r"\(2, 3071\)"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}, "expected 2 labels, got 1"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, "x"]}, "whole numbers"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 10]}, "expected classes 0 to 9"),
    ],
)
def test_a_wrong_cifar_batch_is_a_load_error(tmp_path, batch, message):
    folder = tmp_path / "cifar-10-batches-py"
    write_cifar(folder)
    (folder / "data_batch_3").write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(LoadError, match=message):
        data.load("cifar10", directory=tmp_path)


def test_download_fetches_only_what_is_missing(tmp_path, monkeypatch):
    there, here = tmp_path / "there", tmp_path / "here"
    write_idx_set(there)
    original = image_module.IMAGE_SETS["mnist"]
    local = tuple(
        replace(
            file,
            url=(there / Path(file.path).name).as_uri(),
            digest="sha256:" + hashlib.sha256((there / Path(file.path).name).read_bytes()).hexdigest(),
        )
        for file in original.remote
    )
    monkeypatch.setitem(image_module.IMAGE_SETS, "mnist", replace(original, remote=local))
    with pytest.raises(LoadError, match="fetch them with --download"):
        data.load("mnist", directory=here)
    assert not here.exists(), "nothing is fetched unasked"
    assert len(data.load("mnist", directory=here, download=True)) == 20
    # an unpacked copy counts as present
    packed = here / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    data.load("mnist", directory=here, download=True)
    assert not packed.exists()


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "samples", "shape", "mean", "std"),
    [
        # the pixel statistics that everybody standardises with: .1307/.3081 and .2860/.3530
        ("mnist", 60000, (1, 28, 28), 0.1307, 0.3081),
        ("fashion-mnist", 60000, (1, 28, 28), 0.2860, 0.3530),
        # a lossy copy may be laid out, so only near the official .4914/.2470 of the red channel
        pytest.param("cifar10", 50000, (3, 32, 32), 0.491, 0.247, marks=pytest.mark.slow),
    ],
)
def test_the_real_sets(data_dir, name, samples, shape, mean, std):
    pixels, classes = data.read_images(name, data_dir)
    assert pixels.shape == (samples, *shape)
    assert np.bincount(classes, minlength=10).min() > samples / 12
    got = data.load(name, directory=data_dir, count=64)
    tolerance = 5e-5 if name != "cifar10" else 5e-3
    assert got.mean[0] / 255 == pytest.approx(mean, abs=tolerance)
    assert got.std[0] / 255 == pytest.approx(std, abs=tolerance)
