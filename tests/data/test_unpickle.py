"""The restricted unpickler reads what CIFAR needs and refuses everything that could run."""

import os
import pickle
import pickletools

import numpy as np
import pytest

from firstlight.data import read_pickle
from firstlight.errors import LoadError


class Runs:
    """Writes a file when it is unpickled by ``pickle.load``."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u1", ">i2", "<f4", "f8", "?"])
def test_arrays_lists_and_bytes_come_back(tmp_path, protocol, order, dtype):
    array = np.asarray(np.arange(12).reshape(3, 4) % 2, dtype, order=order)
    value = {b"data": array, b"labels": [1, 2, 3], b"batch_label": b"one", b"empty": ()}
    (tmp_path / "a").write_bytes(pickle.dumps(value, protocol=protocol))
    got = read_pickle(tmp_path / "a")
    np.testing.assert_array_equal(got.pop(b"data"), array)
    assert got == {b"labels": [1, 2, 3], b"batch_label": b"one", b"empty": ()}


def test_texts_of_python_two_come_back_as_bytes(tmp_path):
    # the official files were written by Python 2, whose texts are bytes: opcode U (SHORT_BINSTRING)
    (tmp_path / "a").write_bytes(b"\x80\x02}U\x04dataK\x07s.")
    assert read_pickle(tmp_path / "a") == {b"data": 7}


def test_code_in_a_pickle_does_not_run(tmp_path):
    harm = tmp_path / "harm"
    (tmp_path / "a").write_bytes(pickle.dumps({b"data": Runs(harm)}, protocol=2))
    with pytest.raises(LoadError, match=r"names .*mkdir, which could run code"):
        read_pickle(tmp_path / "a")
    assert not harm.exists()
    pickle.loads((tmp_path / "a").read_bytes())
    assert harm.exists(), "the pickle really was harmful"


@pytest.mark.parametrize(
    "name", ["builtins eval", "os system", "numpy load", "numpy.core.multiarray scalar", "_codecs decode"]
)
def test_every_other_name_is_refused(tmp_path, name):
    module, attribute = name.split()
    (tmp_path / "a").write_bytes(f"c{module}\n{attribute}\n.".encode())
    with pytest.raises(LoadError, match="could run code"):
        read_pickle(tmp_path / "a")


def test_a_bare_stand_in_is_no_data(tmp_path):
    for raw in (b"cnumpy\nndarray\n.", b"cnumpy\ndtype\n."):
        (tmp_path / "a").write_bytes(raw)
        with pytest.raises(LoadError, match="no plain data"):
            read_pickle(tmp_path / "a")


def test_arrays_of_objects_are_refused(tmp_path):
    (tmp_path / "a").write_bytes(pickle.dumps(np.array([{}, []], object), protocol=2))
    with pytest.raises(LoadError, match=r"without plain bytes|hold objects"):
        read_pickle(tmp_path / "a")


def test_a_shape_that_lies_about_the_bytes_is_refused(tmp_path):
    raw = pickle.dumps(np.arange(6, dtype="u1"), protocol=2)
    lying = raw.replace(b"K\x06\x85", b"K\x07\x85")
    assert lying != raw, pickletools.dis(raw)
    (tmp_path / "a").write_bytes(lying)
    with pytest.raises(LoadError, match="6 entries"):
        read_pickle(tmp_path / "a")


@pytest.mark.parametrize("cut", [0, 1, 5, 40])
def test_a_truncated_file_is_a_load_error(tmp_path, cut):
    raw = pickle.dumps({b"data": np.arange(50, dtype="u1")}, protocol=2)
    (tmp_path / "a").write_bytes(raw[:cut])
    with pytest.raises(LoadError, match="fetch the file again"):
        read_pickle(tmp_path / "a")


def test_random_damage_never_escapes_as_another_error(tmp_path):
    raw = bytearray(pickle.dumps({b"data": np.arange(20, dtype="u1"), b"labels": [1, 2]}, protocol=2))
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = raw.copy()
        damaged[rng.integers(len(raw))] = rng.integers(256)
        (tmp_path / "a").write_bytes(damaged)
        try:
            read_pickle(tmp_path / "a")
        except LoadError:
            refused += 1
    assert refused > 50


def test_a_missing_file_is_a_load_error(tmp_path):
    with pytest.raises(LoadError, match="check the path"):
        read_pickle(tmp_path / "none")
