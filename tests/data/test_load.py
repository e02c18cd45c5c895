"""``load``: digits, noise, a user's files and factories, and everything that can be wrong with them."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from firstlight import data
from firstlight.data import loading as loading_module
from firstlight.errors import LoadError

X = torch.arange(24, dtype=torch.float32).reshape(6, 4)
Y = torch.tensor([0, 1, 2, 0, 1, 2])


def test_digits_are_all_there_and_standardised():
    train, test = data.load("digits"), data.load("digits", train=False)
    assert (len(train), len(test)) == (1437, 360)
    # standardised in float64, then rounded to float32
    assert abs(train.inputs.double().mean()) < 1e-6
    assert train.inputs.double().std(correction=0) == pytest.approx(1, abs=1e-6)
    assert set(train.targets.tolist()) == set(range(10))
    raw = data.load("digits", normalise="raw")
    assert (raw.inputs.min(), raw.inputs.max()) == (0, 16)
    assert data.load("digits", normalise="unit").inputs.max() == 1


@pytest.mark.parametrize("train", [True, False])
def test_digits_are_those_of_scikit_learn(train):
    from sklearn.datasets import load_digits

    theirs, ours = load_digits(), data.load("digits", train=train, normalise="raw")
    part = slice(None, 1437) if train else slice(1437, None)
    np.testing.assert_array_equal(ours.inputs[:, 0].numpy(), theirs.images[part])
    np.testing.assert_array_equal(ours.targets.numpy(), theirs.target[part])


def test_digits_whose_file_has_moved_are_loaded_all_the_same(monkeypatch):
    expected = data.load("digits", count=20)
    monkeypatch.setattr(loading_module.Path, "is_file", lambda path: False)
    assert torch.equal(data.load("digits", count=20).inputs, expected.inputs)


def test_digits_without_scikit_learn_name_what_to_install(monkeypatch):
    monkeypatch.setattr(loading_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LoadError, match="pip install scikit-learn"):
        data.load("digits")


@pytest.mark.parametrize(("spec", "shape"), [("7", (7,)), ("3x8x8", (3, 8, 8)), ("2x3x4x5", (2, 3, 4, 5))])
def test_noise_is_standard_gaussian_and_reproducible(spec, shape):
    noise = data.load(spec, count=500, seed=1)
    assert noise.inputs.shape == (500, *shape)
    assert noise.targets is None
    n = noise.inputs.numel()
    values = noise.inputs.double()
    assert abs(values.mean()) * n**0.5 < 5
    assert abs(values.square().mean() - 1) * (n / 2) ** 0.5 < 5
    assert torch.equal(noise.inputs, data.load(spec, count=500, seed=1).inputs)
    assert not torch.equal(noise.inputs, data.load(spec, count=500, seed=2).inputs)


def test_loading_leaves_the_global_random_state_alone(tmp_path):
    before = torch.get_rng_state()
    data.load("3x4", count=5)
    data.load("digits", count=5)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("names", [("inputs", "targets"), ("x", "y"), ("x_train", "y_train")])
@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
def test_files_of_arrays(tmp_path, suffix, names):
    path = tmp_path / f"set{suffix}"
    arrays = dict(zip(names, (X, Y), strict=True))
    if suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in arrays.items()})
    elif suffix == ".pt":
        torch.save(arrays, path)
    else:
        save_file(arrays, path)
    got = data.load(str(path))
    assert torch.equal(got.inputs, X)
    assert torch.equal(got.targets, Y)
    assert got.normalise == "raw"
    some = data.load(str(path), count=3, seed=1)
    assert all(torch.equal(X[int(row[0]) // 4], row) for row in some.inputs)
    assert [int(row[0]) // 4 % 3 for row in some.inputs] == some.targets.tolist()


def test_a_file_may_hold_inputs_alone_or_a_pair(tmp_path):
    torch.save(X, tmp_path / "x.pt")
    torch.save((X, Y), tmp_path / "xy.pt")
    np.savez(tmp_path / "x.npz", anything=X.numpy())
    assert data.load(str(tmp_path / "x.pt")).targets is None
    assert torch.equal(data.load(str(tmp_path / "xy.pt")).targets, Y)
    assert torch.equal(data.load(str(tmp_path / "x.npz")).inputs, X)


def test_the_test_part_of_a_file(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.zeros((2, 3)), x_test=np.ones((4, 3)), y_test=np.arange(4))
    got = data.load(str(tmp_path / "a.npz"), train=False)
    assert len(got) == 4
    assert got.targets.tolist() == [0, 1, 2, 3]


def test_foreign_byte_order_and_dtypes(tmp_path):
    np.savez(tmp_path / "a.npz", inputs=np.arange(3, dtype=">f4"), targets=np.arange(3, dtype=">i8"))
    got = data.load(str(tmp_path / "a.npz"))
    assert got.inputs.tolist() == [0, 1, 2]
    assert got.targets.tolist() == [0, 1, 2]


def test_whole_numbers_stay_whole_unless_scaled(tmp_path):
    tokens = torch.arange(12).reshape(3, 4)
    torch.save(tokens, tmp_path / "a.pt")
    assert data.load(str(tmp_path / "a.pt")).inputs.dtype == torch.int64
    assert data.load(str(tmp_path / "a.pt"), normalise="standardise").inputs.dtype == torch.float32


def test_standardise_a_file_per_channel_and_leave_constant_channels_finite(tmp_path):
    pictures = torch.randn(5, 2, 3, 3, dtype=torch.float64) * 7 + 3
    pictures[:, 1] = 4.0
    torch.save(pictures, tmp_path / "a.pt")
    got = data.load(str(tmp_path / "a.pt"), normalise="standardise", dtype=torch.float64)
    assert abs(got.inputs[:, 0].mean()) < 1e-12
    assert got.inputs[:, 0].std(correction=0) == pytest.approx(1, abs=1e-12)
    assert torch.equal(got.inputs[:, 1], torch.zeros(5, 3, 3, dtype=torch.float64))


class Thing:
    pass


def broken_files(folder):
    (folder / "garbage.npz").write_bytes(b"no archive")
    (folder / "garbage.safetensors").write_bytes(b"\xff" * 40)
    (folder / "garbage.pt").write_bytes(b"no archive")
    (folder / "empty.pt").write_bytes(b"")
    torch.save({"a": X, "b": Y}, folder / "names.pt")
    torch.save("text", folder / "text.pt")
    torch.save({"inputs": Thing()}, folder / "code.pt")
    torch.save({"inputs": X, "targets": Y[:5]}, folder / "count.pt")
    torch.save({"inputs": torch.tensor(1.0)}, folder / "scalar.pt")
    np.savez(folder / "objects.npz", inputs=np.array([{}], object))
    np.savez(folder / "texts.npz", inputs=np.array(["a"]))
    np.savez(folder / "none.npz")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("garbage.npz", "damaged"),
        ("garbage.safetensors", "damaged"),
        ("garbage.pt", r"damaged|run code"),
        ("empty.pt", "damaged"),
        ("names.pt", "got the names a, b"),
        ("text.pt", "got str"),
        ("code.pt", "would run code"),
        ("count.pt", "one target for each of 6 samples"),
        ("scalar.pt", "tensor of samples"),
        ("objects.npz", "damaged"),
        ("texts.npz", "damaged"),
        ("none.npz", r"\(none\)"),
        ("missing.npz", "expected a file, got none"),
    ],
)
def test_a_broken_file_is_one_load_error(tmp_path, name, message):
    broken_files(tmp_path)
    with pytest.raises(LoadError, match=message):
        data.load(str(tmp_path / name))


FACTORIES = """
import torch
from firstlight.data import Dataset
READY = torch.zeros(4, 3)
def tensor(): return torch.ones(4, 3)
def pair(): return torch.ones(4, 3), torch.arange(4)
def named(): return {"inputs": torch.ones(4, 3), "targets": torch.arange(4)}
def kwargs(): return {"input_ids": torch.ones(4, 7, dtype=torch.long), "scale": 2.0}
def several(): return torch.ones(4, 3), torch.ones(4, 2), torch.ones(4, 1)
def offered(count, seed=5, train=False): return torch.full((count, 1), float(seed + train))
def dataset(): return Dataset(torch.ones(4, 3), torch.arange(4), name="mine", classes=4)
def array():
    import numpy
    return numpy.ones((4, 3))
