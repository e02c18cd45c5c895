"""The verb `train`: what it prints and writes, and how it refuses."""

import json

import pytest

from firstlight.cli import main

SMALL = ["train", "mlp", "--depth", "2", "--width", "8", "--data", "digits", "--epochs", "2"]


def test_text_json_page_and_resume(tmp_path, capsys):
    page, out, run = tmp_path / "t.html", tmp_path / "t.json", ["--out", str(tmp_path / "run")]
    pair = [*SMALL, "--pair", "weibull:10:odd", "--protocol", "wolinski2025", "--seeds", "2", *run]
    assert main([*pair, "--html", str(page), "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert "mlp 2×8 weibull-odd(10) on digits, 2 seeds" in text
    assert "seed 1: 2 epochs" in text
    first = json.loads(out.read_text())
    assert first["plan"]["weights"] == "weibull(10)"
    assert len(first["runs"]) == 2
    html = page.read_text()
    assert html.count("<svg") >= 5
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert main(pair) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*pair, "--resume", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*SMALL, "--pair", "weibull:10:odd", "--activation", "tanh"], "--pair alone"),
        ([*SMALL, "--pair", "weibull:1:odd"], "θ"),
        ([*SMALL, "--recipe", "he", "--sigma-w", "2"], "--recipe alone, got --sigma-w"),
        ([*SMALL, "--recipe", "he", "--weights", "uniform"], "--recipe alone, got --weights"),
        ([*SMALL, "--seeds", "0"], "--seeds"),
        ([*SMALL, "--resume"], "--out"),
        ([*SMALL, "--activation", "tahn"], "tanh"),
        ([*SMALL, "--weights", "norml"], "norm"),
        ([*SMALL, "--width", "0"], "width"),
        (["train", "lenet", "--depth", "3", "--data", "digits"], "--depth"),
        (["train", "mlp", "--data", "mnist", "--data-dir", "/nowhere", "--epochs", "1"], "MNIST"),
        ([*SMALL, "--out", "/proc/none"], "--out"),
    ],
)
def test_refusals_are_one_line(arguments, message, capsys):
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_a_training_whose_only_seed_diverges_says_so(capsys):
    assert main([*SMALL, "--activation", "gelu", "--sigma-w", "1e30"]) == 0
    first, seed, last = capsys.readouterr().out.splitlines()
    assert first.endswith("on digits, 1 seed")
    assert seed == "  seed 0: 1 epoch; diverged in epoch 1 at step 1"
    assert last == "  every seed diverged: the loss or a weight was not finite any more"
