"""Training: honest statistics, resumption, divergence, checkpoints; the 1000-layer digits run is marked slow."""

from __future__ import annotations

import dataclasses
import math
import random
import warnings
from dataclasses import asdict, replace

import pytest
import torch

from firstlight.builders import NormOptions, isometric_mlp
from firstlight.data import Dataset, load
from firstlight.errors import DomainError, LoadError, PropagationWarning, RunError
from firstlight.experiments import meterez2024
from firstlight.training import Epoch, accuracy, load_checkpoint, save_checkpoint, train


def task(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 12, generator=generator)
    return Dataset(x, x[:, :3].argmax(dim=1), name="task", classes=3)


def build(depth=6, weights="orthogonal", **norm):
    generator = torch.Generator().manual_seed(1)
    return isometric_mlp(
        12, 3, depth=depth, width=16, weights=weights, norm=NormOptions(**norm), generator=generator
    )


def test_it_learns_and_measures_every_epoch():
    seen = []
    run = train(
        build(), task(300), task(100, 1), epochs=4, learning_rate=0.05, batch=50, on_epoch=seen.append
    )
    assert not run.diverged
    assert tuple(seen) == run.history
    assert run.column("epoch") == [0, 1, 2, 3, 4]
    assert run.history[-1].test_accuracy > 0.8 > run.history[0].test_accuracy
    assert math.isnan(run.history[0].loss)
    assert run.history[0].weight_gap_max < 1e-6
    for row in run.history[1:]:
        values = {k: v for k, v in asdict(row).items() if k != "test_accuracy_running"}
        assert not any(math.isnan(v) for v in values.values())
        assert math.isnan(row.test_accuracy_running)


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    data, test = task(200), task(50, 1)
    path = tmp_path / "deep" / "run.pt"
    whole = train(build(), data, test, epochs=3, learning_rate=0.05, batch=50)
    train(build(), data, test, epochs=1, learning_rate=0.05, batch=50, checkpoint=path)
    resumed = train(build(), data, test, epochs=3, learning_rate=0.05, batch=50, checkpoint=path)
    assert resumed.resumed_from == 1
    for one, other in zip(whole.history, resumed.history):
        assert replace(one, seconds=0.0, loss=0.0, test_accuracy_running=0.0) == replace(
            other, seconds=0.0, loss=0.0, test_accuracy_running=0.0
        )
    assert list(path.parent.iterdir()) == [path]


def test_another_protocol_model_or_file_is_refused(tmp_path):
    data, path = task(100), tmp_path / "run.pt"
    train(build(), data, data, epochs=1, batch=50, checkpoint=path)
    with pytest.raises(LoadError, match="learning_rate"):
        train(build(), data, data, epochs=1, batch=50, learning_rate=0.1, checkpoint=path)
    with pytest.raises(LoadError, match="weights of this model"):
        train(build(depth=7), data, data, epochs=1, batch=50, checkpoint=path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(LoadError, match="delete the file to start anew"):
        train(build(), data, data, epochs=1, batch=50, checkpoint=path)
    torch.save({"format": "other"}, path)
    with pytest.raises(LoadError, match="expected format"):
        load_checkpoint(path)


def test_nothing_in_a_checkpoint_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, ("raise SystemExit(1)",))

    path = tmp_path / "trap.pt"
    torch.save({"format": "firstlight-training/1", "model": Trap()}, path)
    with pytest.raises(LoadError):
        load_checkpoint(path)


def test_an_interrupted_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "run.pt"
    save_checkpoint(path, {"epoch": 1})

    class Unwritable:
        def tolist(self):
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        save_checkpoint(path, {"epoch": Unwritable()})
    assert load_checkpoint(path)["epoch"] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_divergence_stops_the_run_and_says_so(tmp_path):
    data = task(100)
    path = tmp_path / "run.pt"
    run = train(build(), data, data, epochs=5, learning_rate=1e30, batch=50, checkpoint=path)
    assert run.diverged
    assert len(run.history) < 6
    again = train(build(), data, data, epochs=5, learning_rate=1e30, batch=50, checkpoint=path)
    assert again.diverged
    assert len(again.history) == len(run.history)


def test_evaluation_leaves_the_model_as_it_was():
    model = build(track_running_stats=True)
    data = task(80)
    model.train()(data.inputs)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for statistics in ("recalibrated", "running", "batch"):
        accuracy(model, data.inputs, data.targets, statistics=statistics, calibration=data.inputs, batch=79)
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, before[name], rtol=0, atol=0)
        assert all(m.training for m in model.modules())


def test_running_averages_are_measured_beside():
    run = train(build(track_running_stats=True), task(200), task(50, 1), epochs=1, batch=50)
    assert 0 <= run.history[-1].test_accuracy_running <= 1