def raises(): raise ZeroDivisionError("no data today")
def nothing(): return None
def needs(argument): return torch.ones(4)
"""


@pytest.fixture
def factories(tmp_path):
    (tmp_path / "made.py").write_text(FACTORIES)
    return f"{tmp_path}/made.py:"


@pytest.mark.parametrize("name", ["tensor", "pair", "named", "dataset", "array", "READY"])
def test_factories_of_one_input(factories, name):
    got = data.load(factories + name)
    assert got.inputs.shape == (4, 3)
    assert (got.targets is None) == (name in ("tensor", "array", "READY"))


def test_factories_of_several_inputs(factories):
    assert set(data.load(factories + "kwargs").inputs) == {"input_ids", "scale"}
    some = data.load(factories + "kwargs", count=2)
    assert some.inputs["input_ids"].shape == (2, 7)
    assert some.inputs["scale"] == 2.0
    assert [part.shape for part in data.load(factories + "several", count=2).inputs] == [
        (2, 3),
        (2, 2),
        (2, 1),
    ]
    with pytest.raises(LoadError, match="one tensor to standardise"):
        data.load(factories + "kwargs", normalise="standardise")


def test_a_factory_gets_the_arguments_that_it_names(factories):
    got = data.load(factories + "offered", count=3, seed=2, train=True)
    assert got.inputs.tolist() == [[3.0], [3.0], [3.0]]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raises", "ZeroDivisionError: no data today"),
        ("nothing", "got NoneType"),
        ("needs", "TypeError.*argument"),
        ("missing", "no such name; it has .*needs"),
    ],
)
def test_a_bad_factory_is_a_load_error(factories, name, message):
    with pytest.raises(LoadError, match=message):
        data.load(factories + name)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("minst", "did you mean 'mnist'"),
        ("", "got none of them"),
        ("3x0x2", "positive sizes"),
        ("99999x99999x99", "at most"),
        ("nowhere/file.py:make", "no such file"),
        ("no_such_package.module:make", "expected an importable module"),
        ("torch:", "no name after the colon"),
    ],
)
def test_unknown_specs_say_what_there_is(spec, message):
    with pytest.raises(LoadError, match=message):
        data.load(spec)


@pytest.mark.parametrize("count", [0, -1, 2000])
def test_impossible_counts_are_load_errors(count):
    with pytest.raises(LoadError, match=f"got {count}"):
        data.load("digits", count=count)


def test_an_unknown_scale_is_a_load_error():
    with pytest.raises(LoadError, match="standardise, unit, raw"):
        data.load("digits", normalise="whiten")


def test_so_many_of_each_class_come_class_by_class():
    """The first ones of each class after a seeded shuffle of the whole set."""
    chosen = data.load("digits", per_class=3, seed=5)
    assert chosen.targets.tolist() == sorted(3 * list(range(10)))
    every = data.load("digits")
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(5))
    fours = [i for i in order.tolist() if every.targets[i] == 4][:3]
    assert torch.equal(chosen.inputs[12:15], every.inputs[fours])
    assert chosen.mean == every.mean


@pytest.mark.parametrize(
    ("spec", "arguments", "message"),
    [
        ("digits", {"per_class": 0}, "expected per_class between 1 and 1"),
        ("digits", {"per_class": 2, "count": 3}, "and no count"),
        ("digits", {"per_class": 10**6}, "expected per_class between 1 and 1"),
        ("1x8x8", {"per_class": 2}, "whose classes are known"),
    ],
)
def test_impossible_classes_are_load_errors(spec, arguments, message):
    with pytest.raises(LoadError, match=message):
        data.load(spec, **arguments)


def test_levels_are_counted_piece_by_piece():
    """More images than are counted at once, against numpy's own moments."""
    from firstlight.data._scaling import channel_moments

    pixels = np.random.default_rng(0).integers(0, 256, (2100, 3, 4, 4), dtype=np.uint8)
    mean, std = channel_moments(pixels)
    np.testing.assert_allclose(mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(axis=(0, 2, 3)), rtol=1e-12)


def test_moments_of_pixels_take_less_memory_than_the_pixels():
    """Counted piece by piece: at once, each channel would be widened to eight bytes a pixel."""
    import tracemalloc

    from firstlight.data._scaling import channel_moments

    pixels = np.zeros((5000, 3, 32, 32), np.uint8)
    tracemalloc.start()
    channel_moments(pixels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < pixels.nbytes
