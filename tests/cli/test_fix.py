"""``firstlight fix`` as a user runs it."""

import json

import pytest
import torch

from firstlight.builders import mlp
from firstlight.cli import main

DEEP = [
    "fix",
    "mlp",
    "--depth",
    "12",
    "--width",
    "32",
    "--activation",
    "relu",
    "--sigma-w",
    "1.0",
    "--batch",
    "64",
]
# one remedy, for tests of what is written
ONE = ["--remedies", "looks-linear"]


def test_it_says_what_it_did_and_writes_every_form(tmp_path, capsys):
    out, page, numbers = tmp_path / "fixed.safetensors", tmp_path / "fix.html", tmp_path / "fix.json"
    assert main([*DEEP, "--out", str(out), "--html", str(page), "--json", str(numbers)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("before: Unhealthy: Vanishing gradients")
    assert "kept  looks-linear: healthy" in text
    assert "after:  Healthy" in text
    assert json.loads(numbers.read_text())["healthy"] is True
    assert "Before and after" in page.read_text()
    from safetensors.torch import load_file

    _loads_healthy(load_file(out))


def _loads_healthy(state):
    import firstlight

    model = mlp(64, 10, depth=12, width=32, activation="relu")
    model.load_state_dict(state)
    assert firstlight.audit(model, torch.randn(64, 64, generator=torch.Generator().manual_seed(0))).healthy


def test_a_torch_file_loads_without_pickled_code(tmp_path):
    out = tmp_path / "fixed.pt"
    assert main([*DEEP, *ONE, "--quiet", "--out", str(out)]) == 0
    _loads_healthy(torch.load(out, weights_only=True))


@pytest.mark.slow
def test_what_cannot_be_fixed_has_status_one(tmp_path, capsys):
    arguments = ["fix", "mlp", "--depth", "45", "--width", "32", "--activation", "relu", "--norm", "batch"]
    assert main([*arguments, "--batch", "64", "--remedies", "edge-of-chaos,orthogonal"]) == 1
    streams = capsys.readouterr()
    assert "still unhealthy: batch-norm-explosion" in streams.err
    # mirrored units leave the batch norms nothing to amplify
    assert main([*arguments, "--batch", "64"]) == 0


def test_json_alone_on_standard_output(capsys):
    assert main([*DEEP, *ONE, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "firstlight-fix/1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--out", "fixed.bin"],
            "expected a file that ends in .pt, .pth, .safetensors, got .bin; nothing was run",
        ),
        (["--out", "no/such/folder/fixed.pt"], "nothing was run"),
        (["--html", "same.pt", "--out", "same.pt"], "expected two files"),
        (["--rounds", "0"], "expected rounds ≥ 1"),
    ],
)
def test_bad_arguments_are_refused_before_the_work(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*DEEP, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_training_steps_let_the_loss_decide(capsys):
    arguments = ["fix", "mlp", "--depth", "10", "--width", "32", "--activation", "relu", "--batch", "64"]
    assert main([*arguments, "--sigma-w", "0.8", "--train-steps", "10"]) in (0, 1)
    out = capsys.readouterr().out
    assert "suits: " in out
    assert "adam at 0.001: loss " in out