def test_refusals():
    data = task(20)
    with pytest.raises(DomainError, match="lower the batch"):
        train(build(), data, data, epochs=1, batch=50)
    numbers = dataclasses.replace(data, targets=data.targets.float())
    with pytest.raises(
        DomainError, match=r"expected one class number for each sample, got targets of torch\.float32"
    ):
        train(build(), numbers, data, epochs=1, batch=10)
    with pytest.raises(DomainError, match="calibration"):
        accuracy(build(), data.inputs, data.targets)
    assert math.isnan(Epoch(0).loss)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "pixels"), [("mnist", 784), pytest.param("cifar10", 3072, marks=pytest.mark.slow)]
)
def test_real_images_train_and_resume(data_dir, tmp_path, name, pixels):
    """Sixty deep layers on a few hundred real images, read by the loader, stopped and continued."""
    first, second = (
        load(name, directory=data_dir, train=train, count=count, normalise="standardise")
        for train, count in ((True, 600), (False, 200))
    )

    def network():
        generator = torch.Generator().manual_seed(0)
        return isometric_mlp(pixels, 10, depth=60, width=40, generator=generator)

    options = {"learning_rate": 0.02, "batch": 50, "checkpoint": tmp_path / "run.pt"}
    train(network(), first, second, epochs=1, **options)
    run = train(network(), first, second, epochs=3, **options)
    assert run.resumed_from == 1
    assert not run.diverged
    assert run.history[-1].loss < run.history[1].loss
    # chance is a tenth; MNIST is the easy one
    assert run.history[-1].train_accuracy > {"mnist": 0.5, "cifar10": 0.2}[name]
    assert run.history[-1].weight_gap_middle < 1e-2


@pytest.mark.slow
def test_a_thousand_layers_learn_digits():
    """Depth 1000, width 100, orthogonal: linear learns in an epoch; Gaussian weights do not."""
    first, second = meterez2024.splits()
    good = meterez2024.train_setting(meterez2024.Setting(depth=1000), first, second, epochs=2)
    assert good.history[-1].train_accuracy > 0.8
    assert good.history[-1].test_accuracy > 0.7
    assert good.history[-1].weight_gap_middle < 1e-3  # the middle layers stay orthogonal
    # the trap: running averages (0.16 measured in a longer run) lose what recalibration keeps
    assert good.history[-1].test_accuracy_running < good.history[-1].test_accuracy - 0.3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PropagationWarning)
        bad = meterez2024.train_setting(
            meterez2024.Setting(depth=1000, weights="normal"), first, second, epochs=1
        )
    assert bad.diverged or bad.history[-1].train_accuracy < 0.3


def other_targets(data):
    return replace(data, targets=data.targets.flip(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "tanh"}, "another architecture, activation or gain"),
        ({"gain_exponent": 0.2}, "another architecture, activation or gain"),
        ({"norm": NormOptions(eps=1e-3)}, "another architecture, activation or gain"),
        ({"norm": NormOptions(centred=False)}, "another architecture, activation or gain"),
        ({"data": task(100, seed=3)}, "same data"),
        ({"data": other_targets(task(100))}, "same data"),
        ({"test": task(100, seed=3)}, "same test data"),
        ({"batch": 25}, "batch"),
        ({"seed": 5}, "seed"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, change, message):
    def go(*, epochs, activation="sin", gain_exponent=0.4, norm=None, data=None, test=None, **options):
        model = isometric_mlp(
            12, 3, depth=4, width=16, activation=activation, gain_exponent=gain_exponent,
            norm=norm or NormOptions(), generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        options = {"batch": 50, "checkpoint": tmp_path / "run.pt"} | options
        return train(model, data or task(100), test or task(100), epochs=epochs, **options)

    go(epochs=1)
    assert go(epochs=2).resumed_from == 1
    with pytest.raises(LoadError, match=message):
        go(epochs=3, **change)
    assert go(epochs=3).resumed_from == 2


def test_flipped_bits_in_a_checkpoint_are_found(tmp_path):
    path, data = tmp_path / "run.pt", task(100)
    train(build(), data, data, epochs=1, batch=50, checkpoint=path)
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(100):
        changed = bytearray(whole)
        changed[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(LoadError):
            load_checkpoint(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_name_from_outside_stays_in_the_folder_of_checkpoints(tmp_path):
    data = replace(task(120), name=f"{tmp_path}/else/set.npz")
    setting = meterez2024.Setting(depth=3, width=12, learning_rate=0.05)
    meterez2024.train_setting(setting, data, data, epochs=1, checkpoints=tmp_path / "kept")
    assert [p.suffix for p in (tmp_path / "kept").iterdir()] == [".pt"]
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700


def test_a_second_process_is_kept_out_of_a_checkpoint(tmp_path):
    from firstlight.files import locked

    with locked(tmp_path / ".run.pt.lock", "a test"), pytest.raises(RunError, match="another process"):
        train(build(), task(100), task(100), epochs=1, batch=50, checkpoint=tmp_path / "run.pt")
